"""MetaImage (.mha, .mhd) and NRRD files, through SimpleITK."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging._guard import check_size, choose_frame, native_quiet, reading
from ppcmi_sf.imaging.geometry import (
    Geometry,
    ItkGrid,
    as_rows,
    column_lengths,
    default_slice_axis,
    is_usable,
    itk_affine,
    itk_grid,
    lies_flat,
    swap_first_axes,
)

_IMAGE_IO = {"metaimage": "MetaImageIO", "nrrd": "NrrdImageIO"}
_MAX_HEADER_BYTES = 64 * 1024


def read(
    path: Path,
    family: Literal["metaimage", "nrrd"],
    *,
    frame: int | None,
    channel_axis: int | None,
) -> tuple[NDArray[np.float32], Geometry]:
    """Read a file as (x, y, z, channels), or (rows, columns, channels) when it is 2D.

    Pixels that are vectors (or RGB) are channels. ``channel_axis`` takes an axis
    of a scalar image as channels instead, for data sets that store three
    colours as three slices.
    """
    import SimpleITK as sitk

    with reading(path, "MetaImage" if family == "metaimage" else "NRRD"), native_quiet():
        if family == "metaimage":
            _check_compressed(path)
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.SetImageIO(_IMAGE_IO[family])
        reader.ReadImageInformation()
        components = int(reader.GetNumberOfComponents())
        check_size(path, (*reader.GetSize(), components))
        if "complex" in sitk.GetPixelIDValueAsString(reader.GetPixelID()):
            raise InputFileError(path, "its values are complex.", hint="Export the magnitude.")
        image = reader.Execute()
        data = _index_order(sitk.GetArrayViewFromImage(image), components)
        grid = ItkGrid(
            spacing=image.GetSpacing(), origin=image.GetOrigin(), direction=image.GetDirection()
        )
    data, grid = _spatial(path, data, grid, frame, channel_axis)
    affine = itk_affine(grid)
    if not is_usable(affine):
        raise InputFileError(
            path,
            "its header places the voxels nowhere (spacing and direction make no grid).",
            hint="Convert it again from the original images.",
        )
    if data.ndim == 3:
        data, affine = data.transpose(1, 0, 2), swap_first_axes(affine)
    spacing = column_lengths(affine, data.ndim - 1)
    return data, Geometry(
        family=family,
        shape=data.shape[:-1],
        spacing=spacing,
        has_physical_size=True,
        slice_axis=default_slice_axis(spacing, data.shape[:-1]),
        affine=as_rows(affine),
        itk=grid,
    )


def write(labels: NDArray[np.uint8], geometry: Geometry, path: Path) -> None:
    """Write labels, in the axis order of ``geometry``, with the original placement.

    A single image that lies anywhere in space, of a format other than ITK's, becomes a volume
    of one slice: a 2D file could not say where.

    Raises
    ------
    OSError
        The file was not written; ITK itself does not say why, so plain bytes
        are written to the same place to find out.
    """
    import SimpleITK as sitk

    grid = geometry.itk or _grid_of(geometry)
    array = labels if labels.ndim == 2 else labels.T
    if array.ndim < len(grid.spacing):
        array = array[np.newaxis]
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction)
    try:
        with native_quiet():
            sitk.WriteImage(image, str(path), useCompression=True)
            written = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        path.write_bytes(labels.tobytes())
        raise OSError(None, "the file format library refused") from error
    if not np.array_equal(written, sitk.GetArrayViewFromImage(image)):
        raise OSError(None, "what was written reads back differently")


def _grid_of(geometry: Geometry) -> ItkGrid:
    affine = geometry.affine_array()
    if len(geometry.shape) == 3:
        return itk_grid(affine, 3)
    affine = swap_first_axes(affine)
    return itk_grid(affine, 2 if lies_flat(affine) else 3)


def _index_order(array: NDArray[Any], components: int) -> NDArray[np.float32]:
    """SimpleITK's (z, y, x[, c]) as float32 (x, y, z, c)."""
    if components == 1:
        array = array[..., np.newaxis]
    axes = array.ndim - 1
    return array.astype(np.float32).transpose(*range(axes)[::-1], axes)


