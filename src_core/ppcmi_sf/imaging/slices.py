"""Between the grid of a file and the grid of the network, slice by slice.

The network sees 2D slices of ``study.image_size``. In plane, a slice is scaled
by one factor *in millimetres* (pixels of a raster count as square), so nothing
is distorted, and padded with 0 around its centre. Two deliberate rules:

*Orientation.* Rows of a slice run along the later of the two in-plane array
axes, columns along the earlier one (as DICOM displays them). Where the file says
how the image lies in the patient, an axis is flipped when that brings it nearer
to the usual display: columns towards Left (or Posterior, in sagittal slices),
rows towards Posterior (or Inferior). The same scan then reaches the network alike
from DICOM, NIfTI and MetaImage, whose writers order axes differently. Nothing is
ever turned by other angles, and :func:`assemble` undoes all of it.

*Rounding.* The slice occupies a box of whole network pixels, so the scale is off
by at most half a network pixel over the length of the slice. Both directions use
that very box with pixel centres at half-integers, so a position goes to the grid
and back to within half a voxel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ppcmi_sf.errors import InputFileError, PPCMIError, StudyError
from ppcmi_sf.imaging._resample import area_share, keep_larger, resize
from ppcmi_sf.imaging.geometry import Geometry
from ppcmi_sf.study import StudySpec, WindowNormalization

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of R, G and B in grey: ITU-R BT.601."""

# Usual display, LPS+: what columns and rows should grow towards. The smaller weights
# decide for slices of other planes; the boundaries lie 45 degrees from standard planes.
_COLUMNS_TOWARDS = np.array([1.0, 1.0, -0.5])
_ROWS_TOWARDS = np.array([0.5, 1.0, -1.0])

_MAX_SAMPLE = 2**24
_TIE = 1e-4

Value = TypeVar("Value", bound=np.generic)
Pair = Annotated[tuple[int, int], Field(strict=False)]
Box = Annotated[tuple[int, int, int, int], Field(strict=False)]


