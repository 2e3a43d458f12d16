"""The plain layout: ``images/`` and ``masks/`` with equal names, maybe a ``manifest.csv``.

A mask may be called ``<name>_mask``, and its suffix may differ from the image's.
A folder without ``images/`` is itself the folder of the images; a file
``<name>_mask`` in it is a mask, never an image. When it holds the slices of a
DICOM series, the whole folder is one case.
"""

from __future__ import annotations

from pathlib import Path

from ppcmi_sf.data.cases import Case
from ppcmi_sf.data.layouts._found import Found, Layout
from ppcmi_sf.data.listing import MASK_SUFFIX, images_in, is_dicom_series, mask_for, masks_in
from ppcmi_sf.data.manifest import read_manifest


def matches(folder: Path) -> bool:
    """Whether there is a folder of images."""
    return (folder / "images").is_dir()


def find(folder: Path, masks: Path | None, training: bool) -> Found:
    """Cases of a plain folder."""
    nested = matches(folder)
    if not nested and is_dicom_series(folder):
        images = {folder.resolve().name: folder}
    else:
        every = images_in(folder / "images" if nested else folder)
        images = {
            name: path for name, path in every.items() if nested or not name.endswith(MASK_SUFFIX)
        }
    masks_folder = masks or (folder / "masks" if nested else folder)
    found_masks = masks_in(masks_folder) if masks or masks_folder.is_dir() else {}
    if masks_folder == folder:
        found_masks = {n: p for n, p in found_masks.items() if n.endswith(MASK_SUFFIX)}
    groups, problems = read_manifest(folder, images)
    cases = [
        Case(name, path, mask_for(name, found_masks), groups.get(name, ""))
        for name, path in images.items()
        if groups.get(name) != ""
    ]
    return Found(cases, problems)


LAYOUT = Layout("images/ and masks/ with equal names, maybe manifest.csv", matches, find)
