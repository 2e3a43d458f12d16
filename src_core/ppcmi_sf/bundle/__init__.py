"""Latent bundles: the files that sites and server exchange. ``SPEC.md`` describes the bytes.

``format`` and ``header`` parse what a file is, ``crypto`` has keys and signature, ``payload``
checks tensors, ``writer`` and ``reader`` are streams of numpy arrays. Each is loaded on first
use: ``format`` and ``header`` need neither torch nor cryptography, and only ``latents``
(LatentBundle) needs torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppcmi_sf.bundle.format import SUFFIX, Envelope
    from ppcmi_sf.bundle.header import (
        PRECISIONS,
        BundleHeader,
        BundleKind,
        Precision,
        item_layout,
    )
    from ppcmi_sf.bundle.latents import (
        ItemBatch,
        LatentBundle,
        new_item_id,
        pack_items,
        read_bundle,
        require_layout,
        unpack_items,
        write_bundle,
    )
    from ppcmi_sf.bundle.reader import (
        BundleReader,
        open_bundle,
        peek,
        read_envelope,
    )
    from ppcmi_sf.bundle.writer import BundleWriter, create_bundle, make_header

_HOMES = {
    "format": ("SUFFIX", "Envelope"),
    "header": ("PRECISIONS", "BundleHeader", "BundleKind", "Precision", "item_layout"),
    "latents": (
        "ItemBatch",
        "LatentBundle",
        "new_item_id",
        "pack_items",
        "read_bundle",
        "require_layout",
        "unpack_items",
        "write_bundle",
    ),
    "reader": ("BundleReader", "open_bundle", "peek", "read_envelope"),
    "writer": ("BundleWriter", "create_bundle", "make_header"),
}

__all__ = [
    "PRECISIONS",
    "SUFFIX",
    "BundleHeader",
    "BundleKind",
    "BundleReader",
    "BundleWriter",
    "Envelope",
    "ItemBatch",
    "LatentBundle",
    "Precision",
    "create_bundle",
    "item_layout",
    "make_header",
    "new_item_id",
    "open_bundle",
    "pack_items",
    "peek",
    "read_bundle",
    "read_envelope",
    "require_layout",
    "unpack_items",
    "write_bundle",
]


def __getattr__(name: str) -> Any:
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'ppcmi_sf.bundle' has no attribute '{name}'")
    return getattr(import_module(f"ppcmi_sf.bundle.{home}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
