"""LatentBundle: protected latents in memory, and their way to and from a bundle.

For batches that do not fit into memory use :func:`ppcmi_sf.bundle.create_bundle` and
:func:`ppcmi_sf.bundle.open_bundle` with :func:`pack_items` and :func:`unpack_items`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from ppcmi_sf.bundle.header import (
    ITEM,
    ITEM_BYTES,
    PRECISIONS,
    VALIDATION,
    BundleHeader,
    BundleKind,
    Precision,
    item_layout,
)
from ppcmi_sf.bundle.payload import Tensors, decode, encode, is_finite
from ppcmi_sf.bundle.reader import BundleReader, open_bundle
from ppcmi_sf.bundle.writer import create_bundle, make_header
from ppcmi_sf.cards import ContactCard, SenderLookup
from ppcmi_sf.errors import BundleContentError, BundleError
from ppcmi_sf.identity import Identity
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.study import StudySpec

Role = Literal["image", "mask"]
Latents = Mapping[Role, LatentPyramid]


@dataclass(frozen=True)
class ItemBatch:
    """Some items of a bundle.

    Attributes
    ----------
    items
        Pseudonyms, 16 hex digits each.
    latents
        For each role the pyramid of these items, float32.
    validation
        In training bundles: whether the site set each item's patient apart.
    """

    items: tuple[str, ...]
    latents: Latents
    validation: tuple[bool, ...] = ()


def new_item_id() -> str:
    """A random pseudonym (64 bits, hex)."""
    return secrets.token_hex(ITEM_BYTES)


def pack_items(batch: ItemBatch, precision: Precision) -> Tensors:
    """The tensors of a batch, as they travel.

    Raises
    ------
    BundleError
        A value is not finite, or too large for ``precision``.
    """
    raw = b"".join(bytes.fromhex(item) for item in batch.items)
    tensors: Tensors = {ITEM: np.frombuffer(raw, np.uint8).reshape(-1, ITEM_BYTES)}
    if batch.validation:
        tensors[VALIDATION] = np.array(batch.validation, np.uint8)[:, None]
    for role, pyramid in batch.latents.items():
        for scale, value in pyramid.items():
            try:
                array = value.detach().cpu().to(torch.float32).numpy()
                tensors |= encode(f"{role}.{scale}", array, precision)
            except ValueError:
                raise BundleError(
                    f"The latents hold values that {precision} cannot.",
                    hint="Use --precision float32; if that fails too, train the autoencoders "
                    "again.",
                ) from None
    return tensors


def unpack_items(reader: BundleReader, tensors: Tensors, study: StudySpec) -> ItemBatch:
    """A record of a bundle as latents.

    Raises
    ------
    BundleContentError
        The flags of a training bundle are not 0 or 1, or a value is too large.
    """
    header = reader.header
    items = tuple(row.tobytes().hex() for row in tensors[ITEM])
    flags = tensors[VALIDATION][:, 0].tolist() if header.kind == "training" else []
    if set(flags) - {0, 1}:
        raise _refused(reader, "a validation flag is neither 0 nor 1")
    latents: dict[Role, LatentPyramid] = {}
    for role in header.roles:
        decoded = {scale.name: decode(f"{role}.{scale.name}", tensors) for scale in study.scales}
        if not all(is_finite(value) for value in decoded.values()):  # by an int8's scale
            raise _refused(reader, "it holds values that are not numbers")
        latents[role] = LatentPyramid(
            {name: torch.from_numpy(value) for name, value in decoded.items()}
        )
    return ItemBatch(items, latents, tuple(bool(flag) for flag in flags))


def require_layout(reader: BundleReader, study: StudySpec) -> None:
    """Refuse a bundle of another study, or whose tensors are not the study's.

    Raises
    ------
    StudyError
        It belongs to another study.
    BundleContentError
        Its tensors are not those of the study, in any precision.
    """
    header = reader.header
    study.require(header.study, f"The bundle {reader.path}")
    if header.kind == "model":
        return
    layouts = [tuple(item_layout(study, header.kind, precision)) for precision in PRECISIONS]
    if header.layout not in layouts:
        raise _refused(reader, "its tensors are not those of this study")


def _refused(reader: BundleReader, why: str) -> BundleContentError:
    return BundleContentError(
        f"{reader.path}: {why}.", hint=f"Tell '{reader.sender.name}', who wrote and signed it so."
    )


@dataclass(frozen=True)
class LatentBundle:
    """A whole bundle in memory: header, pseudonyms, latents.

    Attributes
    ----------
    latents
        For each role of the header its pyramid, N items each.
    """

    header: BundleHeader
    batch: ItemBatch

    @property
    def latents(self) -> Latents:
        """For each role its pyramid."""
        return self.batch.latents


def write_bundle(
    path: Path,
    kind: BundleKind,
    batch: ItemBatch,
    study: StudySpec,
    *,
    sender: Identity,
    recipients: Sequence[ContactCard],
    key_id: str,
    epoch: int,
    model: str,
    precision: Precision = "float16",
) -> BundleHeader:
    """Write latents that are in memory as an encrypted, signed bundle (atomically).

    Raises
    ------
    BundleError
        A value is not finite, or too large for ``precision``.
    ContactError, KeyFileError
        A card or the identity has expired, or there is no recipient.
    ResourceError
        The file cannot be written.
    """
    header = make_header(
        kind,
        study=study.fingerprint,
        sender=sender,
        recipients=recipients,
        key_id=key_id,
        epoch=epoch,
        model=model,
        items=len(batch.items),
        layout=item_layout(study, kind, precision),
    )
    with create_bundle(path, header, sender, recipients) as writer:
        writer.append(pack_items(batch, precision))
        writer.finish()
    return header


def read_bundle(
    path: Path, study: StudySpec, identity: Identity, sender_of: SenderLookup
) -> LatentBundle:
    """Read a whole bundle of a study into memory.

    Raises
    ------
    PPCMIError
        See :func:`ppcmi_sf.bundle.open_bundle` and :func:`require_layout`.
    """
    with open_bundle(path, identity, sender_of) as reader:
        require_layout(reader, study)
        batches = [unpack_items(reader, tensors, study) for tensors in reader.records()]
    latents = {
        role: LatentPyramid.concatenate(batch.latents[role] for batch in batches)
        for role in reader.header.roles
    }
    items = tuple(item for batch in batches for item in batch.items)
    flags = tuple(flag for batch in batches for flag in batch.validation)
    return LatentBundle(reader.header, ItemBatch(items, latents, flags))
