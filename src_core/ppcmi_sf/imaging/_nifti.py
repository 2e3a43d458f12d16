"""NIfTI-1 and NIfTI-2 files, through nibabel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging._guard import check_size, choose_frame, reading
from ppcmi_sf.imaging.geometry import (
    Geometry,
    NiftiGrid,
    as_rows,
    column_lengths,
    default_slice_axis,
    is_usable,
    swap_first_axes,
)

_MM_PER_UNIT = {1: 1000.0, 2: 1.0, 3: 0.001}  # NIFTI_UNITS_METER, _MM, _MICRON; unknown: mm


def read(
    path: Path, *, frame: int | None, channel_axis: int | None
) -> tuple[NDArray[np.float32], Geometry]:
    """Read a NIfTI file as (i, j, k, channels), or (rows, columns, channels) when it is 2D.

    ``scl_slope`` and ``scl_inter`` are applied. The affine follows nibabel's
    rule: the sform if its code is over 0, else the qform.
    """
    from nibabel.imageglobals import LoggingOutputSuppressor

    with reading(path, "NIfTI"), LoggingOutputSuppressor():
        image = load(path)
        data = _channels_last(path, image, frame, channel_axis)
        if data.ndim == 3:  # one slice: (rows, columns) like every 2D image
            data = data.transpose(1, 0, 2)
        return data, geometry_of(path, image, data.shape[:-1])


def load(path: Path, *, keep_open: bool = False) -> Any:
    """Open a NIfTI file of a size that can be; nothing but its header is read."""
    import nibabel as nib

    image = nib.load(path, keep_file_open=keep_open)
    if not isinstance(image, nib.Nifti1Image):
        raise InputFileError(path, "not a single-file NIfTI image.", hint="Export it again.")
    check_size(path, image.shape)
    return image


def geometry_of(path: Path, image: Any, spatial: tuple[int, ...]) -> Geometry:
    """Where the voxels lie, by the header; ``spatial`` is the shape as :func:`read` gives it."""
    affine = np.asarray(image.affine, dtype=np.float64)
    grid = _grid(image)
    slice_axis = image.header.get_dim_info()[2]
    affine = np.diag([*[_MM_PER_UNIT.get(grid.xyzt_units & 7, 1.0)] * 3, 1.0]) @ affine
    if not is_usable(affine):
        raise InputFileError(
            path,
            "its header places the voxels nowhere (the affine has no inverse).",
            hint="Convert it again from the original images.",
        )
    if len(spatial) == 2:
        affine = swap_first_axes(affine)
    spacing = column_lengths(affine, len(spatial))
    if slice_axis is None or len(spatial) == 2:
        slice_axis = default_slice_axis(spacing, spatial)
    return Geometry(
        family="nifti",
        shape=spatial,
        spacing=spacing,
        has_physical_size=True,
        is_oriented=grid.qform_code > 0 or grid.sform_code > 0,
        slice_axis=int(slice_axis),
        affine=as_rows(affine),
        compressed=path.name.lower().endswith(".gz"),
        nifti=grid,
    )


def write(labels: NDArray[np.uint8], geometry: Geometry, path: Path) -> None:
    """Write labels, in the axis order of ``geometry``, with the original placement fields."""
    import nibabel as nib

    if geometry.nifti is None:
        _write_from_affine(labels, geometry, path)
        return
    array = labels.T if labels.ndim == 2 else labels
    header = _mask_header(geometry.nifti, array.shape)
    kind = nib.Nifti2Image if geometry.nifti.version == 2 else nib.Nifti1Image
    # the header's own affine: any other one would make nibabel rewrite the fields
    kind(array, header.get_best_affine(), header).to_filename(path)


@contextmanager
def plane_writer(geometry: Geometry, path: Path) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Write labels plane by plane, ``(i, j)`` each, in the order of k.

    The file is the one that :func:`write` makes of all of them.
    """
    from nibabel.openers import ImageOpener

    assert geometry.nifti is not None
    header = _mask_header(geometry.nifti, geometry.shape)
    with ImageOpener(path, "wb") as file:
        header.write_to(file)
        file.write(b"\0" * (header.get_data_offset() - file.tell()))
        yield lambda plane: file.write(plane.tobytes(order="F"))


