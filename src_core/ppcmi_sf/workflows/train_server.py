"""``ppcmi server train``: training bundles of every site to one mapping network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ppcmi_sf.bundle import open_bundle, unpack_items
from ppcmi_sf.device import require_memory
from ppcmi_sf.errors import BundleError, ModelFileError
from ppcmi_sf.home import Party
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.models.store import ModelHeader, save_model
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.roles import MappingServer
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.contribution_checks import (
    ContributionReport,
    check_contributions,
    refuse_faults,
)
from ppcmi_sf.training.loop import FitReport
from ppcmi_sf.training.mapping import MappingOptions, SitePairs, train_mapping
from ppcmi_sf.transform import Role
from ppcmi_sf.workflows.contributions import CheckedBundle, Contributions, collect
from ppcmi_sf.workflows.folders import ServerFolder
from ppcmi_sf.workflows.work_lock import work_lock

ROLES: tuple[Role, ...] = ("image", "mask")


@dataclass(frozen=True)
class ServerTrainingReport:
    """What came of a training: pairs per site, parameters, losses, and what looked suspicious."""

    pairs: dict[str, int]
    parameters: int
    fit: FitReport
    contributions: ContributionReport


def train_server(
    folder: Path,
    study: StudySpec,
    bundles: Sequence[Path],
    shares: Sequence[Path],
    options: MappingOptions,
    party: Party,
    *,
    device: torch.device,
    retrain: bool = False,
    again: bool = False,
) -> Job[ServerTrainingReport]:
    """Train the mapping network. A training that was stopped goes on where it was.

    Every bundle is checked before training starts; a bad one stops the command,
    since a mapping network that lacks a site is not what was asked for. Pairs that are only
    suspicious are used, and reported.

    Parameters
    ----------
    bundles
        Training bundles of all sites.
    shares
        Transform share files, one per site (``escrow``); none in ``blind``.
    retrain
        Replace the network that is there, for which bundles that were accepted before may be
        used once more.
    again
        Use bundles that were accepted before, in another folder.

    Raises
    ------
    PPCMIError
        A bundle or share is bad, missing, not trusted, or of another study, epoch or site; or
        a bundle's pairs are unusable.
    """
    server_folder = ServerFolder(Path(folder))
    _require_untrained(server_folder, retrain)
    given = yield from collect(study, bundles, shares, party, again=again or retrain)
    server = MappingServer(study, {site: held.share for site, held in given.shares.items()})
    _require_memory(study, given)
    with work_lock(server_folder.root):
        _require_untrained(server_folder, retrain)  # another command may have been quicker
        pairs: dict[str, SitePairs] = {}
        for site, checked in given.bundles.items():
            parts = []
            for one in checked:
                yield Progress(len(pairs), len(given.bundles), f"Reading bundles of {site}")
                parts.append(_read_pairs(server, one, party))
                refuse_faults(parts[-1], site, str(one.path))
            pairs[site] = _join(parts)
        contributions = yield from check_contributions(pairs, options.max_site_weight)
        network, report = yield from train_mapping(
            study,
            pairs,
            options,
            device=device,
            checkpoint=server_folder.checkpoint,
            signature=_signature(study, options, given),
        )
        _save(server_folder, study, network, given)
        given.note(party)
    return ServerTrainingReport(
        {name: len(site.validation) for name, site in pairs.items()},
        sum(value.numel() for value in network.parameters()),
        report,
        contributions,
    )


def _require_untrained(folder: ServerFolder, retrain: bool) -> None:
    if folder.model_file.is_file() and not retrain:
        raise ModelFileError(
            f"{folder.root}: this server is trained already.",
            hint="With --retrain its mapping network is replaced.",
        )


def _save(
    folder: ServerFolder, study: StudySpec, network: UnifiedMappingNetwork, given: Contributions
) -> None:
    study.save(folder.study_file)
    for site, held in given.shares.items():
        held.sealed.save(folder.share_file(site))
    header = ModelHeader(
        kind="mapping-network",
        study=study.fingerprint,
        sites=tuple(given.links.values()),
        adapters=network.has_adapters,
    )
    save_model(folder.model_file, network, header)
    folder.checkpoint.unlink(missing_ok=True)


def _signature(study: StudySpec, options: MappingOptions, given: Contributions) -> str:
    """Settings and data of a training; a checkpoint of others is not gone on from."""
    digest = hashlib.sha256(f"{study.fingerprint}{asdict(options)}".encode())
    for one in given.every_bundle():
        digest.update(one.header.bundle_id.encode())
    return digest.hexdigest()


def _require_memory(study: StudySpec, given: Contributions) -> None:
    values = sum(scale.channels * scale.rows * scale.columns for scale in study.scales)
    items = sum(one.header.items for one in given.every_bundle())
    # Two roles in float16, and once more while they are joined.
    require_memory(2 * items * values * 2 * 2, torch.device("cpu"), "Holding the training pairs")


def _read_pairs(server: MappingServer, checked: CheckedBundle, party: Party) -> SitePairs:
    """Recover a record at a time, so that only its items are in float32 at once."""
    read: dict[Role, list[LatentPyramid]] = {"image": [], "mask": []}
    flags: list[bool] = []
    with open_bundle(checked.path, party.identity, party.sender) as bundle:
        if bundle.digest != checked.digest:
            raise BundleError(f"{checked.path}: changed meanwhile.", hint="Start again.")
        for tensors in bundle.records():
            batch = unpack_items(bundle, tensors, server.study)
            flags.extend(batch.validation)
            for role, protected in batch.latents.items():
                recovered = server.read(checked.sender.name, role, protected, batch.items)
                read[role].append(recovered.to(torch.float16))
    # Clones: tensors made in inference mode may not enter a training.
    image, mask = (LatentPyramid.concatenate(read[role]).map(torch.clone) for role in ROLES)
    return SitePairs(image, mask, np.array(flags, dtype=np.bool_))


def _join(parts: list[SitePairs]) -> SitePairs:
    if len(parts) == 1:
        return parts[0]
    first, *rest = parts
    joined = first
    for part in rest:
        joined = replace(
            joined,
            inputs=LatentPyramid.concatenate([joined.inputs, part.inputs]),
            targets=LatentPyramid.concatenate([joined.targets, part.targets]),
            validation=np.concatenate([joined.validation, part.validation]),
        )
    return joined
