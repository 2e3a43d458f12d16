"""Make tests/core/vectors/bundles: bundles with one fault each, and good ones.

Keys, nonces and numbers are random, so the bytes differ from run to run; the set of files, their
faults and the errors they have to give are the same. Good bundles come from the product's writer,
faulty ones from tests/core/bundle/reference_writer.py, which writes what it is told to.

python scripts/make_bundle_vectors.py
"""

from __future__ import annotations

import importlib.util
import io
import json
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from ppcmi_sf.bundle import BundleHeader, BundleKind, Precision, create_bundle, make_header
from ppcmi_sf.bundle.header import TensorLayout, item_layout
from ppcmi_sf.bundle.payload import record_length
from ppcmi_sf.cards import ContactCard, fingerprint_of, signed_message
from ppcmi_sf.dates import Validity
from ppcmi_sf.identity import Identity
from ppcmi_sf.study import StudySpec, make_classes

TOP = Path(__file__).parents[1]
HELPERS = TOP / "tests/core/bundle"
OUT = TOP / "tests/core/vectors/bundles"
README = """# Latent bundles with one fault each

`scripts/make_bundle_vectors.py` made them; `src_core/ppcmi_sf/bundle/SPEC.md` describes the format.
`index.json` names for each file its fault and the error that a reader has to give, `null` for a
good one. Open them as `server`. Trust `north` and `south`; `revoked` was revoked, `expired` has an
expired card, `stranger` is unknown. `study.yaml` is the study.

**TEST ONLY**: `TEST-ONLY-identities.json` holds the private keys. Never trust or use them.
"""
ROLES = {
    "north": "sends; trusted",
    "south": "trusted; sent none of these",
    "server": "opens the files",
    "second": "another recipient; trusted",
    "revoked": "was trusted; revoked",
    "expired": "trusted, but its card is expired",
    "stranger": "not in the contact book",
}
VALID = Validity(date(2026, 11, 1), date(2036, 10, 31))
EXPIRED = Validity(date(2023, 1, 1), date(2023, 12, 31))
STUDY = StudySpec(
    name="vectors",
    modality="US",
    classes=make_classes(["a"]),
    image_size=(32, 32),
    autoencoder="small",
)
PRECISIONS: tuple[Precision, ...] = ("float16", "float32", "int8")
MAX_BYTES = 2_500_000


