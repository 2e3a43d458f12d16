"""DICOM: one file, or a folder that holds one or more series, through SimpleITK (GDCM).

Slices are placed by ImagePositionPatient and ImageOrientationPatient (DICOM
PS3.3 C.7.6.2), never by file name or instance number. A volume is only made of
slices that really form a regular grid; the mask would lie wrong otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging._guard import check_readable, check_size, choose_frame, native_quiet, reading
from ppcmi_sf.imaging.geometry import (
    LPS_TO_RAS,
    Geometry,
    as_rows,
    column_lengths,
    is_usable,
    swap_first_axes,
)

SPACING_TOLERANCE = 0.01
"""How far a gap between slices may be from the usual one, relative; also the tilt, as a slope."""
SPACING_TOLERANCE_MM = 0.01
"""The same in mm; the larger of the two counts."""

_SERIES_UID, _DESCRIPTION = "0020|000e", "0008|103e"
_PIXEL_SPACINGS = ("0028|0030", "0018|1164")
_POSITION = "0020|0032"
# Storage classes without an image in a grid: reports, presentation states, raw data,
# encapsulated documents, radiotherapy objects; and DICOMDIR.
_NOT_IMAGES = tuple(
    f"1.2.840.10008.{part}".encode()
    for part in (
        *(f"5.1.4.1.1.{number}" for number in ("9.", "11.", "66", "67", "88.", "104.")),
        *(f"5.1.4.1.1.481.{number}" for number in ("3", "4", "5", "6", "7", "8", "9")),
        "1.3.10",
    )
)


@dataclass(frozen=True)
class SeriesInfo:
    """One series in a folder: its UID, its description (may be empty), how many files it has."""

    uid: str
    description: str
    file_count: int


@dataclass(frozen=True)
class _Slice:
    path: Path
    uid: str
    description: str
    size: tuple[int, ...]
    components: int
    spacing: NDArray[np.float64]
    origin: NDArray[np.float64]
    direction: NDArray[np.float64]
    has_spacing: bool
    has_position: bool


def list_series(folder: Path) -> list[SeriesInfo]:
    """List the DICOM series in a folder (not in its subfolders), sorted by UID.

    Raises
    ------
    InputFileError
        The folder is missing or holds no DICOM image, or one of its ``.dcm``
        files is damaged.
    """
    return [
        SeriesInfo(uid, slices[0].description, len(slices))
        for uid, slices in sorted(_scan(Path(folder)).items())
    ]


def is_dicom_file(path: Path) -> bool:
    """Whether a file carries DICOM's magic bytes (``DICM`` at 128)."""
    try:
        with path.open("rb") as handle:
            return handle.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_file(path: Path, *, frame: int | None) -> tuple[NDArray[np.float32], Geometry]:
    """Read one DICOM file as a 2D image (rows, columns, channels).

    Of a file with several frames (a cine loop) one must be chosen. Rescale
    slope and intercept are applied; GDCM turns MONOCHROME1 (``2**bits - 1 - value``),
    so larger values are brighter.
    """
    header = _header(path)
    check_size(path, (*header.size, header.components))
    frames = header.size[2] if len(header.size) > 2 else 1
    chosen = choose_frame(path, header.size, frames, frame, "axis 2")
    image = _pixels(header)[chosen]
    affine = _affine(header, header.direction[:, 2] * header.spacing[2])
    return image, _geometry(header, image.shape[:2], swap_first_axes(affine))


def read_series(folder: Path, *, uid: str | None) -> tuple[NDArray[np.float32], Geometry]:
    """Read a series of a folder as (i, j, k, channels): k along the slices, sorted by position.

    A series of a single file gives a 2D image (rows, columns, channels).

    Raises
    ------
    InputFileError
        Several series and none chosen; no such series; slices missing, double,
        tilted, at uneven distances or of different sizes.
    """
    series = _scan(folder)
    slices = _choose(folder, series, uid)
    if len(slices) == 1:
        return read_file(slices[0].path, frame=None)
    first = slices[0]
    for item in slices:
        _check_alike(first, item)
    slices, step = _sorted_stack(folder, slices)
    first = slices[0]
    columns, rows = first.size[:2]
    check_size(folder, (rows, columns, len(slices), first.components))
    with reading(folder, "a DICOM series"):
        data = np.empty((len(slices), rows, columns, first.components), np.float32)
        for index, item in enumerate(slices):
            data[index] = _pixels(item)[0]
    volume = data.transpose(2, 1, 0, 3)
    return volume, _geometry(first, volume.shape[:3], _affine(first, step))


