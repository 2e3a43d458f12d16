"""Masks in MATLAB files, as FUMPE publishes them.

FUMPE's ``GroundTruth/PATnnn.mat`` holds ``Mask`` (rows, columns, slices), its
slices in the order of the DICOM instance numbers. That order is this module's
assumption; it is the one that published loaders of FUMPE use.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ppcmi_sf.data.listing import visible
from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging import Geometry, is_supported

VARIABLE = "Mask"
MAX_BYTES = 4 * 1024**3
_INSTANCE_NUMBER = "0020|0013"


def read_mat_mask(path: Path) -> npt.NDArray[Any]:
    """Read the mask of a MATLAB file (version 4 to 7, not 7.3).

    Parameters
    ----------
    path
        A ``.mat`` file with the variable ``Mask``, or with a single 3D array.

    Returns
    -------
    The array as stored, (rows, columns, slices), of any number type.

    Raises
    ------
    InputFileError
        The file is missing, damaged, of version 7.3, or holds no such array.
    """
    from scipy.io import loadmat

    path = Path(path)
    try:
        variables = {name: (size, kind) for name, size, kind in _contents(path)}
        name = _mask_name(path, variables)
        array = loadmat(path, variable_names=[name])[name]
    except NotImplementedError as error:
        raise InputFileError(
            path,
            "a MATLAB 7.3 file, which cannot be read.",
            hint="In MATLAB: load it and save again with save(file, 'Mask', '-v7').",
        ) from error
    except OSError as error:
        raise InputFileError(
            path, f"cannot be read ({error.strerror or error}).", hint="Is the path right?"
        ) from error
    except InputFileError:
        raise
    except Exception as error:  # scipy's parser fails in many ways on damaged files
        raise InputFileError(
            path, "damaged, or not a MATLAB file.", hint="Copy it again from its source."
        ) from error
    mask: npt.NDArray[Any] = np.asarray(array)
    return mask


def slice_order(folder: Path, geometry: Geometry) -> list[int]:
    """Tell which slice of a mask belongs to each slice k of a DICOM volume.

    Parameters
    ----------
    folder
        The DICOM series, as FUMPE has them: files of one series and nothing else.
    geometry
        Of the volume that was read from it.

    Returns
    -------
    For each k the rank of that slice by instance number (by file name where a
    file has no instance number).

    Raises
    ------
    InputFileError
        The files are not the slices of that volume.
    """
    import SimpleITK as sitk

    to_index = np.linalg.inv(geometry.affine_array())
    found = []
    for file in visible(folder):
        if not is_supported(file):
            continue
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(file))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise InputFileError(file, "damaged.", hint="Copy it again from its source.") from error
        x, y, z = reader.GetOrigin()
        k = round(float((to_index @ [-x, -y, z, 1.0])[2]))  # DICOM's LPS+ to RAS+
        found.append((_instance(reader), file.name, k))
    if all(number is not None for number, _, _ in found):
        ordered = [k for _, _, k in sorted(found, key=lambda item: item[0] or 0)]
    else:
        ordered = [k for _, _, k in found]
    if sorted(ordered) != list(range(geometry.shape[2])):
        raise InputFileError(
            folder,
            "its files do not number the slices of one volume, so no MATLAB mask can be laid on.",
            hint="Keep one series in the folder, or save the mask as NIfTI.",
        )
    return [int(rank) for rank in np.argsort(ordered)]


def _instance(reader: Any) -> int | None:
    """Instance number in a DICOM header, where there is one."""
    if not reader.HasMetaDataKey(_INSTANCE_NUMBER):
        return None
    try:
        return int(reader.GetMetaData(_INSTANCE_NUMBER).strip(" \0"))
    except ValueError:
        return None


def _contents(path: Path) -> list[tuple[str, tuple[int, ...], str]]:
    """Names, sizes and types of the variables, without reading them."""
    from scipy.io import whosmat

    if path.stat().st_size == 0:
        raise InputFileError(path, "the file is empty.", hint="Copy it again from its source.")
    return list(whosmat(path))


def _mask_name(path: Path, variables: dict[str, tuple[tuple[int, ...], str]]) -> str:
    """Choose the mask's variable and refuse one that is absurdly large or no number array."""
    volumes = [name for name, (size, _) in variables.items() if len(size) == 3]
    name = VARIABLE if VARIABLE in variables else volumes[0] if len(volumes) == 1 else None
    if name is None or name not in volumes:
        raise InputFileError(
            path,
            f"no 3D array named '{VARIABLE}' (it holds: {', '.join(variables) or 'nothing'}).",
            hint=f"Save the mask (rows, columns, slices) as '{VARIABLE}'.",
        )
    size, kind = variables[name]
    if kind in ("cell", "struct", "object", "char", "function", "opaque"):
        raise InputFileError(
            path, f"'{name}' is no array of numbers.", hint=f"Save the mask as '{VARIABLE}'."
        )
    if int(np.prod(size, dtype=np.int64)) * 8 > MAX_BYTES:
        raise InputFileError(path, f"'{name}' is too large {size}.", hint="Is it the right file?")
    return name
