"""Whether a mask fits its image, and its values as class indices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging.geometry import Geometry, swap_first_axes

_SHIFTED = 0.9  # voxels: a whole one as rounding leaves it; half a one is another convention


def fit_to_image(
    path: Path, values: NDArray[np.float32], own: Geometry, image: Geometry
) -> NDArray[np.float32]:
    """Check the mask's size, and its place where both files state one."""
    affine = own.affine_array()
    if values.ndim == 3 and len(image.shape) == 2 and values.shape[2] == 1:
        # A volume of one slice as a 2D image: (i, j, 1) becomes (rows, columns).
        values, affine = values[:, :, 0].T, swap_first_axes(affine)
    if values.shape != image.shape:
        raise _othersize_text(path, values.shape, image.shape)
    if _states_place(own, image) and _states_place(image, image):
        _require_same_place(path, affine, image)
    return values


def _require_same_place(path: Path, affine: NDArray[np.float64], image: Geometry) -> None:
    """Refuse a mask that is flipped, turned, or shifted by a voxel or more."""
    axes = len(image.shape)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape])).reshape(axes, -1)
    homogeneous = np.zeros((4, corners.shape[1]))
    homogeneous[:axes], homogeneous[3] = corners, 1
    moved = (affine - image.affine_array()) @ homogeneous
    distance = float(np.linalg.norm(moved[:3], axis=0).max())
    # A shift moves all corners. A spacing that a program has rounded leaves one where it is.
    voxels = np.linalg.solve(image.affine_array(), moved)[:axes]
    if distance > max(image.spacing) or np.abs(voxels).max(axis=0).min() > _SHIFTED:
        raise InputFileError(
            path,
            "the mask has the size of its image but lies elsewhere: corners are up to "
            f"{distance:.1f} mm apart (flipped, turned or shifted).",
            hint="Save the mask in the grid of the image.",
        )


def _othersize_text(path: Path, own: tuple[int, ...], image: tuple[int, ...]) -> InputFileError:
    return InputFileError(
        path,
        f"the mask is {size_text(own)}, but its image is {size_text(image)}.",
        hint="Check that they belong together, and save the mask in the grid of the image.",
    )


def _states_place(geometry: Geometry, image: Geometry) -> bool:
    """Whether a header says more than the defaults that programs write without knowing."""
    affine = geometry.affine_array()
    if geometry.family == "raster" or not geometry.is_oriented:
        return False
    if len(image.shape) == 2:
        # Of 2D images those in DICOM alone say it for sure. Masks of them are often written with
        # the pixels' size and no more; what knows the place also knows where it begins.
        in_space = geometry.family == "dicom" or len(geometry.shape) == 3
        return image.family == "dicom" and in_space and bool(affine[:3, 3].any())
    return not np.array_equal(np.abs(np.round(affine, 6)), np.eye(4))


def class_indices(path: Path, values: NDArray[np.float32], class_count: int) -> NDArray[np.uint8]:
    """Check that the values are classes of the study, by the rules of ``read_mask``."""
    whole = np.rint(values)
    off = np.abs(values - whole) > 1e-4  # a rescale slope may leave rounding errors
    if off.any():
        raise InputFileError(
            path,
            f"the mask holds {float(values[off][0]):g}, which is no class index.",
            hint="Save it with whole class indices, without smoothing and not as JPEG.",
        )
    if class_count == 2 and whole.max() == 255 and bool(np.isin(whole, (0, 255)).all()):
        return np.asarray(whole > 0, dtype=np.uint8)
    outside = (whole < 0) | (whole >= class_count)
    if outside.any():
        raise InputFileError(
            path,
            f"the mask holds class {int(whole[outside][0])}, but the study has classes 0 to "
            f"{class_count - 1}.",
            hint="Correct the mask, or add the class to the study file at every site.",
        )
    return whole.astype(np.uint8)


def size_text(shape: tuple[int, ...]) -> str:
    """Write a size for people."""
    return " x ".join(str(count) for count in shape)
