"""Reading and writing latent bundles.

For now a bundle is a plain safetensors file: neither encrypted nor signed. Its
header and every tensor's name, type and shape are checked before anything of
the file's size is allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ppcmi_sf.bundle.header import BundleHeader
from ppcmi_sf.errors import BundleError, InputFileError
from ppcmi_sf.files import write_tensors
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.study import StudySpec

SUFFIX = ".safetensors"
HEADER_KEY = "ppcmi"
MAX_HEADER_BYTES = 2**20
Precision = Literal["float16", "float32"]
_DTYPES = {"float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class LatentBundle:
    """Protected latents and their header.

    Attributes
    ----------
    latents
        For each role of the header its pyramid, N items each.
    """

    header: BundleHeader
    latents: Mapping[Literal["image", "mask"], LatentPyramid]

    @property
    def file_name(self) -> str:
        """A name that tells nothing: kind and bundle id."""
        return f"{self.header.kind}-{self.header.bundle_id}{SUFFIX}"

    def save(self, path: Path, *, precision: Precision = "float16") -> None:
        """Write the bundle (atomically).

        Raises
        ------
        BundleError
            A value is not finite, or too large for ``precision``.
        ResourceError
            The file cannot be written.
        """
        tensors = {
            f"{role}.{scale}": value.detach().cpu().to(_DTYPES[precision]).contiguous()
            for role, pyramid in self.latents.items()
            for scale, value in pyramid.items()
        }
        if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
            raise BundleError(
                f"{path}: the latents hold values that {precision} cannot.",
                hint="Use --precision float32; if that fails too, train the autoencoders again.",
            )
        write_tensors(path, tensors, {HEADER_KEY: self.header.model_dump_json()})


def read_header(path: Path) -> BundleHeader:
    """Read a bundle's header alone.

    Raises
    ------
    BundleError
        The file is damaged or not a latent bundle.
    InputFileError
        There is no such file.
    """
    path = Path(path)
    _check_prefix(path)
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
        if set(metadata) != {HEADER_KEY}:  # nothing rides along beside the header
            raise _damaged(path, "it is not a readable latent bundle")
        return BundleHeader.model_validate_json(metadata[HEADER_KEY])
    except (SafetensorError, OSError, ValidationError) as error:
        raise _damaged(path, "it is not a readable latent bundle") from error


def read_bundle(path: Path, study: StudySpec) -> LatentBundle:
    """Read a bundle of a study.

    Raises
    ------
    BundleError
        The file is damaged, or its latents are not those of the study.
    StudyError
        It belongs to another study.
    """
    header = read_header(path)
    study.require(header.study, f"The bundle {path}")
    expected = {
        f"{role}.{scale.name}": (len(header.items), *scale.shape)
        for role in header.roles
        for scale in study.scales
    }
    try:
        with safe_open(path, framework="pt") as handle:
            if set(handle.keys()) != set(expected):
                raise _damaged(path, "its latents are not those of this study")
            for name, shape in expected.items():
                entry = handle.get_slice(name)
                fits = tuple(entry.get_shape()) == shape and entry.get_dtype() in ("F16", "F32")
                if not fits:
                    raise _damaged(path, f"'{name}' has the wrong shape or number type")
            tensors = {name: handle.get_tensor(name) for name in expected}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, "it is not a readable latent bundle") from error
    if not all(bool(torch.isfinite(value).all()) for value in tensors.values()):
        raise _damaged(path, "it holds values that are not numbers")
    return LatentBundle(header, {role: _pyramid(tensors, role, study) for role in header.roles})


def _pyramid(tensors: Mapping[str, Tensor], role: str, study: StudySpec) -> LatentPyramid:
    return LatentPyramid({scale.name: tensors[f"{role}.{scale.name}"] for scale in study.scales})


def _check_prefix(path: Path) -> None:
    """Refuse an absurd header length before the parser sees the file."""
    try:
        with path.open("rb") as handle:
            prefix = handle.read(8)
    except OSError as error:
        raise InputFileError(
            path, "the bundle cannot be read.", hint="Check the path and the permissions."
        ) from error
    if len(prefix) < 8 or struct.unpack("<Q", prefix)[0] > MAX_HEADER_BYTES:
        raise _damaged(path, "it is not a readable latent bundle")


def _damaged(path: Path, why: str) -> BundleError:
    return BundleError(f"{path}: {why}.", hint="Ask the sender for the file again.")
