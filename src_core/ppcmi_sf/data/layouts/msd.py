"""Medical Segmentation Decathlon, such as Task02 (heart MRI): ``imagesTr/``, ``labelsTr/``.

``imagesTs/`` has no labels: its cases are found only when masks are not demanded.
Source: Antonelli et al., "The Medical Segmentation Decathlon", Nature
Communications 13:4128, 2022 (doi 10.1038/s41467-022-30695-9).
"""

from __future__ import annotations

from pathlib import Path

from ppcmi_sf.data.cases import Case
from ppcmi_sf.data.layouts._found import Found, Layout
from ppcmi_sf.data.listing import images_in, mask_for, masks_in


def matches(folder: Path) -> bool:
    """Whether there is ``imagesTr/`` or ``imagesTs/``."""
    return (folder / "imagesTr").is_dir() or (folder / "imagesTs").is_dir()


def find(folder: Path, masks: Path | None, training: bool) -> Found:
    """Cases of one task of the Decathlon."""
    masks_folder = masks or folder / "labelsTr"
    found_masks = masks_in(masks_folder) if masks or masks_folder.is_dir() else {}
    parts = [folder / "imagesTr"] if training else [folder / "imagesTr", folder / "imagesTs"]
    return Found(
        [
            Case(name, path, mask_for(name, found_masks))
            for part in parts
            if part.is_dir()
            for name, path in images_in(part).items()
        ]
    )


LAYOUT = Layout("imagesTr/, labelsTr/, imagesTs/ (Medical Segmentation Decathlon)", matches, find)