def _mask_header(grid: NiftiGrid, shape: tuple[int, ...]) -> Any:
    """Header of a uint8 image with the placement fields as they were."""
    import nibabel as nib

    header = (nib.Nifti2Header if grid.version == 2 else nib.Nifti1Header)()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(shape)
    header["pixdim"][:4] = grid.pixdim
    header["qform_code"], header["sform_code"] = grid.qform_code, grid.sform_code
    for name, value in zip(("quatern_b", "quatern_c", "quatern_d"), grid.quaternion, strict=True):
        header[name] = value
    for name, value in zip(("qoffset_x", "qoffset_y", "qoffset_z"), grid.qoffset, strict=True):
        header[name] = value
    for row, name in enumerate(("srow_x", "srow_y", "srow_z")):
        header[name] = grid.srow[4 * row : 4 * row + 4]
    header["xyzt_units"], header["dim_info"] = grid.xyzt_units, grid.dim_info
    return header


def _write_from_affine(labels: NDArray[np.uint8], geometry: Geometry, path: Path) -> None:
    """Write a mask of a DICOM image: qform and sform are both the image's affine, in mm.

    A single image becomes a volume of one slice, because many programs ignore
    where a 2D NIfTI image lies.
    """
    import nibabel as nib

    affine, array = geometry.affine_array(), labels
    if labels.ndim == 2:
        affine, array = swap_first_axes(affine), labels.T[..., np.newaxis]
    image = nib.Nifti1Image(array, affine)
    image.set_qform(affine, code="scanner")
    image.set_sform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.to_filename(path)


def _channels_last(
    path: Path, image: Any, frame: int | None, channel_axis: int | None
) -> NDArray[np.float32]:
    shape = list(image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    count = len(shape)
    if not 2 <= count <= 4:
        raise InputFileError(
            path,
            f"the image has {count} axes, of lengths {tuple(shape)}; 2 or 3 can be used.",
            hint="Split it into volumes of three axes first.",
        )
    kind = image.get_data_dtype()
    if kind.kind == "c":
        raise InputFileError(path, "its values are complex.", hint="Export the magnitude image.")
    if channel_axis is not None:
        if count < 3 or channel_axis != count - 1 or kind.names or frame is not None:
            raise InputFileError(
                path,
                f"axis {channel_axis} cannot be the channels of an image of size {tuple(shape)}.",
                hint="In NIfTI only the last axis, of 3 or 4, can.",
            )
        return _values(image).reshape(shape)
    chosen = choose_frame(path, shape, shape[3] if count == 4 else 1, frame, "axis 3")
    if count == 4:
        index = (slice(None),) * 3 + (chosen,) + (0,) * (len(image.shape) - 4)
        return _with_channels(np.asarray(image.dataobj[index]), kind)
    if kind.names:
        return _with_channels(np.asarray(image.dataobj).reshape(shape), kind)
    return _values(image).reshape(*shape, 1)


def _values(image: Any) -> NDArray[np.float32]:
    return np.asarray(image.get_fdata(dtype=np.float32, caching="unchanged"))


def _with_channels(values: NDArray[Any], kind: np.dtype[Any]) -> NDArray[np.float32]:
    """Give scalars one channel and RGB(A) records three; alpha is dropped."""
    if not kind.names:
        return values.astype(np.float32)[..., np.newaxis]
    return np.stack([values[name].astype(np.float32) for name in kind.names[:3]], axis=-1)


def _grid(image: Any) -> NiftiGrid:
    header = image.header

    def numbers(*names: str) -> tuple[float, ...]:
        return tuple(float(v) for name in names for v in np.atleast_1d(header[name]))

    grid = NiftiGrid(
        version=2 if header["sizeof_hdr"] == 540 else 1,
        pixdim=numbers("pixdim")[:4],
        qform_code=int(header["qform_code"]),
        sform_code=int(header["sform_code"]),
        quaternion=numbers("quatern_b", "quatern_c", "quatern_d"),
        qoffset=numbers("qoffset_x", "qoffset_y", "qoffset_z"),
        srow=numbers("srow_x", "srow_y", "srow_z"),
        xyzt_units=int(header["xyzt_units"]),
        dim_info=int(header["dim_info"]),
    )
    return _without_nan(grid, image.affine)


def _without_nan(grid: NiftiGrid, affine: NDArray[np.float64]) -> NiftiGrid:
    """Drop a transform that holds NaN: it places nothing, and JSON has no such number."""
    changes: dict[str, Any] = {}
    if not np.isfinite((*grid.pixdim, *grid.quaternion, *grid.qoffset)).all():
        changes = {"qform_code": 0, "quaternion": (0.0,) * 3, "qoffset": (0.0,) * 3}
    if not np.isfinite(grid.pixdim).all():
        changes["pixdim"] = (1.0, *column_lengths(affine, 3))
    if not np.isfinite(grid.srow).all():
        changes |= {"sform_code": 0, "srow": (0.0,) * 12}
    return grid.model_copy(update=changes)
