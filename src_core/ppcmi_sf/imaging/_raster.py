"""PNG, JPEG and TIFF pictures, through Pillow."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    SAMPLEFORMAT,
    TiffImageFile,
)

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging._guard import check_size, choose_frame, reading
from ppcmi_sf.imaging.geometry import Geometry, raster_geometry

_AS_STORED = {"1", "L", "I", "F", "I;16", "I;16B", "I;16L", "RGB"}
_WHITE_IS_ZERO = 0
_ALPHA = {"LA": "L", "RGBA": "RGB", "La": "L", "RGBa": "RGB", "PA": "RGB"}


def read(path: Path, *, frame: int | None, as_labels: bool) -> tuple[NDArray[np.float32], Geometry]:
    """Read a picture as (rows, columns, channels).

    An alpha channel is dropped. A palette picture becomes RGB, or its indices
    when it is read ``as_labels``. An EXIF rotation is not applied: masks go with
    the stored pixels. Pillow reads 16 bit grey fully, 16 bit RGB as 8 bit.
    """
    with reading(path, "a PNG, JPEG or TIFF picture"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's about odd metadata and large pictures
        try:
            picture = Image.open(path, formats=["PNG", "JPEG", "TIFF"])
        except Image.DecompressionBombError as error:
            raise _too_large(path) from error
        with picture:
            columns, rows = picture.size
            check_size(path, (rows, columns))
            if Image.MAX_IMAGE_PIXELS is not None and rows * columns > Image.MAX_IMAGE_PIXELS:
                raise _too_large(path)
            frames = int(getattr(picture, "n_frames", 1))
            picture.seek(choose_frame(path, (frames, rows, columns), frames, frame, "axis 0"))
            plain = _plain(picture, as_labels=as_labels)
            values = _numbers(plain, picture).astype(np.float32)
    if values.ndim == 2:
        values = values[..., np.newaxis]
    return values, raster_geometry(values.shape[0], values.shape[1])


def _numbers(plain: Image.Image, picture: Image.Image) -> NDArray[Any]:
    """Values of a picture as it says they are; of some TIFF kinds Pillow gives other ones."""
    values = np.asarray(plain)
    if not isinstance(picture, TiffImageFile) or plain is not picture:
        return values
    tags = picture.tag_v2
    bits, signed = tags.get(BITSPERSAMPLE, (1,))[0], tags.get(SAMPLEFORMAT, (1,))[0] == 2
    if bits == 32 and picture.mode == "I" and not signed:
        return values.view(np.uint32)
    if bits == 8 and picture.mode == "L" and signed:
        return values.view(np.int8)
    if bits == 16 and not signed and tags.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        return np.iinfo(np.uint16).max - values
    return values


def write(labels: NDArray[np.uint8], path: Path) -> None:
    """Write labels (rows, columns) as an 8 bit grey PNG whose values are the classes."""
    Image.fromarray(labels).save(path, format="PNG", optimize=False)


def _plain(picture: Image.Image, *, as_labels: bool) -> Image.Image:
    mode = picture.mode
    if mode in _AS_STORED or (mode == "P" and as_labels):
        return picture
    if mode == "PA" and as_labels:
        return picture.getchannel(0)
    if mode == "P" and "transparency" in picture.info:
        return picture.convert("RGBA").convert("RGB")
    return picture.convert(_ALPHA.get(mode, "RGB"))


def _too_large(path: Path) -> InputFileError:
    return InputFileError(
        path,
        f"the picture has more than {Image.MAX_IMAGE_PIXELS} pixels, which is not accepted.",
        hint="Crop or shrink it first.",
    )
