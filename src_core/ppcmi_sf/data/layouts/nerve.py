"""Ultrasound nerve segmentation (Kaggle, 2016): ``1_1.tif`` and ``1_1_mask.tif``.

The first number is the subject, the second the image. Masks are 0 and 255.
"""

from __future__ import annotations

import re
from pathlib import Path

from ppcmi_sf.data.cases import Case
from ppcmi_sf.data.layouts._found import Found, Layout
from ppcmi_sf.data.listing import images_in, mask_for, masks_in, visible

_IMAGE = re.compile(r"(\d+)_\d+")
_MASK_FILE = re.compile(r"\d+_\d+_mask\.tiff?")


def matches(folder: Path) -> bool:
    """Whether there is a mask named in this way."""
    return any(_MASK_FILE.fullmatch(entry.name) for entry in visible(folder))


def find(folder: Path, masks: Path | None, training: bool) -> Found:
    """Cases of the nerve data; the group is the subject."""
    found_masks = masks_in(masks or folder)
    cases = []
    for name, path in images_in(folder).items():
        if match := _IMAGE.fullmatch(name):
            # an image's own name is no mask here, so only '<name>_mask' may match in its folder
            mask = mask_for(name, found_masks)
            cases.append(Case(name, path, None if mask == path else mask, match.group(1)))
    return Found(cases)


LAYOUT = Layout("1_1.tif and 1_1_mask.tif (ultrasound nerve)", matches, find)
