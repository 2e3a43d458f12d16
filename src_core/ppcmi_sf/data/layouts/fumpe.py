"""FUMPE, pulmonary embolism in CT angiography: ``CT_scans/`` and ``GroundTruth/``.

A scan is a folder ``PAT001`` of DICOM slices, or a volume such as
``PAT001.nii.gz``; its mask is ``PAT001.mat`` (variable ``Mask``) or a volume.
Source: Masoudi et al., "A new dataset of computed-tomography angiography images
for computer-aided detection of pulmonary embolism", Scientific Data 5:180180,
2018 (doi 10.1038/sdata.2018.180).
"""

from __future__ import annotations

from pathlib import Path

from ppcmi_sf.data.cases import Case
from ppcmi_sf.data.layouts._found import Found, Layout
from ppcmi_sf.data.listing import images_in, mask_for, masks_in


def matches(folder: Path) -> bool:
    """Whether there is ``CT_scans/``."""
    return (folder / "CT_scans").is_dir()


def find(folder: Path, masks: Path | None, training: bool) -> Found:
    """Cases of FUMPE, one for each patient."""
    masks_folder = masks or folder / "GroundTruth"
    found_masks = masks_in(masks_folder) if masks or masks_folder.is_dir() else {}
    return Found(
        [
            Case(name, path, mask_for(name, found_masks))
            for name, path in images_in(folder / "CT_scans").items()
        ]
    )


LAYOUT = Layout("CT_scans/ and GroundTruth/ (FUMPE)", matches, find)