def _scan(folder: Path) -> dict[str, list[_Slice]]:
    if not folder.is_dir():
        raise InputFileError(folder, "there is no such folder.", hint="Check the path.")
    series: dict[str, list[_Slice]] = {}
    with reading(folder, "a folder of DICOM files"):
        files = sorted(item for item in folder.iterdir() if item.is_file())
    for item in files:
        named = item.suffix.lower() in (".dcm", ".dicom", ".ima")
        if item.name.startswith(".") or not (named or is_dicom_file(item)) or _not_image(item):
            continue
        check_readable(item)
        header = _header(item)
        series.setdefault(header.uid, []).append(header)
    if not series:
        raise InputFileError(
            folder,
            "there is no DICOM image in this folder.",
            hint="Give the folder that holds the files of the series, not one above it.",
        )
    return series


def _not_image(path: Path) -> bool:
    with reading(path, "DICOM"), path.open("rb") as handle:
        head = handle.read(1024)[132:]
    # MediaStorageSOPClassUID (0002,0002), type UI, two bytes of length, the value
    start = head.find(b"\x02\x00\x02\x00UI")
    return start >= 0 and head[start + 8 :].startswith(_NOT_IMAGES)


def _header(path: Path) -> _Slice:
    import SimpleITK as sitk

    with reading(path, "a DICOM image"), native_quiet():
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.SetImageIO("GDCMImageIO")
        reader.ReadImageInformation()
        keys = set(reader.GetMetaDataKeys())

        def text(key: str) -> str:
            # "replace" has no say here: SimpleITK gives surrogates for odd encodings
            value = reader.GetMetaData(key).strip(" \0") if key in keys else ""
            return str(value).encode("utf-8", "replace").decode()

        axes = int(reader.GetDimension())
        direction = np.eye(3)
        direction[:axes, :axes] = np.reshape(reader.GetDirection(), (axes, axes))
        padding = 3 - axes
        return _Slice(
            path=path,
            uid=text(_SERIES_UID),
            description=text(_DESCRIPTION),
            size=tuple(int(count) for count in reader.GetSize()),
            components=int(reader.GetNumberOfComponents()),
            spacing=np.array([*reader.GetSpacing(), *[1.0] * padding]),
            origin=np.array([*reader.GetOrigin(), *[0.0] * padding]),
            direction=direction,
            has_spacing=any(key in keys for key in _PIXEL_SPACINGS),
            has_position=_POSITION in keys,
        )


def _pixels(item: _Slice) -> NDArray[np.float32]:
    """Every frame of a file as (frames, rows, columns, channels), rescaled."""
    import SimpleITK as sitk

    if not item.spacing.all():  # ITK does not read such a file
        raise InputFileError(
            item.path,
            "it says that its slices are 0 mm apart (Spacing Between Slices).",
            hint="Correct or delete that field (0018,0088), or convert the image to NIfTI first "
            "(dcm2niix does).",
        )
    with reading(item.path, "a DICOM image"), native_quiet():
        image = sitk.ReadImage(str(item.path), imageIO="GDCMImageIO")
        array: NDArray[Any] = sitk.GetArrayFromImage(image)
        columns, rows = item.size[:2]
        return array.astype(np.float32).reshape(-1, rows, columns, item.components)


def _choose(folder: Path, series: dict[str, list[_Slice]], uid: str | None) -> list[_Slice]:
    listing = "; ".join(
        f"{key} ('{slices[0].description}', {len(slices)} files)"
        for key, slices in sorted(series.items())
    )
    if uid is None and len(series) > 1:
        raise InputFileError(
            folder,
            f"the folder holds {len(series)} series: {listing}.",
            hint="Choose one with --series UID; of images to train with, move all but one series "
            "to another folder.",
        )
    chosen = next(iter(series)) if uid is None else uid
    if chosen not in series:
        raise InputFileError(
            folder,
            f"there is no series {chosen} in this folder; it has: {listing}.",
            hint="Choose one of these with --series UID.",
        )
    return series[chosen]


