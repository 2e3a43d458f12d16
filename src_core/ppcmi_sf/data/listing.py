"""What lies in a folder: images and masks by case name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging import case_name, is_supported, list_series

MASK_SUFFIX = "_mask"


def visible(folder: Path) -> list[Path]:
    """Entries of a folder, sorted by name, without hidden ones.

    macOS leaves a ``._x`` beside a file ``x``; these are hidden ones too.

    Raises
    ------
    InputFileError
        The folder is missing or may not be read.
    """
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise InputFileError(
            folder, "there is no such folder, or it cannot be read.", hint="Check the path."
        ) from error


def is_dicom_series(folder: Path) -> bool:
    """Whether a folder holds the slices of a DICOM series: several files of one series."""
    if not is_supported(folder):
        return False
    try:
        return any(series.file_count > 1 for series in list_series(folder))
    except InputFileError:
        return True  # a damaged slice: reading the series says which


def images_in(folder: Path) -> dict[str, Path]:
    """Images of a folder by case name: image files and folders of a DICOM series.

    Raises
    ------
    InputFileError
        Two of them have the same case name; the message names both.
    """
    return _by_name(folder, is_supported)


def masks_in(folder: Path) -> dict[str, Path]:
    """Masks of a folder by their own name (``_mask`` not yet taken off); also ``.mat`` files."""
    return _by_name(
        folder,
        lambda entry: entry.is_file() and (entry.suffix == ".mat" or is_supported(entry)),
    )


def mask_for(name: str, masks: dict[str, Path]) -> Path | None:
    """Find the mask of a case: ``<name>_mask`` before ``<name>``."""
    return masks.get(name + MASK_SUFFIX) or masks.get(name)


def _name(entry: Path) -> str:
    """Case name of an image, a DICOM folder (its dots are no suffix) or a ``.mat`` file."""
    if entry.is_dir():
        return entry.name
    return entry.stem if entry.suffix == ".mat" else case_name(entry)


def _by_name(folder: Path, wanted: Callable[[Path], bool]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for entry in visible(folder):
        if not wanted(entry):
            continue
        name = _name(entry)
        if name in found:
            raise InputFileError(
                entry,
                f"its case name '{name}' is also that of {found[name].name}.",
                hint="Case names must differ; rename one of the two files.",
            )
        found[name] = entry
    return found
