"""``ppcmi server train``: training bundles of every site to one mapping network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ppcmi_sf.bundle import BundleHeader, read_bundle, read_header
from ppcmi_sf.device import require_memory
from ppcmi_sf.errors import BundleError, InputFileError, KeyFileError, ModelFileError
from ppcmi_sf.keys import TransformShare
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.store import ModelHeader, SiteLink, save_model
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.roles import MappingServer
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.loop import FitReport
from ppcmi_sf.training.mapping import MappingOptions, SitePairs, train_mapping
from ppcmi_sf.workflows.folders import ServerFolder


@dataclass(frozen=True)
class ServerTrainingReport:
    """What came of a training: pairs per site, parameters, losses."""

    pairs: dict[str, int]
    parameters: int
    fit: FitReport


def train_server(
    folder: Path,
    study: StudySpec,
    bundles: Sequence[Path],
    shares: Sequence[Path],
    options: MappingOptions,
    *,
    device: torch.device,
    retrain: bool = False,
) -> Job[ServerTrainingReport]:
    """Train the mapping network. A training that was stopped goes on where it was.

    Every bundle is checked before training starts; a bad one stops the command,
    since a mapping network that lacks a site is not what was asked for.

    Parameters
    ----------
    bundles
        Training bundles of all sites.
    shares
        Transform share files, one per site (``escrow``); none in ``blind``.

    Raises
    ------
    PPCMIError
        A bundle or share is bad, missing or of another study, epoch or site.
    """
    server_folder = ServerFolder(Path(folder))
    if server_folder.model_file.is_file() and not retrain:
        raise ModelFileError(
            f"{server_folder.root}: this server is trained already.",
            hint="With --retrain its mapping network is replaced.",
        )
    links, by_site = _check_headers(study, bundles)
    server = MappingServer(study, _load_shares(study, shares, links))
    _require_memory(study, by_site)
    pairs: dict[str, SitePairs] = {}
    digest = hashlib.sha256(f"{study.fingerprint}{asdict(options)}".encode())
    total = sum(len(files) for files in by_site.values())
    done = 0
    for site, files in by_site.items():
        parts = []
        for path, header in files:
            yield Progress(done, total, f"Reading bundles of {site}")
            parts.append(_read_pairs(server, path))
            digest.update(header.bundle_id.encode())
            done += 1
        pairs[site] = _join(parts)
    network, report = yield from train_mapping(
        study,
        pairs,
        options,
        device=device,
        checkpoint=server_folder.checkpoint,
        signature=digest.hexdigest(),
    )
    study.save(server_folder.study_file)
    for share in server.shares.values():
        share.save(server_folder.share_file(share.site))
    header_out = ModelHeader(
        kind="mapping-network",
        study=study.fingerprint,
        sites=tuple(links[name] for name in pairs),
        adapters=network.has_adapters,
    )
    save_model(server_folder.model_file, network, header_out)
    server_folder.checkpoint.unlink(missing_ok=True)
    return ServerTrainingReport(
        {name: len(site.validation) for name, site in pairs.items()},
        sum(value.numel() for value in network.parameters()),
        report,
    )


def _check_headers(
    study: StudySpec, bundles: Sequence[Path]
) -> tuple[dict[str, SiteLink], dict[str, list[tuple[Path, BundleHeader]]]]:
    links: dict[str, SiteLink] = {}
    by_site: dict[str, list[tuple[Path, BundleHeader]]] = {}
    seen: dict[str, Path] = {}
    for path in bundles:
        header = read_header(path)
        study.require(header.study, f"The bundle {path}")
        if header.kind != "training":
            raise BundleError(
                f"{path}: a {header.kind} bundle, not a training bundle.",
                hint="Make training bundles with 'ppcmi site protect --pairs'.",
            )
        if header.bundle_id in seen:
            raise BundleError(
                f"{path}: the same bundle as {seen[header.bundle_id]}.", hint="Give it once."
            )
        seen[header.bundle_id] = path
        link = SiteLink(
            name=header.site,
            epoch=header.epoch,
            transform=header.transform,
            encoders=header.encoders,
        )
        if links.setdefault(header.site, link) != link:
            raise BundleError(
                f"{path}: made with other autoencoders or another key than the other "
                f"bundles of site '{header.site}'.",
                hint=f"Use bundles of one training of '{header.site}' only.",
            )
        by_site.setdefault(header.site, []).append((path, header))
    return links, dict(sorted(by_site.items()))


def _load_shares(
    study: StudySpec, files: Sequence[Path], links: dict[str, SiteLink]
) -> dict[str, TransformShare]:
    if study.arrangement == "blind":
        if files:
            raise KeyFileError(
                "A blind study's server holds no transform shares.",
                hint="Leave out --share, and tell the sites not to send any.",
            )
        return {}
    shares: dict[str, TransformShare] = {}
    for path in files:
        share = TransformShare.load(path)
        study.require(share.study, f"The transform share {path}")
        if share.site in shares:
            raise InputFileError(
                path, f"a second transform share of site '{share.site}'.", hint="Give one per site."
            )
        shares[share.site] = share
    for site, link in links.items():
        if site not in shares:
            raise KeyFileError(
                f"There is no transform share of site '{site}'.",
                hint=f"Ask '{site}' for one (ppcmi share-transform) and give it with --share.",
            )
        if shares[site].epoch != link.epoch:
            raise KeyFileError(
                f"The transform share of site '{site}' is of epoch {shares[site].epoch}, "
                f"its bundles are of epoch {link.epoch}.",
                hint=f"Ask '{site}' for the share of epoch {link.epoch}.",
            )
        if shares[site].key_id != link.transform:
            raise KeyFileError(
                f"The transform share of site '{site}' is of another key than its bundles.",
                hint=f"Ask '{site}' for the share of the key that made the bundles.",
            )
    return {site: shares[site] for site in links}


def _require_memory(study: StudySpec, by_site: dict[str, list[tuple[Path, BundleHeader]]]) -> None:
    values = sum(scale.channels * scale.rows * scale.columns for scale in study.scales)
    items = sum(len(header.items) for files in by_site.values() for _, header in files)
    # Two roles in float16, and once more while they are joined.
    require_memory(2 * items * values * 2 * 2, torch.device("cpu"), "Holding the training pairs")


def _read_pairs(server: MappingServer, path: Path) -> SitePairs:
    bundle = read_bundle(path, server.study)
    validation = np.zeros(len(bundle.header.items), dtype=np.bool_)
    validation[list(bundle.header.validation)] = True
    read = {
        role: _read_in_parts(server, bundle.header.site, role, latents)
        for role, latents in bundle.latents.items()
    }
    return SitePairs(read["image"], read["mask"], validation)


def _read_in_parts(
    server: MappingServer, site: str, role: str, protected: LatentPyramid, size: int = 64
) -> LatentPyramid:
    """Recover a few items at a time, so that only these are in float32 at once."""
    parts = []
    for start in range(0, protected.batch_size, size):
        part = protected.items_at(slice(start, start + size)).to(torch.float32)
        recovered = server.read(site, "image" if role == "image" else "mask", part)
        parts.append(recovered.to(torch.float16))
    # Clones: tensors made in inference mode may not enter a training.
    return LatentPyramid.concatenate(parts).map(torch.clone)


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