def _check_alike(first: _Slice, item: _Slice) -> None:
    if len(item.size) > 2 and item.size[2] > 1:
        raise InputFileError(
            item.path,
            f"this file of the series has {item.size[2]} frames.",
            hint="Read it as a single file and choose one with --frame N.",
        )
    if (item.size, item.components) != (first.size, first.components):
        raise InputFileError(
            item.path,
            f"this slice is {item.size[1]} x {item.size[0]} ({item.components} values per pixel),"
            f" the series' first {first.size[1]} x {first.size[0]} ({first.components}).",
            hint="Move the slices that do not belong to the volume to another folder.",
        )
    if not np.allclose(item.direction, first.direction, atol=1e-3):
        raise InputFileError(
            item.path,
            "this slice is turned against the others of its series (a scout image?).",
            hint="Move the slices that do not belong to the volume to another folder.",
        )
    if not np.allclose(item.spacing[:2], first.spacing[:2], rtol=1e-3):
        raise InputFileError(
            item.path,
            f"this slice has pixels of {_mm(item.spacing[:2])}, the series' first "
            f"{_mm(first.spacing[:2])}.",
            hint="Move the slices that do not belong to the volume to another folder.",
        )


def _sorted_stack(folder: Path, slices: list[_Slice]) -> tuple[list[_Slice], NDArray[np.float64]]:
    """Sort by position along the normal; check that the stack is regular; give its step (LPS)."""
    if not all(item.has_position for item in slices):
        raise InputFileError(
            folder,
            f"the {len(slices)} files of the series do not say where their slices lie.",
            hint="Give them one by one, as single images.",
        )
    normal = slices[0].direction[:, 2]
    slices = sorted(slices, key=lambda item: float(item.origin @ normal))
    origins = np.stack([item.origin for item in slices])
    gaps = np.diff(origins @ normal)
    usual = float(np.median(gaps))
    tolerance = max(SPACING_TOLERANCE * usual, SPACING_TOLERANCE_MM)
    doubles = np.flatnonzero(gaps <= SPACING_TOLERANCE_MM)
    if doubles.size:
        at = int(doubles[0])
        raise InputFileError(
            folder,
            f"{doubles.size} slices lie where another one lies already, the first being "
            f"'{slices[at + 1].path.name}' beside '{slices[at].path.name}'.",
            hint="Keep one file of each slice (one time point, one echo) in the folder.",
        )
    odd = np.flatnonzero(np.abs(gaps - usual) > tolerance)
    if odd.size:
        at = int(odd[np.argmax(np.abs(gaps[odd] - usual))])
        raise InputFileError(
            folder,
            f"the slices are not evenly spaced: usually {usual:.3f} mm apart, but "
            f"{gaps[at]:.3f} mm between slices {at} and {at + 1} ({odd.size} of {gaps.size} "
            "gaps are off).",
            hint="Slices may be missing: export the series again, or resample it first.",
        )
    _check_tilt(folder, origins, normal, usual)
    return slices, (origins[-1] - origins[0]) / (len(slices) - 1)


def _check_tilt(
    folder: Path, origins: NDArray[np.float64], normal: NDArray[np.float64], usual: float
) -> None:
    offsets = origins - origins[0]
    sideways = np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1)
    allowed = max(SPACING_TOLERANCE * usual, SPACING_TOLERANCE_MM) * np.arange(len(origins))
    if (sideways > allowed + SPACING_TOLERANCE_MM).any():
        worst = int(np.argmax(sideways))
        angle = np.degrees(np.arctan2(sideways[worst], offsets[worst] @ normal))
        raise InputFileError(
            folder,
            f"the stack leans {angle:.1f} degrees from the slices' normal (gantry tilt): slice "
            f"{worst} is {sideways[worst]:.2f} mm to the side of the first.",
            hint="Resample the series to a straight grid first (dcm2niix does).",
        )


def _affine(item: _Slice, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """(column i, row j, slice k) index to RAS+ mm."""
    affine = np.eye(4)
    affine[:3, :2] = item.direction[:, :2] * item.spacing[:2]
    affine[:3, 2], affine[:3, 3] = step, item.origin
    if not is_usable(affine):
        raise InputFileError(
            item.path,
            "its header places the pixels nowhere (spacing or orientation are wrong).",
            hint="Export it again.",
        )
    return np.asarray(LPS_TO_RAS @ affine)


def _geometry(item: _Slice, shape: Sequence[int], affine: NDArray[np.float64]) -> Geometry:
    return Geometry(
        family="dicom",
        shape=tuple(shape),
        spacing=column_lengths(affine, len(shape)),
        has_physical_size=item.has_spacing,
        is_oriented=item.has_position,
        slice_axis=2 if len(shape) == 3 else 0,
        affine=as_rows(affine),
    )


def _mm(spacing: NDArray[np.float64]) -> str:
    return " x ".join(f"{value:.3f}" for value in spacing) + " mm"
