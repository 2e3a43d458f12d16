"""Whether a mask fits its image, and its values as class indices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging.geometry import Geometry


def fit_to_image(
    path: Path, values: NDArray[np.float32], own: Geometry, image: Geometry
) -> NDArray[np.float32]:
    """Check the mask's size, and its place where both files state one."""
    if values.ndim == 3 and len(image.shape) == 2 and values.shape[2] == 1:
        return _fit_flat(path, values, image)
    if values.shape != image.shape:
        raise _othersize_text(path, values.shape, image.shape)
    if _states_place(own) and _states_place(image):
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in image.shape])).reshape(
            len(image.shape), -1
        )
        homogeneous = np.zeros((4, corners.shape[1]))
        homogeneous[: len(image.shape)], homogeneous[3] = corners, 1
        moved = (own.affine_array() - image.affine_array()) @ homogeneous
        distance = float(np.linalg.norm(moved[:3], axis=0).max())
        if distance > max(image.spacing):
            raise InputFileError(
                path,
                "the mask has the size of its image but lies elsewhere: corners are up to "
                f"{distance:.1f} mm apart (flipped, turned or shifted).",
                hint="Save the mask in the grid of the image.",
            )
    return values


def _fit_flat(path: Path, values: NDArray[np.float32], image: Geometry) -> NDArray[np.float32]:
    """Take a volume of one slice as a 2D image: (i, j, 1) becomes (rows, columns)."""
    flat = values[:, :, 0].T
    if flat.shape != image.shape:
        raise _othersize_text(path, flat.shape, image.shape)
    return flat


def _othersize_text(path: Path, own: tuple[int, ...], image: tuple[int, ...]) -> InputFileError:
    return InputFileError(
        path,
        f"the mask is {size_text(own)}, but its image is {size_text(image)}.",
        hint="Check that they belong together, and save the mask in the grid of the image.",
    )


def _states_place(geometry: Geometry) -> bool:
    """Whether a header says more than the defaults that programs write without knowing."""
    affine = geometry.affine_array()
    if geometry.family == "raster" or not geometry.is_oriented:
        return False
    return not np.array_equal(np.abs(np.round(affine, 6)), np.eye(4)) and len(geometry.shape) == 3


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
