"""Weights on disk: safetensors with a small header, checked before anything is allocated."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ppcmi_sf.errors import ModelFileError
from ppcmi_sf.files import write_tensors
from ppcmi_sf.keys import SITE_NAME_PATTERN

HEADER_KEY = "ppcmi"
MAX_SITES = 256

ModelKind = Literal["image-autoencoder", "mask-autoencoder", "mapping-network", "aligned-encoder"]
WeightsId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class SiteLink(BaseModel):
    """What a mapping network knows of a site.

    Attributes
    ----------
    name
        As the server's contact book had it; the order of the adapters goes by it.
    fingerprint
        Of the site's identity. It decides whose queries are answered.
    epoch, transform
        Key epoch, and id of the transform share.
    encoders
        Id of the site's encoders.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Annotated[str, Field(pattern=SITE_NAME_PATTERN)]
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    epoch: Annotated[int, Field(ge=1, le=1_000_000)]
    transform: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    encoders: WeightsId


class ModelHeader(BaseModel):
    """What a file of weights says of itself.

    Attributes
    ----------
    site
        Whose autoencoder, or aligned encoder, it is.
    sites, adapters
        The sites of a mapping network in the order of its adapters, and whether
        these are learned.
    encoders, network
        Of an aligned encoder: ids of the encoders that it began as one of, and of the mapping
        network that it is aligned with.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal["ppcmi-model"] = "ppcmi-model"
    version: Literal[1] = 1
    kind: ModelKind
    study: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    site: Annotated[str, Field(pattern=SITE_NAME_PATTERN)] | None = None
    sites: Annotated[tuple[SiteLink, ...], Field(max_length=MAX_SITES, strict=False)] = ()
    adapters: bool | None = None
    encoders: WeightsId | None = None
    network: WeightsId | None = None


def save_model(path: Path, module: nn.Module, header: ModelHeader) -> None:
    """Write weights and header (atomically)."""
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in weights_of(module).items()
    }
    write_tensors(path, tensors, {HEADER_KEY: header.model_dump_json()})


def read_header(path: Path) -> ModelHeader:
    """Read what a file of weights says of itself, without loading the weights.

    Raises
    ------
    ModelFileError
        The file is missing, damaged, or not a file of weights of this project.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelFileError(
            f"{path}: there is no such file of weights.",
            hint="Train first ('ppcmi site train', 'ppcmi server train').",
        )
    try:
        with safe_open(path, framework="pt") as handle:
            text = (handle.metadata() or {}).get(HEADER_KEY, "")
        return ModelHeader.model_validate_json(text)
    except (SafetensorError, OSError, ValidationError) as error:
        raise _damaged(path, "it is not a readable file of weights") from error


def load_model(path: Path, module: nn.Module) -> None:
    """Fill ``module`` with the weights of a file whose header was read and agreed to.

    Names, shapes, dtypes and finiteness are checked before any weight is used.

    Raises
    ------
    ModelFileError
        The weights are not those of this network.
    """
    expected = weights_of(module)
    try:
        with safe_open(path, framework="pt") as handle:
            if set(handle.keys()) != set(expected):
                raise _damaged(path, "its layers are not those of this study's network")
            for name, value in expected.items():
                entry = handle.get_slice(name)
                if tuple(entry.get_shape()) != tuple(value.shape):
                    raise _damaged(path, f"the shape of '{name}' is wrong")
            tensors = {name: handle.get_tensor(name) for name in expected}
    except (SafetensorError, OSError) as error:
        raise _damaged(path, "it is not a readable file of weights") from error
    for name, value in tensors.items():
        if value.dtype != expected[name].dtype:
            raise _damaged(path, f"the number type of '{name}' is wrong")
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise _damaged(path, f"'{name}' holds values that are not numbers")
    module.load_state_dict(tensors, strict=False)


def weights_id(*modules: nn.Module) -> str:
    """A short hash (16 hex digits) of weights: changes whenever a network is trained anew."""
    digest = hashlib.sha256()
    for module in modules:
        for name, value in sorted(weights_of(module).items()):
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def weights_of(module: nn.Module) -> Mapping[str, Tensor]:
    """Parameters and buffers that are stored, by name."""
    # Batch counters serve nothing after training and would only make files differ.
    return {
        name: value
        for name, value in module.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def _damaged(path: Path, why: str) -> ModelFileError:
    return ModelFileError(
        f"{path}: {why}.", hint="Take the file from a backup, or train the network again."
    )