class GridFit(BaseModel):
    """How the slices of one image lie in the network grid; a record that goes through JSON.

    Attributes
    ----------
    slice_axis
        Array axis of the volume along which slices are taken; ``None`` in 2D.
    slice_count
        Number of slices Z, 1 in 2D.
    source_shape
        Rows and columns of a source slice (after orientation, see the module).
    box
        Top, left, height and width, in network pixels, of where a slice lies.
    grid_shape
        Rows and columns H, W of the network grid.
    flip_rows, flip_columns
        Whether the source slice is mirrored along that axis on its way.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    slice_axis: Annotated[int, Field(ge=0, le=2)] | None
    slice_count: Annotated[int, Field(ge=1)]
    source_shape: Pair
    box: Box
    grid_shape: Pair
    flip_rows: bool = False
    flip_columns: bool = False


def fit_to_grid(geometry: Geometry, study: StudySpec, *, slice_axis: int | None = None) -> GridFit:
    """Place the slices of an image in the network grid: as large as fits, centred.

    Parameters
    ----------
    slice_axis
        Array axis (0, 1 or 2) of a volume; ``None`` takes ``geometry.slice_axis``.

    Raises
    ------
    PPCMIError
        ``slice_axis`` is not an axis of this image.
    """
    volume = len(geometry.shape) == 3
    if slice_axis is not None and not (volume and 0 <= slice_axis <= 2):
        raise PPCMIError(
            f"There is no slice axis {slice_axis} in an image of {len(geometry.shape)} axes.",
            hint="Choose 0, 1 or 2 for a volume, and none for a 2D image.",
        )
    if volume:
        axis = geometry.slice_axis if slice_axis is None else slice_axis
        column_axis, row_axis = (other for other in range(3) if other != axis)
    else:
        axis, row_axis, column_axis = None, 0, 1
    rows, columns = geometry.shape[row_axis], geometry.shape[column_axis]
    extent = rows * geometry.spacing[row_axis], columns * geometry.spacing[column_axis]
    grid_rows, grid_columns = study.image_size
    scale = min(grid_rows / extent[0], grid_columns / extent[1])
    height = min(max(round(extent[0] * scale), 1), grid_rows)
    width = min(max(round(extent[1] * scale), 1), grid_columns)
    return GridFit(
        slice_axis=axis,
        slice_count=1 if axis is None else geometry.shape[axis],
        source_shape=(rows, columns),
        box=((grid_rows - height) // 2, (grid_columns - width) // 2, height, width),
        grid_shape=(grid_rows, grid_columns),
        flip_rows=_points_away(geometry, row_axis, _ROWS_TOWARDS),
        flip_columns=_points_away(geometry, column_axis, _COLUMNS_TOWARDS),
    )


def slice_axis_for(geometry: Geometry, asked: int | None, trained: int | None) -> int | None:
    """The axis for :func:`fit_to_grid`: one that is asked for, else that of the site's training.

    The training's says how volumes are cut, and nothing of a 2D image; such a site takes both.
    """
    return trained if asked is None and len(geometry.shape) == 3 else asked


class SliceSource(Protocol):
    """What slices are taken of: an image in memory, or a file that is read plane by plane."""

    @property
    def geometry(self) -> Geometry:
        """Where the voxels lie."""

    @property
    def path(self) -> Path | None:
        """Where it was read from, for messages."""

    @property
    def channels(self) -> int:
        """Number of channels."""

    def plane(self, axis: int | None, index: int) -> NDArray[np.float32]:
        """One plane, ``(its two axes in their order, channels)``; with ``None`` a 2D image."""

    def sample(self, step: int) -> NDArray[np.float32]:
        """Every ``step``-th voxel along each axis."""


def iter_grid_slices(
    image: SliceSource, study: StudySpec, fit: GridFit
) -> Iterator[NDArray[np.float32]]:
    """Yield the slices of an image for the network, one at a time.

    Channels: as they are when the file has as many as the study; three become
    luminance (ITU-R BT.601) when the study has one. Normalisation: as the study
    says; percentiles are of all voxels, each channel for itself (of an even
    sample, in volumes of over 16 million voxels). Values outside are clipped. An
    image of a single value becomes 0.

    Yields
    ------
    ndarray
        float32 (C, H, W) in [0, 1], 0 outside the image.

    Raises
    ------
    InputFileError
        The file's channels do not suit the study.
    """
    _require_shape(image.geometry.shape, fit)
    _check_channels(image, study)
    ranges = [_value_range(plane, study) for plane in _sampled_channels(image, study)]
    top, left, height, width = fit.box
    for index in range(fit.slice_count):
        source = _channels(_displayed(image.plane(fit.slice_axis, index), fit), study)
        result = np.zeros((study.channels, *fit.grid_shape), np.float32)
        for channel, (low, high) in enumerate(ranges):
            if high > low:
                plane = np.clip((source[..., channel] - low) / (high - low), 0, 1)
                box = np.clip(resize(plane, (height, width)), 0, 1)
                result[channel, top : top + height, left : left + width] = box
        yield result


def mask_to_grid(labels: NDArray[np.uint8], fit: GridFit, class_count: int) -> NDArray[np.uint8]:
    """Bring a mask to the network grid, for training.

    Each class is resampled as a map of its own and the largest wins: the share
    of the area when shrinking, bilinear when enlarging. Equal shares go to the
    structure, not to the background, so thin structures do not vanish by chance.

    Parameters
    ----------
    labels
        Class indices below ``class_count``, in the shape of the image.

    Returns
    -------
    ndarray
        uint8 (Z, H, W), 0 outside the image; Z is 1 in 2D.
    """
    _require_shape(labels.shape, fit)
    top, left, height, width = fit.box
    result = np.zeros((fit.slice_count, *fit.grid_shape), np.uint8)
    for index in range(fit.slice_count):
        plane = _plane(labels, fit, index)
        if not plane.any():
            continue
        best = area_share(plane == 0, (height, width)) - _TIE
        winner = result[index, top : top + height, left : left + width]
        for number in range(1, class_count):
            keep_larger(winner, best, area_share(plane == number, (height, width)), number)
    return result


def labels_from_grid(probabilities: NDArray[np.float32], fit: GridFit) -> NDArray[np.uint8]:
    """Decide the classes of one slice in the grid of its file.

    The probabilities are resampled (bilinear) and then compared, so no value
    comes about that is not a class, and edges follow the finer grid.

    Parameters
    ----------
    probabilities
        float32 (K, H, W), one map for each class; H, W as ``fit.grid_shape``.

    Returns
    -------
    ndarray
        uint8 (rows, columns), ``fit.source_shape``: as the slice is displayed;
        :func:`assemble` puts it into the file's axis order.

    Raises
    ------
    StudyError
        The maps do not have the size of the grid.
    """
    if probabilities.ndim != 3 or probabilities.shape[1:] != fit.grid_shape:
        raise StudyError(
            f"Class probabilities of shape {probabilities.shape} do not suit the network grid "
            f"{fit.grid_shape}.",
            hint="They come from another study; use this one's models.",
        )
    top, left, height, width = fit.box
    winner = np.zeros(fit.source_shape, np.uint8)
    best = np.full(fit.source_shape, -np.inf, np.float32)
    for number, plane in enumerate(probabilities):
        box = plane[top : top + height, left : left + width]
        keep_larger(winner, best, resize(box, fit.source_shape), number)
    return winner


def assemble(
    slices: Mapping[int, NDArray[np.uint8]] | Sequence[NDArray[np.uint8]],
    fit: GridFit,
    shape: Sequence[int],
) -> NDArray[np.uint8]:
    """Put slices of labels back into the array of their file.

    Parameters
    ----------
    slices
        Slice index to labels (rows, columns) as :func:`labels_from_grid` gives
        them, or all of them in order. Slices that are not given stay background.
    shape
        ``geometry.shape`` of the image.

    Returns
    -------
    ndarray
        uint8 of that shape, in the file's axis order.

    Raises
    ------
    StudyError
        A slice, or the shape, is not of this image.
    """
    _require_shape(tuple(shape), fit)
    result = np.zeros(tuple(shape), np.uint8)
    numbered = slices.items() if isinstance(slices, Mapping) else enumerate(slices)
    for index, labels in numbered:
        if labels.shape != fit.source_shape or not 0 <= index < fit.slice_count:
            raise StudyError(
                f"Slice {index} of shape {labels.shape} does not belong to an image of "
                f"{fit.slice_count} slices of {fit.source_shape}.",
                hint="It was made from another image; make it again from this one.",
            )
        _plane(result, fit, index)[...] = labels
    return result


def plane_of_file(labels: NDArray[np.uint8], fit: GridFit) -> NDArray[np.uint8]:
    """Labels of one slice of a volume, as :func:`labels_from_grid` gives them, in the file's axes.

    What :func:`assemble` does with all of them at once.
    """
    result = np.zeros(fit.source_shape[::-1], np.uint8)
    _displayed(result, fit)[...] = labels
    return result


def _plane(array: NDArray[Value], fit: GridFit, index: int) -> NDArray[Value]:
    """View one slice, (rows, columns[, channels]), displayed as the module says."""
    if fit.slice_axis is None:
        return _displayed(array, fit)
    return _displayed(np.moveaxis(array, fit.slice_axis, 0)[index], fit)


def _displayed(plane: NDArray[Value], fit: GridFit) -> NDArray[Value]:
    """View a plane of a file, its axes in their order, as the module says."""
    if fit.slice_axis is not None:
        plane = plane.swapaxes(0, 1)
    if fit.flip_rows:
        plane = plane[::-1]
    return plane[:, ::-1] if fit.flip_columns else plane


def _points_away(geometry: Geometry, axis: int, towards: NDArray[np.float64]) -> bool:
    if not geometry.is_oriented:
        return False
    lps = geometry.affine_array()[:3, axis] * (-1.0, -1.0, 1.0)
    return bool(lps @ towards < -1e-6 * geometry.spacing[axis])


def _require_shape(shape: tuple[int, ...], fit: GridFit) -> None:
    axis = fit.slice_axis
    wanted = len(shape) == (2 if axis is None else 3)
    if wanted and axis is not None:
        rest = shape[:axis] + shape[axis + 1 :]
        wanted = (shape[axis], rest[::-1]) == (fit.slice_count, fit.source_shape)
    elif wanted:
        wanted = shape == fit.source_shape
    if not wanted:
        raise StudyError(
            f"An array of shape {shape} does not belong to an image of {fit.slice_count} slices "
            f"of {fit.source_shape}.",
            hint="It was made from another image; make it again from this one.",
        )


def _check_channels(image: SliceSource, study: StudySpec) -> None:
    count = image.channels
    if count != study.channels and not (study.channels == 1 and count == 3):
        raise InputFileError(
            image.path or "image",
            f"it has {count} channels, but the study '{study.name}' has {study.channels}.",
            hint="Convert the image, or take one that suits the study.",
        )


def _channels(values: NDArray[np.float32], study: StudySpec) -> NDArray[np.float32]:
    if values.shape[-1] == study.channels:
        return values
    return (values @ np.array(LUMINANCE, np.float32))[..., np.newaxis]


def _sampled_channels(image: SliceSource, study: StudySpec) -> Iterator[NDArray[np.float32]]:
    """Each channel on an even sample of at most about 16 million voxels."""
    shape = image.geometry.shape
    step = max(1, int(np.ceil((math.prod(shape) / _MAX_SAMPLE) ** (1 / len(shape)))))
    sample = _channels(image.sample(step), study)
    for channel in range(study.channels):
        yield sample[..., channel]


def _value_range(values: NDArray[np.float32], study: StudySpec) -> tuple[float, float]:
    """Find the two values that become 0 and 1."""
    rule = study.normalization
    if isinstance(rule, WindowNormalization):
        return rule.center - rule.width / 2, rule.center + rule.width / 2
    low, high = (float(v) for v in np.percentile(values, (rule.low, rule.high)))
    if low == high:  # nearly all background: the rest still is an image
        low, high = float(values.min()), float(values.max())
    return low, high
