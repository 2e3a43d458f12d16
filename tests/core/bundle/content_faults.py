"""Bundles that are encrypted and signed as they should be, by a known sender who means harm.

Like faults.py, whose ``Forger`` writes them: name, fault, error and bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

DAMAGED, CONTENT = "BundleDamagedError", "BundleContentError"
Vector = tuple[str, str, str, bytes]
Texts = Mapping[str, tuple[str, Callable[[bytes], bytes]]]
TENSOR = "image.skip3"


def headers(forger: Any, texts: Texts) -> Iterator[Vector]:
    """The encrypted header."""
    payload = forger.payload()
    fields = forger.header(payload)

    def made(header: Any) -> bytes:
        return forger.bundle(header, payload).join()

    for name, (fault, edit) in texts.items():
        yield f"header-{name}", f"header: {fault}", CONTENT, made(edit(forger.ref.spell(fields)))
    other = forger.people["second"].fingerprint
    own = fields["recipients"][0]
    for name, changes in {
        "patient": {"patient_name": "Doe, Jane"},
        "file-name": {"file": "Doe_Jane_1961.dcm"},
        "version-newer": {"version": 3},
        "kind": {"kind": "archive"},
        "bundle-id-path": {"bundle_id": "../" + "0" * 29},
        "study-short": {"study": "ab"},
        "sender-name": {"sender": "north"},
        "recipients-none": {"recipients": []},
        "recipients-order": {"recipients": sorted([own, other], reverse=True)},
        "recipients-twice": {"recipients": [own, own]},
        "key-id": {"key_id": "Doe"},
        "epoch-zero": {"epoch": 0},
        "epoch-true": {"epoch": True},
        "items-none": {"items": 0},
        "items-too-many": {"items": 10**9},
        "record-items-none": {"record_items": 0},
        "size-none": {"size": 0},
        "size-negative": {"size": -1},
        "size-huge": {"size": 2**53 - 1},
        "layout-none": {"layout": []},
        "layout-text": {"layout": "F16"},
        "layout-twice": {"layout": fields["layout"][:1] * 2},
        "layout-6000-tensors": {"kind": "model", "layout": many(6000)},
        "model-of-two": {"kind": "model", "items": 2},
    }.items():
        yield f"header-{name}", f"header: {name}", CONTENT, made(fields | changes)
    for name, changes in {
        "name-path": {"name": "../../etc/passwd"},
        "name-dots": {"name": "image..skip3"},
        "name-reserved": {"name": "CON"},
        "name-patient": {"name": "Doe_Jane_1961"},
        "name-right-to-left": {"name": "image.\u202eskip3"},
        "name-empty": {"name": ""},
        "name-long": {"name": "a" * 121},
        "dtype-f64": {"dtype": "F64"},
        "dtype-bf16": {"dtype": "BF16"},
        "dtype-object": {"dtype": "O"},
        "shape-negative": {"shape": [-32, 4, 4]},
        "shape-zero-huge": {"shape": [0, 2**40]},
        "shape-overflow": {"shape": [2**32, 2**32]},
        "shape-record-too-large": {"shape": [65536, 65536]},
        "shape-65537": {"shape": [65537]},
        "shape-five-axes": {"shape": [1, 1, 1, 1, 1]},
        "shape-true": {"shape": [True]},
        "extra-field": {"patient": "Doe, Jane"},
    }.items():
        item, entry, *rest = fields["layout"]
        changed = fields | {"layout": [item, entry | changes, *rest]}
        yield f"layout-{name}", f"layout: {name}", CONTENT, made(changed)
    smaller, larger = fields | {"size": len(payload) - 1}, fields | {"size": len(payload) + 1}
    yield "size-too-small", "header: size below the file's", DAMAGED, made(smaller)
    yield "size-too-large", "header: size above the file's", DAMAGED, made(larger)


def many(count: int) -> list[dict[str, Any]]:
    return [{"dtype": "U8", "name": f"{n:x}", "shape": []} for n in range(count)]


def records(forger: Any, texts: Texts) -> Iterator[Vector]:
    """The payload, but for its numbers."""
    tensors = forger.draw("float16", 1)
    blob, ref = forger.ref.blob(tensors), forger.ref
    length = int.from_bytes(blob[:8], "little")
    head, data = blob[8 : 8 + length], blob[8 + length :]

    def made(payload: bytes) -> bytes:
        return forger.bundle(None, payload).join()

    for name, (fault, edit) in texts.items():
        changed = ref.record(ref.raw_blob(edit(head), data))
        yield f"record-{name}", f"header of a record: {fault}", CONTENT, made(changed)
    entry = json.loads(head)[TENSOR]
    begin, end = entry["data_offsets"]
    for name, changes in {
        "dtype-f64": {"dtype": "F64"},
        "dtype-bf16": {"dtype": "BF16"},
        "dtype-list": {"dtype": ["F16"]},
        "shape-negative": {"shape": [1, -32, 4, 4]},
        "shape-zero-huge": {"shape": [1, 0, 2**40]},
        "shape-overflow": {"shape": [1, 2**52, 2**52]},
        "shape-not-its-bytes": {"shape": [1, 32, 4, 5]},
        "shape-true": {"shape": [True, 32, 4, 4]},
        "offsets-beyond": {"data_offsets": [begin, 2**52]},
        "offsets-reversed": {"data_offsets": [end, begin]},
        "offsets-negative": {"data_offsets": [begin - end, 0]},
        "offsets-overlap": {"data_offsets": [begin - 8, end - 8]},
        "offsets-text": {"data_offsets": "0,1"},
        "offsets-three": {"data_offsets": [begin, end, end]},
        "extra-field": {"patient": "Doe, Jane"},
    }.items():
        changed = ref.record(ref.blob(tensors, **{TENSOR: entry | changes}))
        yield f"record-{name}", f"a tensor in a record: {name}", CONTENT, made(changed)
    empty = {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
    fewer = {name: value for name, value in tensors.items() if name != TENSOR}
    for name, content in {
        "metadata": ref.blob(tensors, __metadata__={"patient": "Doe, Jane"}),
        "tensor-more": ref.blob(tensors, extra=empty),
        "tensor-path": ref.blob(tensors, **{"../../etc/passwd": empty}),
        "tensor-missing": ref.blob(fewer),
        "empty-tensors": ref.blob(tensors, **{f"{n:x}": empty for n in range(1000)}),
        "data-more": blob + b"\0",
        "data-less": blob[:-1],
        "gap": ref.raw_blob(json.dumps(moved(json.loads(head), 4)).encode(), b"\0" * 4 + data),
        "header-length-none": bytes(8) + blob[8:],
        "header-length-huge": b"\xff" * 8 + blob[8:],
        "header-length-more": (len(blob)).to_bytes(8, "little") + blob[8:],
        "pickle": b"cposix\nsystem\n(S'true'\ntR.",
        "tiny": b"\0\0\0",
    }.items():
        yield f"record-{name}", f"a record: {name}", CONTENT, made(ref.record(content))
    whole, count = ref.record(blob), len(blob)
    for name, payload in {
        "none": bytes(4) + blob,
        "2gb": b"\x80\0\0\0" + blob,
        "one-less": (count - 1).to_bytes(4, "big") + blob,
        "one-more": (count + 1).to_bytes(4, "big") + blob + b"\0",
        "beyond": (count + 999).to_bytes(4, "big") + blob,
        "cut": whole[:3],
    }.items():
        yield f"record-length-{name}", f"length of a record: {name}", CONTENT, made(payload)
    yield "behind-bytes", "bytes behind the last record", CONTENT, made(whole + bytes(8))
    yield "behind-record", "a record behind the last", CONTENT, made(whole * 2)
    two = forger.header(whole, items=2)
    yield (
        "record-missing",
        "two records, of which one is there",
        CONTENT,
        (forger.bundle(two, whole).join()),
    )
    early = forger.bundle(None, whole, nonces=lambda index, _last: forger.ref.nonce(index, False))
    yield "chunk-not-last", "the last chunk is not sealed as the last", DAMAGED, early.join()
    second = forger.bundle(None, whole, nonces=lambda _index, last: forger.ref.nonce(1, last))
    yield "chunk-number", "the first chunk is sealed as the second", DAMAGED, second.join()
    swapped = forger.three_chunks(nonces=lambda index, last: forger.ref.nonce(index ^ 1, last))
    yield "chunks-swapped-signed", "chunks sealed in another order", DAMAGED, swapped.join()


def moved(fields: dict[str, Any], by: int) -> dict[str, Any]:
    """A record's header whose data begin later."""
    for entry in fields.values():
        entry["data_offsets"] = [offset + by for offset in entry["data_offsets"]]
    return fields


def numbers(forger: Any) -> Iterator[Vector]:
    """Numbers that are none."""
    for name, precision, tensor, value in (
        ("nan-float16", "float16", TENSOR, np.nan),
        ("inf-float16", "float16", TENSOR, np.inf),
        ("minus-inf-float16", "float16", TENSOR, -np.inf),
        ("nan-float32", "float32", TENSOR, np.nan),
        ("inf-float32", "float32", TENSOR, np.inf),
        ("nan-int8-scale", "int8", TENSOR + ".scale", np.nan),
        ("inf-int8-scale", "int8", TENSOR + ".scale", np.inf),
    ):
        tensors = forger.draw(precision, 1)
        tensors[tensor].flat[-1] = value
        payload = forger.ref.record(forger.ref.blob(tensors))
        header = forger.header(payload, precision=precision)
        yield f"number-{name}", f"a number: {name}", CONTENT, forger.bundle(header, payload).join()
