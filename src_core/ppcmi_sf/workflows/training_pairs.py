"""What a mapping server trains on: the pairs in training bundles, recovered and checked."""

from __future__ import annotations

import numpy as np
import torch

from ppcmi_sf.bundle import open_bundle, unpack_items
from ppcmi_sf.device import require_memory
from ppcmi_sf.errors import BundleError
from ppcmi_sf.home import Party
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.roles import MappingServer
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.contribution_checks import refuse_faults
from ppcmi_sf.training.mapping import SitePairs
from ppcmi_sf.transform import Role
from ppcmi_sf.workflows.contributions import CheckedBundle, Contributions


def read_pairs(study: StudySpec, given: Contributions, party: Party) -> Job[dict[str, SitePairs]]:
    """Read every site's pairs, by the name of the site.

    Raises
    ------
    PPCMIError
        A bundle is damaged or has changed since it was checked, or its pairs are unusable.
    """
    server = MappingServer(study, {site: held.share for site, held in given.shares.items()})
    pairs: dict[str, SitePairs] = {}
    for site, checked in given.bundles.items():
        parts = []
        for one in checked:
            yield Progress(len(pairs), len(given.bundles), f"Reading bundles of {site}")
            parts.append(_read_bundle(server, one, party))
            refuse_faults(parts[-1], site, str(one.path))
        pairs[site] = _join(parts)
    return pairs


def require_memory_for(study: StudySpec, given: Contributions, *, cross_fit: bool = False) -> None:
    """Refuse bundles whose pairs will not fit into memory.

    Raises
    ------
    ResourceError
        They will not.
    """
    values = sum(scale.channels * scale.rows * scale.columns for scale in study.scales)
    items = sum(one.header.items for one in given.every_bundle())
    # Two roles in float16. Once more while they are joined; with cross-fitting there are later
    # the answers, half of the pairs, and all but one part of the pairs.
    times = 2.25 if cross_fit else 2.0
    needed = int(times * items * values * 2 * 2)
    require_memory(needed, torch.device("cpu"), "Holding the training pairs")


def _read_bundle(server: MappingServer, checked: CheckedBundle, party: Party) -> SitePairs:
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
    image, mask = (
        LatentPyramid.concatenate(read[role]).map(torch.clone) for role in ("image", "mask")
    )
    return SitePairs(image, mask, np.array(flags, dtype=np.bool_))


def _join(parts: list[SitePairs]) -> SitePairs:
    if len(parts) == 1:
        return parts[0]
    return SitePairs(
        LatentPyramid.concatenate([part.inputs for part in parts]),
        LatentPyramid.concatenate([part.targets for part in parts]),
        np.concatenate([part.validation for part in parts]),
        np.repeat(np.arange(len(parts)), [len(part.validation) for part in parts]),
    )