def _spatial(
    path: Path,
    data: NDArray[np.float32],
    grid: ItkGrid,
    frame: int | None,
    channel_axis: int | None,
) -> tuple[NDArray[np.float32], ItkGrid]:
    """Bring an image of up to four axes to two or three in space and one of channels."""
    axes, shape = data.ndim - 1, data.shape[:-1]
    if channel_axis is not None:
        if axes not in (3, 4) or data.shape[-1] != 1 or frame is not None:
            raise InputFileError(
                path,
                f"no axis of an image of size {shape} with {data.shape[-1]} values per voxel "
                "can be its channels.",
                hint="Leave out the channel axis.",
            )
        if not 0 <= channel_axis < axes:
            raise InputFileError(
                path,
                f"there is no axis {channel_axis} in an image of size {shape}.",
                hint=f"Choose one from 0 to {axes - 1}.",
            )
        return np.moveaxis(data[..., 0], channel_axis, -1), _without(path, grid, channel_axis)
    if axes > 4:
        raise InputFileError(
            path,
            f"the image has {axes} axes; 2 or 3 can be used.",
            hint="Split it into volumes of three axes first.",
        )
    chosen = choose_frame(path, shape, shape[3] if axes == 4 else 1, frame, "axis 3")
    if axes == 4:
        return data[:, :, :, chosen], _without(path, grid, 3)
    return data, grid


def _without(path: Path, grid: ItkGrid, axis: int) -> ItkGrid:
    """Drop one axis from a grid; it must be perpendicular to the others in the world, too."""
    count = len(grid.spacing)
    direction = np.reshape(grid.direction, (count, count))
    rest = np.delete(np.delete(direction, axis, 0), axis, 1)
    if not np.allclose(rest @ rest.T, np.eye(count - 1), atol=1e-3):
        raise InputFileError(
            path,
            f"axis {axis} is oblique in space, so it cannot be taken as channels or frames.",
            hint="Save the image with that axis as values per voxel, or as single volumes.",
        )
    return ItkGrid(
        spacing=tuple(np.delete(grid.spacing, axis).tolist()),
        origin=tuple(np.delete(grid.origin, axis).tolist()),
        direction=tuple(rest.ravel().tolist()),
    )


def _check_compressed(path: Path) -> None:
    """Verify the checksum of compressed MetaImage data.

    ITK only prints "Uncompress failed" and goes on with whatever it got.
    """
    with path.open("rb") as handle:
        fields: dict[str, str] = {}
        while handle.tell() < _MAX_HEADER_BYTES and "elementdatafile" not in fields:
            line = handle.readline(4096)
            if not line:
                return
            key, _, value = line.decode("latin-1").partition("=")
            fields[key.strip().lower()] = value.strip()
        if fields.get("compresseddata", "").lower() != "true":
            return
        name = fields.get("elementdatafile", "")
        if name.lower() == "local":
            ok = _inflates(handle)
        elif (path.parent / name).is_file():
            with (path.parent / name).open("rb") as data:
                ok = _inflates(data)
        else:
            return  # a missing file is for ITK to report
    if not ok:
        raise InputFileError(
            path, "its compressed data are damaged or cut short.", hint="Export or copy it again."
        )


def _inflates(handle: Any) -> bool:
    stream = zlib.decompressobj(wbits=47)  # zlib or gzip, by its header
    try:
        while chunk := handle.read(1 << 16):
            while chunk and not stream.eof:  # in steps: a bomb must not fill the memory
                stream.decompress(chunk, 1 << 20)
                chunk = stream.unconsumed_tail
        while not stream.eof and stream.decompress(b"", 1 << 20):
            pass
    except zlib.error:
        return False
    return stream.eof
