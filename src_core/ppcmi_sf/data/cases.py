"""A case: an image, its mask, and the patient they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ppcmi_sf.data.matlab import read_mat_mask, slice_order
from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging import Geometry, read_mask


@dataclass(frozen=True)
class Case:
    """One image with what is known about it.

    Attributes
    ----------
    name
        Unique within its folder.
    image
        A file, or the folder of a DICOM series.
    mask
        A mask file (:func:`load_case_mask` reads it), or ``None``.
    group
        Patient or subject; cases of one group stay together in a split. Its
        default is ``name``.
    channel_axis
        Axis of the file (in ITK's x, y, z order) that holds channels, or ``None``.
    """

    name: str
    image: Path
    mask: Path | None = None
    group: str = ""
    channel_axis: int | None = None

    def __post_init__(self) -> None:
        if not self.group:
            object.__setattr__(self, "group", self.name)


def load_case_mask(case: Case, class_count: int, geometry: Geometry) -> npt.NDArray[np.uint8]:
    """Read the mask of a case so that it lies on the image.

    A ``.mat`` mask (rows, columns, slices) is turned to the image's voxel axes
    (i = column, j = row, k = slice by rising position). Its slices are taken to
    be in the order of the DICOM instance numbers; an image that is no DICOM
    folder is taken to have that order itself. Two-class masks may have the
    values 0 and 255.

    Parameters
    ----------
    case
        A case with a mask.
    class_count
        Number of classes K, the background included.
    geometry
        Of the case's image.

    Returns
    -------
    Class indices in [0, K), of the image's spatial shape.

    Raises
    ------
    InputFileError
        The mask is missing or unreadable, has another size than the image, or a
        value that is no class.
    """
    if case.mask is None:
        raise missing_mask(case)
    if case.mask.suffix != ".mat":
        return read_mask(case.mask, class_count, image_geometry=geometry)
    mask = read_mat_mask(case.mask).transpose(1, 0, 2)
    if mask.shape != geometry.shape:
        raise InputFileError(
            case.mask,
            f"the mask is {mask.shape}, but the image {case.image.name} is {geometry.shape}.",
            hint="Is it the mask of this image?",
        )
    if case.image.is_dir():
        mask = mask[:, :, slice_order(case.image, geometry)]
    if not np.isin(mask, np.arange(class_count)).all():
        raise InputFileError(
            case.mask,
            f"it has values other than the classes 0 to {class_count - 1}.",
            hint="Correct the mask, or add the class to the study.",
        )
    return mask.astype(np.uint8)


def missing_mask(case: Case) -> InputFileError:
    """Say that an image has no mask."""
    return InputFileError(
        case.image,
        "there is no mask for this image.",
        hint=f"Add a mask named {case.name}, or take the image out of the folder.",
    )
