"""``ppcmi site reveal``: reply bundles in, masks in the grid of the site's own files out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.bundle import LatentBundle, read_bundle
from ppcmi_sf.errors import (
    BundleError,
    InputFileError,
    KeyFileError,
    PPCMIError,
    ResourceError,
)
from ppcmi_sf.imaging import assemble, labels_from_grid, mask_path, read_mask, write_mask
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.registry import SentCase
from ppcmi_sf.workflows.folders import SiteFolder
from ppcmi_sf.workflows.report import BatchReport

BATCH = 8


def reveal_replies(
    folder: Path,
    key: ClientKey,
    replies: Sequence[Path],
    out: Path,
    *,
    device: torch.device,
    overwrite: bool = False,
) -> Job[BatchReport]:
    """Decode each reply to a mask named like its case. A mask that is there is kept.

    With ``overwrite`` it is replaced, but nothing that is no mask of that image.

    Raises
    ------
    PPCMIError
        The site cannot be loaded, or the disk is full. What concerns one reply
        alone is listed in the report.
    """
    site_folder = SiteFolder(Path(folder))
    site, encoders = site_folder.load(key, device)
    registry, report = site_folder.registry, BatchReport()
    sources: dict[Path, str] = {}  # whose mask is where, of this run
    for index, path in enumerate(replies):
        step = Progress(index, len(replies), f"Revealing {path.name}")
        yield step
        try:
            reply = read_bundle(path, site.study)
            _check(reply, key, encoders, path)
            case, slices = registry.case_of_reply(reply.header, key.key_id)
            target = mask_path(case.geometry, Path(out), case.name)
            _check_target(target, case, sources.setdefault(target, case.source))
            if target.exists():
                if not overwrite:
                    report.skipped.append(case.name)
                    continue
                _require_mask(target, case, site.study.class_count)
            planes: dict[int, npt.NDArray[np.uint8]] = {}
            for start in range(0, len(slices), BATCH):
                part = reply.latents["mask"].items_at(slice(start, start + BATCH))
                probabilities = site.reveal_masks(part).cpu().numpy()
                for at, one in zip(slices[start : start + BATCH], probabilities, strict=True):
                    planes[at] = labels_from_grid(one, case.fit)
                yield step
            report.written.append(_write(case, planes, Path(out)))
            registry.record_received(reply.header, path, key.key_id)
        except ResourceError:
            raise
        except PPCMIError as error:
            report.failures.append((path.name, error))
    return report


def _write(case: SentCase, planes: dict[int, npt.NDArray[np.uint8]], out: Path) -> Path:
    labels = assemble(planes, case.fit, case.geometry.shape)
    return write_mask(labels, case.geometry, out, case.name)


def _check_target(target: Path, case: SentCase, source_there: str) -> None:
    """Refuse to write over the image itself, or over another case's mask of this run."""
    if source_there != case.source:
        raise InputFileError(
            target,
            f"two images are called '{case.name}': {source_there} and {case.source}.",
            hint="Reveal the replies of the two folders one after the other, into two folders.",
        )
    if target.resolve() == Path(case.source).resolve():
        raise InputFileError(
            target,
            "the mask would replace the image itself.",
            hint="Give another folder with --out.",
        )


def _require_mask(target: Path, case: SentCase, class_count: int) -> None:
    try:
        read_mask(target, class_count, image_geometry=case.geometry)
    except InputFileError as error:
        raise InputFileError(
            target,
            f"this file is no mask of '{case.name}', so it is not replaced.",
            hint="Give another folder with --out, or delete the file yourself.",
        ) from error


def _check(reply: LatentBundle, key: ClientKey, encoders: str, path: Path) -> None:
    header = reply.header
    if header.kind != "reply":
        raise BundleError(
            f"{path}: a {header.kind} bundle, not a reply.",
            hint="Replies come from the mapping server ('ppcmi server map').",
        )
    if header.site != key.site or header.epoch != key.epoch:
        raise KeyFileError(
            f"{path}: for site '{header.site}', epoch {header.epoch}; the key is of site "
            f"'{key.site}', epoch {key.epoch}.",
            hint="Give the key that the query was made with.",
        )
    if header.encoders != encoders:
        raise BundleError(
            f"{path}: the autoencoders of this site were trained anew since the query.",
            hint="Protect the images again and ask for a new reply.",
        )
