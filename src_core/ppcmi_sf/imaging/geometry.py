"""Geometry: what is needed to write a mask in exactly the grid of a file, without the file.

World coordinates are millimetres in NIfTI's frame: x grows towards the patient's
Right, y towards Anterior, z towards Superior (RAS+).
ITK, MetaImage, NRRD (as ITK reads it) and DICOM use LPS+, whose x and y have the
other sign. References: the NIfTI-1 header file (nifti1.h, "3D image orientation")
and DICOM PS3.3 section C.7.6.2.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

Family = Literal["nifti", "metaimage", "nrrd", "raster", "dicom"]

# strict=False lets the JSON-like lists of a parent record stand for tuples
Floats = Annotated[tuple[float, ...], Field(strict=False)]
Counts = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], Field(strict=False, min_length=2, max_length=3)
]
Matrix4 = Annotated[tuple[Floats, Floats, Floats, Floats], Field(strict=False)]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_CLEARLY_LARGER = 1.2


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class NiftiGrid(_Record):
    """The header fields of a NIfTI file that place its voxels, exactly as stored.

    The quaternion is kept as it is because a matrix does not give it back to
    the last bit. Units are those of ``xyzt_units``.
    """

    version: Literal[1, 2]
    pixdim: Annotated[Floats, Field(min_length=4, max_length=4)]
    qform_code: int
    sform_code: int
    quaternion: Annotated[Floats, Field(min_length=3, max_length=3)]
    qoffset: Annotated[Floats, Field(min_length=3, max_length=3)]
    srow: Annotated[Floats, Field(min_length=12, max_length=12)]
    xyzt_units: int
    dim_info: int


class ItkGrid(_Record):
    """Spacing, origin and direction as ITK has them: x, y(, z), LPS+, direction row by row."""

    spacing: Floats
    origin: Floats
    direction: Floats


class Geometry(_Record):
    """Grid of one image: all that writing a mask needs, as a record that goes through JSON.

    It holds nothing but numbers about the grid; no patient, study or file name.

    Attributes
    ----------
    family
        File format family of the image, and so of its masks (NIfTI for DICOM).
    shape
        Voxel counts, axis by axis of ``MedicalImage.data`` without channels.
        3D arrays are indexed (i, j, k) as the file stores them, i fastest
        (ITK's x, y, z; nibabel's order). Every 2D array is (rows, columns),
        whatever the format.
    spacing
        Millimetres per voxel along each of these axes. 1.0 where the file does
        not say.
    has_physical_size
        ``False`` where ``spacing`` is in pixels: rasters, DICOM without spacing.
    is_oriented
        Whether the file says how the image lies in the patient.
    slice_axis
        Axis of a volume along which it was acquired. 0, and without meaning, in 2D.
    affine
        4x4, array index to world in mm (RAS+). For 2D the third column is the normal.
    compressed
        Whether a NIfTI mask is written as ``.nii.gz``.
    nifti, itk
        What the file itself stores, for exact write-back.
    """

    family: Family
    shape: Counts
    spacing: Floats
    has_physical_size: bool
    is_oriented: bool = True
    slice_axis: Annotated[int, Field(ge=0, le=2)] = 0
    affine: Matrix4
    compressed: bool = True
    nifti: NiftiGrid | None = None
    itk: ItkGrid | None = None

    @model_validator(mode="after")
    def _complete(self) -> Geometry:
        if len(self.spacing) != len(self.shape):
            raise ValueError("spacing and shape must have the same number of axes")
        if self.family == "nifti" and self.nifti is None:
            raise ValueError("a NIfTI geometry needs 'nifti'")
        if self.family in ("metaimage", "nrrd") and (
            self.itk is None or len(self.itk.spacing) != len(self.shape)
        ):
            raise ValueError("a MetaImage or NRRD geometry needs 'itk' with the same axes")
        return self

    def affine_array(self) -> NDArray[np.float64]:
        """:attr:`affine` as an array (4, 4)."""
        return np.array(self.affine, dtype=np.float64)


def as_rows(matrix: NDArray[np.float64]) -> Matrix4:
    """Turn a 4x4 array into the tuples that a :class:`Geometry` holds."""
    first, second, third, fourth = (tuple(float(v) for v in row) for row in matrix)
    return first, second, third, fourth


def column_lengths(affine: NDArray[np.float64], axes: int) -> tuple[float, ...]:
    """Length in mm of one step along each of the first ``axes`` array axes."""
    return tuple(float(v) for v in np.linalg.norm(affine[:3, :axes], axis=0))


def is_usable(affine: NDArray[np.float64]) -> bool:
    """Whether a 4x4 affine is finite and can be inverted."""
    if not np.isfinite(affine).all():
        return False
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not (lengths > 0).all():
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-6)


def swap_first_axes(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the affine of a 2D array with swapped axes: (x, y) to (rows, columns), or back."""
    return affine[:, [1, 0, 2, 3]]


def default_slice_axis(spacing: tuple[float, ...], shape: tuple[int, ...]) -> int:
    """Axis along which a volume is cut.

    The one of length 1 of a single slice; else that whose spacing is clearly the largest (over
    1.2 times the next); else the last one.
    """
    if len(spacing) < 3:
        return 0
    if shape.count(1) == 1:
        return shape.index(1)
    order = np.argsort(spacing)
    largest, second = spacing[int(order[-1])], spacing[int(order[-2])]
    return int(order[-1]) if largest > _CLEARLY_LARGER * second else len(spacing) - 1


def itk_affine(grid: ItkGrid) -> NDArray[np.float64]:
    """Affine (x, y, z index to RAS+ mm) of an ITK grid of 2 or 3 axes."""
    count = len(grid.spacing)
    affine = np.eye(4)
    affine[:count, :count] = np.reshape(grid.direction, (count, count)) * np.array(grid.spacing)
    affine[:count, 3] = grid.origin
    return np.asarray(LPS_TO_RAS @ affine)


def itk_grid(affine: NDArray[np.float64], axes: int) -> ItkGrid:
    """ITK grid of 2 or 3 axes of an affine (x, y, z index to RAS+ mm): :func:`itk_affine` back."""
    lps = LPS_TO_RAS @ affine
    lengths = np.linalg.norm(lps[:3, :axes], axis=0)
    direction = lps[:axes, :axes] / lengths
    return ItkGrid(
        spacing=tuple(lengths.tolist()),
        origin=tuple(lps[:axes, 3].tolist()),
        direction=tuple(direction.ravel().tolist()),
    )


def lies_flat(affine: NDArray[np.float64]) -> bool:
    """Whether a 2D image lies in the plane of x and y at height 0, so that two axes place it."""
    return not affine[2, [0, 1, 3]].any() and not affine[:2, 2].any()


def raster_geometry(rows: int, columns: int) -> Geometry:
    """Geometry of a picture without physical size: one pixel counts as 1 mm, LPS+ like ITK's."""
    affine = swap_first_axes(LPS_TO_RAS)
    return Geometry(
        family="raster",
        shape=(rows, columns),
        spacing=(1.0, 1.0),
        has_physical_size=False,
        is_oriented=False,
        affine=as_rows(affine),
    )
