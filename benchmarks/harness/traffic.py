"""Bytes that a training and a query exchange, by the engine's own headers and files."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from torch import nn

from ppcmi_sf.bundle import BundleKind, item_layout, make_header
from ppcmi_sf.bundle.writer import expected_bytes
from ppcmi_sf.identity import Identity
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.models.store import weights_of
from ppcmi_sf.share import write_share
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows.pairs_plan import MAX_TRAINING_ITEMS
from ppcmi_sf.workflows.protect import default_precision


@cache
def parties() -> tuple[Identity, Identity]:
    """A site and a server, with cards as long as any."""
    return Identity.generate("site"), Identity.generate("server")


def bundle_bytes(study: StudySpec, kind: BundleKind, items: int) -> int:
    """Bytes of a bundle file with so many items, for one recipient, in the default precision."""
    sender, recipient = parties()
    header = make_header(
        kind,
        study=study.fingerprint,
        sender=sender,
        recipients=[recipient.card],
        key_id="0" * 16,
        epoch=1,
        model="0" * 16,
        items=items,
        layout=item_layout(study, kind, default_precision(kind, study)),
    )
    return expected_bytes(header, [recipient.card])


def pair_bytes(study: StudySpec, pairs: int) -> int:
    """Bytes of all training bundles of one site."""
    whole, rest = divmod(pairs, MAX_TRAINING_ITEMS)
    total = whole * bundle_bytes(study, "training", MAX_TRAINING_ITEMS) if whole else 0
    return total + (bundle_bytes(study, "training", rest) if rest else 0)


def query_bytes(study: StudySpec, images: int = 1) -> int:
    """Bytes of queries for so many images, a file each."""
    return images * bundle_bytes(study, "query", 1)


def reply_bytes(study: StudySpec, images: int = 1) -> int:
    """Bytes of replies for so many images, a file each."""
    return images * bundle_bytes(study, "reply", 1)


@cache
def joining_bytes(arrangement: str) -> int:
    """Bytes of a site's and the server's cards and, in ``escrow``, of a transform share."""
    site, server = parties()
    total = len(site.card.to_bytes()) + len(server.card.to_bytes())
    if arrangement == "blind":
        return total
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "share"
        share = ClientKey.generate("site", "0" * 64).transform_share()
        write_share(path, share, site, server.card)
        return total + path.stat().st_size


def model_bytes(model: nn.Module) -> int:
    """Bytes of a network's weights as they are stored (float32)."""
    return sum(value.numel() * value.element_size() for value in weights_of(model).values())


def fedavg_bytes(model: nn.Module, sites: int, rounds: int) -> int:
    """Federated averaging: every round, every site gets the weights and sends its own."""
    return rounds * sites * 2 * model_bytes(model)
