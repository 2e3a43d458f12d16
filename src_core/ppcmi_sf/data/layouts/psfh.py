"""PSFH, pubic symphysis and fetal head: ``image_mha/00001.mha``, ``label_mha/00001.mha``.

An image is a scalar volume of 3 × 256 × 256 whose first array axis (ITK's third)
holds colours; a label is 256 × 256 with 0 background, 1 pubic symphysis, 2 head.
Source: Chen et al., "PSFHS: Intrapartum ultrasound image dataset for AI-based
segmentation of pubic symphysis and fetal head", Scientific
Data 11:436, 2024 (doi 10.1038/s41597-024-03266-4). Patients are not published.
"""

from __future__ import annotations

from pathlib import Path

from ppcmi_sf.data.cases import Case
from ppcmi_sf.data.layouts._found import Found, Layout
from ppcmi_sf.data.listing import images_in, mask_for, masks_in

COLOUR_AXIS = 2


def matches(folder: Path) -> bool:
    """Whether there is ``image_mha/``."""
    return (folder / "image_mha").is_dir()


def find(folder: Path, masks: Path | None, training: bool) -> Found:
    """Cases of PSFH, each a group of its own."""
    masks_folder = masks or folder / "label_mha"
    found_masks = masks_in(masks_folder) if masks or masks_folder.is_dir() else {}
    return Found(
        [
            Case(name, path, mask_for(name, found_masks), channel_axis=COLOUR_AXIS)
            for name, path in images_in(folder / "image_mha").items()
        ]
    )


LAYOUT = Layout("image_mha/ and label_mha/ (PSFH)", matches, find)
