"""``ppcmi site segment``: images in, masks out, with a mapping network at the site itself.

The same protocol as over files: protect, map, reveal. The site plays the server with its
own share, so nothing leaves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.data import Case
from ppcmi_sf.device import place
from ppcmi_sf.errors import ModelFileError, PPCMIError, ResourceError
from ppcmi_sf.imaging import (
    assemble,
    fit_to_grid,
    iter_grid_slices,
    labels_from_grid,
    read_image,
    write_mask,
)
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.roles import MappingServer
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows.batches import in_batches
from ppcmi_sf.workflows.folders import SiteFolder, load_mapping_network
from ppcmi_sf.workflows.mask_targets import MaskTargets
from ppcmi_sf.workflows.report import BatchReport


def segment_cases(
    folder: Path,
    key: ClientKey,
    cases: Sequence[Case],
    out: Path,
    *,
    device: torch.device,
    overwrite: bool = False,
    slice_axis: int | None = None,
    frame: int | None = None,
    series_uid: str | None = None,
) -> Job[BatchReport]:
    """Segment each case to a mask in the grid of its file. A mask that is there is kept.

    Raises
    ------
    PPCMIError
        The site or its mapping network cannot be loaded, or the disk is full. What
        concerns one case alone is listed in the report.
    """
    site_folder = SiteFolder(Path(folder))
    site, encoders = site_folder.load(key, device)
    server = _load_server(site_folder, site.study, key, encoders, device)
    targets = MaskTargets(Path(out), site.study.class_count, overwrite=overwrite)
    report = BatchReport()
    if slice_axis is None:
        slice_axis = site_folder.record().slice_axis
    for index, case in enumerate(cases):
        step = Progress(index, len(cases), f"Segmenting {case.name}")
        yield step
        try:
            image = read_image(
                case.image, frame=frame, series_uid=series_uid, channel_axis=case.channel_axis
            )
            if targets.is_there(image.geometry, case.name, str(case.image.resolve())):
                report.skipped.append(case.name)
                continue
            fit = fit_to_grid(image.geometry, site.study, slice_axis=slice_axis)
            planes: dict[int, npt.NDArray[np.uint8]] = {}
            for batch in in_batches(iter_grid_slices(image, site.study, fit)):
                mapped = server.map(key.site, site.protect_images(batch))
                for one in site.reveal_masks(mapped).cpu().numpy():
                    planes[len(planes)] = labels_from_grid(one, fit)
                yield step
            labels = assemble(planes, fit, image.geometry.shape)
            report.written.append(write_mask(labels, image.geometry, Path(out), case.name))
        except ResourceError:
            raise
        except PPCMIError as error:
            report.failures.append((case.name, error))
    return report


def _load_server(
    site_folder: SiteFolder,
    study: StudySpec,
    key: ClientKey,
    encoders: str,
    device: torch.device,
) -> MappingServer:
    path = site_folder.mapping_file
    if not path.is_file():
        raise ModelFileError(
            f"{site_folder.root}: there is no mapping network at this site.",
            hint="Ask the mapping server for one and install it ('ppcmi site install'), or send a "
            "query ('ppcmi site protect').",
        )
    network, header = load_mapping_network(path, study)
    share = key.transform_share()
    if len(header.sites) != 1:
        raise ModelFileError(f"{path}: not a mapping network.", hint="Install it again.")
    link = header.sites[0]
    if (link.transform, link.encoders) != (share.key_id, encoders):
        raise ModelFileError(
            f"{path}: learned with another key or other autoencoders of this site.",
            hint="Send new training pairs to the mapping server and ask for a new model.",
        )
    shares = {link.name: share} if study.arrangement == "escrow" else {}
    return MappingServer(study, shares, place(network, device))
