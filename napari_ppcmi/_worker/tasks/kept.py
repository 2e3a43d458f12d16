"""Masks that are saved by themselves, so that neither a crash nor a slip loses one.

Each is a mask file in the grid of its image, with a record beside it: ``case.nii.gz.json``.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from napari_ppcmi._protocol.images import KeptMask, KeptMaskList, KeptMasks, Mask, OpenKeptMask
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.outcomes import class_counts
from ppcmi_sf.errors import InputFileError
from ppcmi_sf.files import write_error, write_text
from ppcmi_sf.imaging import mask_path, read_mask, write_mask
from ppcmi_sf.progress import Job, Progress

_RECORD = ".json"
_MAX_RECORD_BYTES = 256 * 1024
_NAME_LENGTH = 80
_NOT_KEPT = {"saved", "not_saved", "axes", "counts"}  # what the file itself tells


def keep_mask(folder: Path, mask: Mask) -> Path:
    """Save a mask under a name that no other one has: ``case``, ``case-2``, ``case-3`` and so on.

    Returns
    -------
    Path
        The mask's file.

    Raises
    ------
    PPCMIError
        It cannot be written; then nothing of it stays.
    """
    name, target = _claim(folder, mask)
    record = _record_of(target)
    try:
        write_mask(mask.arrays[0], mask.geometry, folder, name)
        write_text(record, mask.model_dump_json(exclude=_NOT_KEPT, indent=1) + "\n", mode=0o600)
    except BaseException:  # a cancel, too
        for path in (target, record):
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise
    return target


def kept_masks(_desk: Desk, request: KeptMasks) -> KeptMaskList:
    """All masks of a folder, the newest first; damaged records are skipped."""
    found = []
    for record in sorted(request.folder.glob(f"*{_RECORD}")):
        path = record.with_name(record.name.removesuffix(_RECORD))
        mask = _read_record(record)
        if mask is None or not path.is_file():
            continue
        made = mask.provenance.made
        found.append(KeptMask(name=mask.name, path=path, source=mask.source, made=made))
    return KeptMaskList(masks=tuple(sorted(found, key=lambda one: one.made, reverse=True)))


def open_kept_mask(_desk: Desk, request: OpenKeptMask) -> Job[Mask]:
    """Read a mask and all that is known of it."""
    path = request.path
    yield Progress(0, 1, f"Opening {path.name}")
    mask = _read_record(_record_of(path))
    if mask is None:
        raise InputFileError(
            path,
            "the record beside it is missing or damaged.",
            hint="Open the mask as an image file, or make it again.",
        )
    labels = read_mask(path, len(mask.classes), image_geometry=mask.geometry)
    counts = class_counts(labels, len(mask.classes))
    return mask.model_copy(update={"arrays": (labels,), "counts": counts, "saved": path})


def _record_of(path: Path) -> Path:
    return path.with_name(path.name + _RECORD)


def _claim(folder: Path, mask: Mask) -> tuple[str, Path]:
    """Find a free name, and take it with an empty record: another worker may look for one, too."""
    stem = re.sub(r"[/\\:\0]", "_", mask.name).strip(". ")[:_NAME_LENGTH] or "mask"
    number = 1
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(folder, error) from error
    while True:
        name = stem if number == 1 else f"{stem}-{number}"
        target = mask_path(mask.geometry, folder, name)
        number += 1
        try:
            if not target.exists():
                _record_of(target).touch(mode=0o600, exist_ok=False)
                return name, target
        except FileExistsError:
            continue
        except OSError as error:
            raise write_error(target, error) from error


def _read_record(path: Path) -> Mask | None:
    try:
        if path.stat().st_size > _MAX_RECORD_BYTES:
            return None
        return Mask.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