def load(name: str) -> ModuleType:
    """A helper of the tests, by its path."""
    spec = importlib.util.spec_from_file_location(name, HELPERS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def good(
    people: dict[str, Identity], random_tensors: Callable[[Any, int], dict[str, NDArray[Any]]]
) -> Iterator[tuple[str, str, None, bytes]]:
    """Bundles without a fault, by the product's own writer."""
    north, server = people["north"], people["server"].card
    both = [people["second"].card, server]
    wanted: list[tuple[str, BundleKind, Precision, int, int]] = [
        ("query-float16", "query", "float16", 1, 1),
        ("query-float32", "query", "float32", 2, 2),
        ("query-int8", "query", "int8", 2, 2),
        ("training-float16", "training", "float16", 2, 2),
        ("reply-int8", "reply", "int8", 1, 1),
        ("several-records", "query", "float16", 5, 2),
        ("three-chunks", "query", "float16", 85, 85),
    ]
    scratch = OUT / "scratch.ppcmi"
    for name, kind, precision, items, each in wanted:
        layout = item_layout(STUDY, kind, precision)
        header = header_of(kind, north, both, items, layout, each)
        with create_bundle(scratch, header, north, both) as writer:
            writer.append(random_tensors([entry.model_dump() for entry in layout], items))
            writer.finish()
        yield f"good-{name}", "none", None, scratch.read_bytes()
    model = [
        TensorLayout(name="block.0.weight", dtype="F32", shape=(4, 3, 3, 3)),
        TensorLayout(name="block.0.bias", dtype="F32", shape=(4,)),
        TensorLayout(name="temperature", dtype="F32", shape=()),
    ]
    header = header_of("model", north, [server], 1, model, 1)
    with create_bundle(scratch, header, north, [server]) as writer:
        for entry in model:
            writer.append_tensor(entry.name, np.ones(entry.shape, np.float32))
        writer.finish()
    yield "good-model", "none", None, scratch.read_bytes()
    scratch.unlink()


def header_of(
    kind: BundleKind,
    sender: Identity,
    recipients: Sequence[ContactCard],
    items: int,
    layout: Sequence[TensorLayout],
    each: int,
) -> BundleHeader:
    """A header with ``each`` items to a record."""
    header = make_header(
        kind,
        study=STUDY.fingerprint,
        sender=sender,
        recipients=recipients,
        key_id="5e" * 8,
        epoch=1,
        model="a7" * 8,
        items=items,
        layout=layout,
    ).model_copy(update={"record_items": each})
    layouts = (header.record_layout(index) for index in range(header.record_count))
    return header.model_copy(update={"size": sum(record_length(one) for one in layouts)})


def foreign() -> Iterator[tuple[str, str, str, bytes]]:
    """Other formats under the name of a bundle."""
    archive, arrays = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("../../etc/passwd", "x" * 5000)
    np.savez(arrays, a=np.zeros(9))
    for name, data in {
        "pickle": b"cposix\nsystem\n(S'touch ppcmi-was-here'\ntR.",
        "zip": archive.getvalue(),
        "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(500),
        "npz": arrays.getvalue(),
        "safetensors": b"\x02" + bytes(7) + b"{}",
        "json": b'{"format":"ppcmi-bundle","version":2}',
    }.items():
        yield f"renamed-{name}", f"{name}, renamed", "BundleDamagedError", data


def cards(low_order: dict[str, str]) -> Iterator[tuple[str, str, str, bytes]]:
    """Self-signed cards whose keys protect nothing."""
    for name, point in low_order.items():
        signer = Ed25519PrivateKey.generate()
        yield card(f"low-order-{name}", signer.public_key().public_bytes_raw().hex(), point, signer)
    # Of the neutral element anybody can sign: R is it too, and S is zero.
    neutral, harmless = "01" + "00" * 31, Identity.generate("x").card.encrypt_key
    yield card("small-order-signing-key", neutral, harmless, None)


def card(
    name: str, sign_key: str, encrypt_key: str, signer: Ed25519PrivateKey | None
) -> tuple[str, str, str, bytes]:
    """A card of these keys."""
    fields: dict[str, Any] = {
        "format": "ppcmi-contact-card",
        "version": 1,
        "name": "mallory",
        "sign_key": sign_key,
        "encrypt_key": encrypt_key,
        "fingerprint": fingerprint_of(bytes.fromhex(sign_key), bytes.fromhex(encrypt_key)),
        "created": VALID.created.isoformat(),
        "expires": VALID.expires.isoformat(),
    }
    message = signed_message("contact-card", fields)
    signature = bytes([1]) + bytes(63) if signer is None else signer.sign(message)
    whole = ContactCard.model_construct(**fields, signature=signature.hex())
    return f"card-{name}", f"card: {name}", "ContactError", whole.to_bytes()


def main() -> None:
    """Write the folder anew."""
    ref, faults, content = (load(n) for n in ("reference_writer", "faults", "content_faults"))
    people = {
        name: Identity.generate(name, EXPIRED if name == "expired" else VALID) for name in ROLES
    }
    layouts = {precision: item_layout(STUDY, "query", precision) for precision in PRECISIONS}
    forger = faults.Forger(
        ref,
        {name: ref.Party(one.sign_secret, one.encrypt_secret) for name, one in people.items()},
        STUDY.fingerprint,
        {name: [e.model_dump(mode="json") for e in one] for name, one in layouts.items()},
    )
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    index: dict[str, dict[str, str | None]] = {}
    for vectors in (
        good(people, faults.random_tensors),
        faults.bit_flips(forger),
        faults.cuts(forger),
        faults.shuffles(forger),
        faults.forgeries(forger),
        faults.envelopes(forger),
        content.headers(forger, faults.JSON_FAULTS | faults.SPELLINGS),
        content.records(forger, faults.JSON_FAULTS),
        content.numbers(forger),
        foreign(),
        cards(faults.LOW_ORDER),
    ):
        for name, fault, error, data in vectors:
            file = f"{name}.ppcmicard" if name.startswith("card-") else f"{name}.ppcmi"
            assert file not in index, f"{file} twice"
            (OUT / file).write_bytes(data)
            index[file] = {"fault": fault, "error": error}
    secrets = {
        name: {
            "what": f"TEST ONLY: {ROLES[name]}",
            "sign_secret": one.sign_secret.hex(),
            "encrypt_secret": one.encrypt_secret.hex(),
            "card": one.card.model_dump(),
        }
        for name, one in people.items()
    }
    (OUT / "index.json").write_text(json.dumps(index, indent=1) + "\n")
    (OUT / "TEST-ONLY-identities.json").write_text(json.dumps(secrets, indent=1) + "\n")
    (OUT / "README.md").write_text(README)
    STUDY.save(OUT / "study.yaml")
    total = sum(path.stat().st_size for path in OUT.iterdir())
    assert total < MAX_BYTES, f"{total} bytes"
    print(f"{len(index)} files, {total} bytes in {OUT}")


if __name__ == "__main__":
    main()
