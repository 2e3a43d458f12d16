"""Read images and masks of every supported format; write masks in the image's own grid.

Masks are written in the format family of the image: NIfTI for NIfTI (compressed
or not, as the image) and for DICOM (compressed), ``.mha`` for MetaImage, ``.nrrd``
for NRRD, ``.png`` for pictures. Values are class indices, 0 is the background.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppcmi_sf.errors import InputFileError, StudyError
from ppcmi_sf.files import atomic_path
from ppcmi_sf.imaging import _itk, _nifti, _raster, dicom
from ppcmi_sf.imaging._guard import check_finite, check_readable
from ppcmi_sf.imaging.geometry import Family, Geometry

_FAMILIES: dict[str, Family] = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".mha": "metaimage",
    ".mhd": "metaimage",
    ".nrrd": "nrrd",
    ".nhdr": "nrrd",
    ".png": "raster",
    ".jpg": "raster",
    ".jpeg": "raster",
    ".tif": "raster",
    ".tiff": "raster",
    ".dcm": "dicom",
    ".dicom": "dicom",
    ".ima": "dicom",
}
_MASK_SUFFIX = {"metaimage": ".mha", "nrrd": ".nrrd", "raster": ".png", "dicom": ".nii.gz"}


@dataclass(frozen=True)
class MedicalImage:
    """Values of an image and the grid they lie in.

    Attributes
    ----------
    data
        float32, ``(*geometry.shape, channels)``, in the file's units after
        rescale slope and intercept; every value is finite.
    geometry
        Where the voxels lie, and how a mask of this image is written.
    path
        Where it was read from, for messages.
    """

    data: NDArray[np.float32]
    geometry: Geometry
    path: Path | None = None


def is_supported(path: Path) -> bool:
    """Whether :func:`read_image` knows this kind of file, or folder of DICOM files.

    Goes by the name, and for other names by DICOM's magic bytes; the content is
    not checked further.
    """
    path = Path(path)
    if path.is_dir():
        return any(
            not item.name.startswith(".") and item.is_file() and _family(item) == "dicom"
            for item in path.iterdir()
        )
    return _family(path) is not None


def case_name(path: Path) -> str:
    """Name of the case that a file holds: ``case1.nii.gz`` gives ``case1``."""
    name = Path(path).name
    suffix = _suffix(name)
    return name[: -len(suffix)] if suffix else name


def read_image(
    path: Path,
    *,
    frame: int | None = None,
    series_uid: str | None = None,
    channel_axis: int | None = None,
) -> MedicalImage:
    """Read a PNG, JPEG, TIFF, NIfTI, MetaImage, NRRD or DICOM image, or a DICOM folder.

    Parameters
    ----------
    path
        A file, or the folder of a DICOM series.
    frame
        Which frame (from 0) of a file with several: time points of a 4D image,
        pages of a TIFF, frames of a DICOM cine loop.
    series_uid
        Which series of a DICOM folder.
    channel_axis
        Takes this axis (as stored: x, y, z) of a scalar image as channels; for
        data sets that keep three colours as three slices.

    Returns
    -------
    MedicalImage
        2D images are (rows, columns, channels), volumes (i, j, k, channels).

    Raises
    ------
    InputFileError
        The file is missing, empty, damaged, of an unknown kind, too large, has
        too many axes or values that are not finite; the folder has several
        series, or one that is no regular volume.
    ResourceError
        It does not fit into memory.
    """
    path = Path(path)
    data, geometry = _load(path, frame, series_uid, channel_axis, as_labels=False)
    check_finite(path, data)
    return MedicalImage(data, geometry, path)


def read_mask(
    path: Path,
    class_count: int,
    *,
    image_geometry: Geometry | None = None,
    frame: int | None = None,
    series_uid: str | None = None,
    channel_axis: int | None = None,
) -> NDArray[np.uint8]:
    """Read a mask: class indices in the axis order of :attr:`MedicalImage.data`.

    Rules: palette pictures give their indices; with three equal channels one is
    taken. In a study of two classes, a mask whose values are 0 and 255 means
    255 as class 1 (the habit of picture formats); no other value is translated.

    Parameters
    ----------
    class_count
        Number of classes of the study, the background included.
    image_geometry
        Of the image that the mask belongs to; its size must be the same.
    frame, series_uid, channel_axis
        As for :func:`read_image`.

    Returns
    -------
    ndarray
        uint8, values 0 to ``class_count - 1``, shape of the image.

    Raises
    ------
    InputFileError
        As for :func:`read_image`, and: a class outside the study, values that
        are no whole numbers, colours, another size or place than the image's.
    """
    path = Path(path)
    data, geometry = _load(path, frame, series_uid, channel_axis, as_labels=True)
    check_finite(path, data)
    values = data[..., 0]
    for channel in range(1, data.shape[-1]):
        if not np.array_equal(values, data[..., channel]):
            raise InputFileError(
                path,
                f"the mask has {data.shape[-1]} channels that differ (a colour picture?).",
                hint="Save the mask with class indices (0, 1, 2, ...) as its values.",
            )
    if image_geometry is not None:
        values = _fit_to_image(path, values, geometry, image_geometry)
    return _class_indices(path, values, class_count)


def write_mask(labels: NDArray[np.uint8], geometry: Geometry, folder: Path, name: str) -> Path:
    """Write a mask in exactly the grid of the image that ``geometry`` was read from.

    Parameters
    ----------
    labels
        Class indices 0 to 255, shape ``geometry.shape``.
    geometry
        The image's.
    folder
        Made when it is missing. An older mask of that name is replaced, so give
        a folder other than the images'.
    name
        Of the case, without suffix.

    Returns
    -------
    Path
        The file: the folder, the name and the suffix of the image's format family.

    Raises
    ------
    StudyError
        The mask does not have the size of the image, or values other than classes.
    InputFileError
        The name cannot be a file name.
    ResourceError
        The disk is full or the folder cannot be written to. Nothing is left behind.
    """
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0:"):
        raise InputFileError(
            name, "this cannot be the name of a file.", hint="Rename the case, without slashes."
        )
    labels = np.asarray(labels)
    if labels.shape != geometry.shape or labels.dtype.kind not in "bui":
        raise StudyError(
            f"{name}: the mask ({_size(labels.shape)}, {labels.dtype}) does not fit the image "
            f"({_size(geometry.shape)}).",
            hint="It was made from another image; make it again from this one.",
        )
    if labels.size and (labels.min() < 0 or labels.max() > 255):
        raise StudyError(
            f"{name}: the mask has values outside 0 to 255.", hint="Use class indices."
        )
    plain = np.ascontiguousarray(labels, dtype=np.uint8)
    target = mask_path(geometry, folder, name)
    with atomic_path(target) as temporary:
        if geometry.family == "raster":
            _raster.write(plain, temporary)
        elif geometry.family in ("metaimage", "nrrd"):
            _itk.write(plain, geometry, temporary)
        else:
            _nifti.write(plain, geometry, temporary)
    return target


def mask_path(geometry: Geometry, folder: Path, name: str) -> Path:
    """Where :func:`write_mask` puts the mask of a case."""
    suffix = _MASK_SUFFIX.get(geometry.family) or (".nii.gz" if geometry.compressed else ".nii")
    return Path(folder) / f"{name}{suffix}"


def _suffix(name: str) -> str:
    lower = name.lower()
    return next((s for s in _FAMILIES if lower.endswith(s) and len(name) > len(s)), "")


def _family(path: Path) -> Family | None:
    known = _FAMILIES.get(_suffix(path.name))
    return known or ("dicom" if dicom.is_dicom_file(path) else None)


def _load(
    path: Path,
    frame: int | None,
    series_uid: str | None,
    channel_axis: int | None,
    *,
    as_labels: bool,
) -> tuple[NDArray[np.float32], Geometry]:
    if path.is_dir():
        return dicom.read_series(path, uid=series_uid)
    check_readable(path)
    family = _family(path)
    if family == "nifti":
        return _nifti.read(path, frame=frame, channel_axis=channel_axis)
    if family == "metaimage" or family == "nrrd":
        return _itk.read(path, family, frame=frame, channel_axis=channel_axis)
    if channel_axis is not None and family is not None:
        raise InputFileError(
            path,
            "a channel axis can be chosen in NIfTI, MetaImage and NRRD files only.",
            hint="Leave it out.",
        )
    if family == "raster":
        return _raster.read(path, frame=frame, as_labels=as_labels)
    if family == "dicom":
        return dicom.read_file(path, frame=frame)
    raise InputFileError(
        path,
        "not a kind of file that can be read.",
        hint=f"Supported are {', '.join(_FAMILIES)}, and folders of DICOM files.",
    )


def _fit_to_image(
    path: Path, values: NDArray[np.float32], own: Geometry, image: Geometry
) -> NDArray[np.float32]:
    """Check the mask's size, and its place where both files state one."""
    if values.ndim == 3 and len(image.shape) == 2 and values.shape[2] == 1:
        return _fit_flat(path, values, image)
    if values.shape != image.shape:
        raise _other_size(path, values.shape, image.shape)
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
        raise _other_size(path, flat.shape, image.shape)
    return flat


def _other_size(path: Path, own: tuple[int, ...], image: tuple[int, ...]) -> InputFileError:
    return InputFileError(
        path,
        f"the mask is {_size(own)}, but its image is {_size(image)}.",
        hint="Check that they belong together, and save the mask in the grid of the image.",
    )


def _states_place(geometry: Geometry) -> bool:
    """Whether a header says more than the defaults that programs write without knowing."""
    affine = geometry.affine_array()
    if geometry.family == "raster" or not geometry.is_oriented:
        return False
    return not np.array_equal(np.abs(np.round(affine, 6)), np.eye(4)) and len(geometry.shape) == 3


def _class_indices(path: Path, values: NDArray[np.float32], class_count: int) -> NDArray[np.uint8]:
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


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(str(count) for count in shape)
