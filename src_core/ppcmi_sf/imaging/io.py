"""Read images and masks of every supported format; write masks in the image's own grid.

Masks are written in the format family of the image: NIfTI for NIfTI (compressed
or not, as the image) and for DICOM (compressed), ``.mha`` for MetaImage, ``.nrrd``
for NRRD, ``.png`` for pictures. Values are class indices, 0 is the background.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppcmi_sf.errors import InputFileError, StudyError
from ppcmi_sf.files import atomic_path
from ppcmi_sf.imaging import _itk, _nifti, _raster, dicom
from ppcmi_sf.imaging._guard import check_finite, check_readable
from ppcmi_sf.imaging._labels import class_indices, fit_to_image, size_text
from ppcmi_sf.imaging.geometry import Family, Geometry
from ppcmi_sf.imaging.slicewise import SlicewiseImage, open_nifti

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
MAX_NAME = 255  # of a file, in most file systems
_MASK_SUFFIX = {"metaimage": ".mha", "nrrd": ".nrrd", "raster": ".png", "dicom": ".nii.gz"}
_MASK_FAMILY: dict[str, Family] = {
    ".nii.gz": "nifti",
    ".nii": "nifti",
    ".mha": "metaimage",
    ".nrrd": "nrrd",
    ".png": "raster",
}


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

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.data.shape[-1])

    def plane(self, axis: int | None, index: int) -> NDArray[np.float32]:
        """One plane of a volume, the other two axes in their order; with ``None`` a 2D image."""
        return self.data if axis is None else np.moveaxis(self.data, axis, 0)[index]

    def sample(self, step: int) -> NDArray[np.float32]:
        """Every ``step``-th voxel along each axis."""
        return self.data[(slice(None, None, step),) * (self.data.ndim - 1)]


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


def open_slicewise(path: Path) -> SlicewiseImage | None:
    """Open a volume that can be read plane by plane: NIfTI, grey, of three axes.

    Returns
    -------
    SlicewiseImage or None
        ``None`` for all other images: :func:`read_image` reads them.

    Raises
    ------
    InputFileError
        The file is missing, empty, damaged or too large.
    """
    path = Path(path)
    if path.is_dir() or _family(path) != "nifti":
        return None
    check_readable(path)
    return open_nifti(path)


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
        values = fit_to_image(path, values, geometry, image_geometry)
    return class_indices(path, values, class_count)


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
    plain = _plain_labels(labels, geometry, name)
    target = mask_path(geometry, folder, name)
    family = "nifti" if geometry.family == "dicom" else geometry.family
    _write(plain, geometry, family, target)
    return target


def write_mask_as(labels: NDArray[np.uint8], geometry: Geometry, path: Path) -> Path:
    """Write a mask to a chosen file; its suffix chooses the format.

    In the image's own format family this is what :func:`write_mask` does; in another one the
    voxels lie in the same place, as far as that format can tell.

    Parameters
    ----------
    labels, geometry
        As for :func:`write_mask`.
    path
        Ends in ``.nii``, ``.nii.gz``, ``.mha``, ``.nrrd`` or, for pictures, ``.png``.

    Raises
    ------
    InputFileError
        No mask can be written in that format.
    StudyError, ResourceError
        As for :func:`write_mask`.
    """
    path = Path(path)
    family = next((f for suffix, f in _MASK_FAMILY.items() if path.name.endswith(suffix)), None)
    if family is None:
        raise InputFileError(
            path,
            "masks are not written in a format of this name.",
            hint=f"Let the name end in one of {', '.join(_MASK_FAMILY)}.",
        )
    plain = _plain_labels(labels, geometry, path.name)
    if family == "raster" and plain.ndim != 2:
        raise InputFileError(
            path, "a picture cannot hold a volume.", hint="Choose .nii.gz, .mha or .nrrd."
        )
    _write(plain, geometry, family, path)
    return path


def _plain_labels(labels: NDArray[np.uint8], geometry: Geometry, name: str) -> NDArray[np.uint8]:
    labels = np.asarray(labels)
    if labels.shape != geometry.shape or labels.dtype.kind not in "bui":
        raise StudyError(
            f"{name}: the mask ({size_text(labels.shape)}, {labels.dtype}) does not fit the image "
            f"({size_text(geometry.shape)}).",
            hint="It was made from another image; make it again from this one.",
        )
    if labels.size and (labels.min() < 0 or labels.max() > 255):
        raise StudyError(
            f"{name}: the mask has values outside 0 to 255.", hint="Use class indices."
        )
    return np.ascontiguousarray(labels, dtype=np.uint8)


def _write(plain: NDArray[np.uint8], geometry: Geometry, family: Family, target: Path) -> None:
    with atomic_path(target) as temporary:
        if family == "raster":
            _raster.write(plain, temporary)
        elif family == "nifti":
            _nifti.write(plain, geometry, temporary)
        else:
            _itk.write(plain, geometry, temporary)


def mask_path(geometry: Geometry, folder: Path, name: str) -> Path:
    """Where :func:`write_mask` puts the mask of a case.

    Raises
    ------
    InputFileError
        The name cannot be a file name, or is too long for one.
    """
    if name in ("", ".", "..") or any(mark in name for mark in "/\\\0:"):
        raise InputFileError(
            name,
            "this cannot be the name of a file.",
            hint="Rename the image, without slashes and colons.",
        )
    suffix = _MASK_SUFFIX.get(geometry.family) or (".nii.gz" if geometry.compressed else ".nii")
    if len(os.fsencode(name + suffix) if os.name == "posix" else name + suffix) > MAX_NAME:
        raise InputFileError(
            name, "too long for the name of a mask's file.", hint="Give the image a shorter name."
        )
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
