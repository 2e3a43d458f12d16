"""An image that is only in the viewer, as a file of the site."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppcmi_sf.errors import InputFileError, PPCMIError
from ppcmi_sf.files import atomic_path
from ppcmi_sf.imaging import check_finite, read_image

_LONGEST_AXIS = 32767  # NIfTI-1 counts voxels in 16 bits
_NAME_LENGTH = 60

Values = NDArray[np.float32]


def keep_values(
    name: str, values: Values, spacing: tuple[float, ...], physical: bool, folder: Path
) -> Path:
    """Write an image, channels last; the same image again gives the same file.

    One channel goes to NIfTI, several to MetaImage, since NIfTI has no colours that are
    float32. Neither header holds anything but the grid.

    Parameters
    ----------
    spacing
        Of each array axis; 2D arrays are (rows, columns).
    physical
        Whether it is in millimetres.

    Raises
    ------
    InputFileError
        The image cannot be kept: values that are not finite, too many axes, an axis too long.
    ResourceError
        The file cannot be written.
    """
    axes = values.ndim - 1
    check_finite(name, values)
    if axes not in (2, 3) or values.size == 0 or max(values.shape) > _LONGEST_AXIS:
        raise InputFileError(
            name,
            f"an image of size {values.shape[:-1]} cannot be protected.",
            hint="Choose one slice or one volume of it.",
        )
    steps = spacing if physical and len(spacing) == axes else (1.0,) * axes
    single = values.shape[-1] == 1
    target = Path(folder) / f"{_stem(name, values, steps)}{'.nii.gz' if single else '.mha'}"
    if not _holds(target, values):
        with atomic_path(target, mode=0o600) as temporary:
            (_write_nifti if single else _write_metaimage)(values, steps, physical, temporary)
    return target


def _stem(name: str, values: Values, steps: tuple[float, ...]) -> str:
    """Letters and digits of the name, and a hash of what is in the file."""
    digest = hashlib.sha256(repr((values.shape, steps)).encode())
    digest.update(np.ascontiguousarray(values).data)
    safe = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:_NAME_LENGTH] or "layer"
    return f"{safe}-{digest.hexdigest()[:12]}"


def _holds(path: Path, values: Values) -> bool:
    if not path.is_file():
        return False
    try:
        return np.array_equal(read_image(path).data, values)
    except PPCMIError:
        return False  # a damaged file is written anew


def _write_nifti(values: Values, steps: tuple[float, ...], physical: bool, path: Path) -> None:
    import nibabel as nib

    array = values[..., 0]
    if array.ndim == 2:  # the file has columns first
        array, steps = array.T, steps[::-1]
    header = nib.Nifti1Image.header_class()
    header.set_data_dtype(np.float32)
    header.set_data_shape(array.shape)
    header.set_zooms(steps)
    if physical:
        header.set_xyzt_units("mm")
    nib.Nifti1Image(array, None, header).to_filename(path)


def _write_metaimage(values: Values, steps: tuple[float, ...], _physical: bool, path: Path) -> None:
    import SimpleITK as sitk

    axes = values.ndim - 1
    array: NDArray[Any] = values
    if axes == 3:
        array = values.transpose(2, 1, 0, 3)
    else:
        steps = steps[::-1]  # ITK's are x, y
    image = sitk.GetImageFromArray(np.ascontiguousarray(array), isVector=True)
    image.SetSpacing(steps)
    try:
        sitk.WriteImage(image, str(path))
    except RuntimeError as error:
        raise OSError(None, "the file format library refused") from error
