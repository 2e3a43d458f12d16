"""Records of a bundle's payload: safetensors blobs, checked before they are believed.

A record is four bytes of length (big-endian) and a safetensors blob. What must be
in it (names, number types, shapes) is known from the header beforehand; anything else is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ppcmi_sf import strictjson
from ppcmi_sf.bundle.header import SCALE_SUFFIX, Precision, TensorLayout

LENGTH_BYTES = 4
MAX_BLOB_HEADER_BYTES = 64 * 1024

Array = npt.NDArray[Any]
Tensors = dict[str, Array]

_DTYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8, "U8": np.uint8}


def pack_record(tensors: Mapping[str, Array], layout: Iterable[TensorLayout]) -> bytes:
    """Serialise a record.

    Raises
    ------
    ValueError
        The tensors are not those of the layout, or a number is not finite.
    """
    expected = {entry.name: entry for entry in layout}
    if set(tensors) != set(expected):
        raise ValueError("other tensors than the layout's")
    for name, value in tensors.items():
        entry = expected[name]
        if value.dtype != _DTYPES[entry.dtype] or value.shape != entry.shape:
            raise ValueError(f"'{name}' has another type or shape than the layout's")
        if not is_finite(value):
            raise ValueError(f"'{name}' holds values that are not numbers")
    # Not ascontiguousarray, which gives a scalar an axis.
    blob: bytes = save({name: np.require(value, None, "C") for name, value in tensors.items()})
    return struct.pack(">I", len(blob)) + blob


def record_length(layout: Iterable[TensorLayout]) -> int:
    """Bytes that :func:`pack_record` makes of a layout."""
    zeros = {entry.name: np.zeros(entry.shape, _DTYPES[entry.dtype]) for entry in layout}
    return LENGTH_BYTES + len(save(zeros))


def max_blob_bytes(layout: Iterable[TensorLayout]) -> int:
    """The most that a blob of this layout may have."""
    return 8 + MAX_BLOB_HEADER_BYTES + sum(entry.byte_count for entry in layout)


def unpack_blob(blob: bytes, layout: tuple[TensorLayout, ...]) -> Tensors:
    """Read a safetensors blob that must hold exactly the tensors of a layout.

    Raises
    ------
    ValueError
        Why it is refused, in plain words.
    """
    _check_blob(blob, layout)
    try:
        tensors: Tensors = load(blob)
    except SafetensorError:
        raise ValueError("its numbers cannot be read") from None
    for entry in layout:
        if not is_finite(tensors[entry.name]):
            raise ValueError("it holds values that are not numbers")
    return tensors


def _check_blob(blob: bytes, layout: tuple[TensorLayout, ...]) -> None:
    """Compare the blob's own header with the layout, before the library sees it."""
    length = int.from_bytes(blob[:8], "little")
    if len(blob) < 8 or not 0 < length <= min(MAX_BLOB_HEADER_BYTES, len(blob) - 8):
        raise ValueError("the header of a record is too long or cut short")
    # safetensors pads with spaces and has its own order of keys.
    text = blob[8 : 8 + length].rstrip(b" ")
    fields = strictjson.loads(text, limit=MAX_BLOB_HEADER_BYTES, canonical=False)
    if set(fields) != {entry.name for entry in layout}:
        raise ValueError("a record holds other tensors than the header says")
    spans = []
    for entry in layout:
        said = fields[entry.name]
        if not isinstance(said, dict) or set(said) != {"dtype", "shape", "data_offsets"}:
            raise ValueError("a record is not valid")
        if said["dtype"] != entry.dtype or said["shape"] != list(entry.shape):
            raise ValueError("a tensor has another type or shape than the header says")
        span = said["data_offsets"]
        if not (isinstance(span, list) and len(span) == 2 and {type(x) for x in span} == {int}):
            raise ValueError("a record is not valid")
        if span[1] - span[0] != entry.byte_count:
            raise ValueError("a tensor's shape does not match its bytes")
        spans.append(span)
    end = 0
    for begin, stop in sorted(spans):
        if begin != end:
            raise ValueError("the tensors of a record overlap or leave gaps")
        end = stop
    if end != len(blob) - 8 - length:
        raise ValueError("a record is longer than its tensors")


def is_finite(value: Array) -> bool:
    """Whether no number is NaN or infinite; by bits for float16, where numpy is slow."""
    if value.dtype == np.float16:
        bits = value.view(np.uint16)
        return not bool(np.any((bits & np.uint16(0x7C00)) == np.uint16(0x7C00)))
    return value.dtype.kind != "f" or bool(np.isfinite(value).all())


def encode(name: str, latents: Array, precision: Precision) -> Tensors:
    """Latents (N, C, H, W) in float32 to what travels.

    int8: each channel of each item is divided by its scale, a 127th of its largest
    magnitude, and rounded; the error is at most half a scale.

    Raises
    ------
    ValueError
        A value is not finite, or too large for the precision.
    """
    if not is_finite(latents):
        raise ValueError("not finite")
    if precision != "int8":
        with np.errstate(over="ignore"):
            value = latents.astype(_DTYPES["F16" if precision == "float16" else "F32"])
        if not is_finite(value):
            raise ValueError("too large")
        return {name: value}
    values = latents.astype(np.float32)
    scale = np.abs(values).max(axis=(2, 3)) / np.float32(127)
    divisor = np.where(scale > 0, scale, np.float32(1))[:, :, None, None]
    rounded = np.clip(np.rint(values / divisor), -127, 127).astype(np.int8)
    return {name: rounded, name + SCALE_SUFFIX: scale}


def decode(name: str, tensors: Mapping[str, Array]) -> npt.NDArray[np.float32]:
    """What travelled to latents (N, C, H, W) in float32."""
    value = tensors[name].astype(np.float32)
    scale = tensors.get(name + SCALE_SUFFIX)
    with np.errstate(over="ignore"):
        return value if scale is None else value * scale[:, :, None, None]
