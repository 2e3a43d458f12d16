"""A reader of latent bundles, made from SPEC.md alone: nothing of it comes from ppcmi_sf.

Python's standard library, the bare primitives of ``cryptography``, and numpy. Whatever SPEC.md
does not allow is a ``ValueError``.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
import re
import struct
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAGIC = b"\x89PPCMI\r\n"
CONTEXT = b"ppcmi-sf/v1|bundle|"
CHUNK, TAG, TRAILER = 65536, 16, 80
MAX_ENVELOPE, MAX_HEADER, MAX_BLOB_HEADER = 16384, 262144, 65536
MAX_RECORD = 64 * 2**20
MAX_JOINT_RECORD = 8 * 2**20  # of several items
ALGORITHMS = {
    "hash": "sha256",
    "kdf": "hkdf-expand-sha256",
    "payload": "chacha20-poly1305-stream-64k",
    "signature": "ed25519",
    "wrap": "hpke-base-x25519-hkdf-sha256-chacha20-poly1305",
}
DTYPES = {"F32": "<f4", "F16": "<f2", "I8": "i1", "U8": "u1"}
TENSOR = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
ITEM_TENSOR = re.compile(r"item|validation|(image|mask)\.(skip2|skip3|skip4|bottleneck)(\.scale)?")

Tensors = dict[str, np.ndarray]


def need(condition: object, why: str) -> None:
    if not condition:
        raise ValueError(why)


# -- JSON -------------------------------------------------------------------------


def parse(data: bytes, limit: int, *, canonical: bool = True) -> dict[str, Any]:
    need(len(data) <= limit, "too long")

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        need(len(dict(found)) == len(found), "a field twice")
        return dict(found)

    def integer(text: str) -> int:
        need(len(text) <= 17 and abs(int(text)) < 2**53, "too large a number")
        return int(text)

    def refuse(_text: str) -> None:
        raise ValueError("not an integer")

    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=pairs,
            parse_int=integer,
            parse_float=refuse,
            parse_constant=refuse,
        )
    except RecursionError:
        raise ValueError("too deep") from None
    need(isinstance(value, dict), "not an object")
    check_texts(value, 6)
    if canonical:
        spelt = json.dumps(value, sort_keys=True, separators=(",", ":"))
        need(spelt.encode("ascii") == data, "not canonical")
    return value


def check_texts(value: Any, depth: int) -> None:
    if isinstance(value, str):
        refused = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
        need(all(unicodedata.category(c) not in refused for c in value), "control character")
    elif isinstance(value, dict | list):
        need(depth > 0, "too deep")
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        for item in inner:
            check_texts(item, depth - 1)


def is_hex(value: Any, digits: int) -> bool:
    return isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{digits}}}", value) is not None


def in_range(value: Any, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


# -- keys -------------------------------------------------------------------------


def hpke_open(private: bytes, sealed: bytes, info: bytes) -> bytes:
    kem, suite = b"HPKE-v1KEM\x00\x20", b"HPKE-v1HPKE\x00\x20\x00\x01\x00\x03"

    def extract(which: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
        return hmac.digest(salt, which + label + material, "sha256")

    def expand(which: bytes, secret: bytes, label: bytes, text: bytes, size: int) -> bytes:
        labelled = struct.pack(">H", size) + which + label + text
        return hmac.digest(secret, labelled + b"\x01", "sha256")[:size]

    key = X25519PrivateKey.from_private_bytes(private)
    enc, public = sealed[:32], key.public_key().public_bytes_raw()
    exchanged = key.exchange(X25519PublicKey.from_public_bytes(enc))  # refuses a low order
    secret = extract(kem, b"", b"eae_prk", exchanged)
    shared = expand(kem, secret, b"shared_secret", enc + public, 32)
    context = b"\x00" + extract(suite, b"", b"psk_id_hash", b"")
    context += extract(suite, b"", b"info_hash", info)
    schedule = extract(suite, shared, b"secret", b"")
    nonce = expand(suite, schedule, b"base_nonce", context, 12)
    return open_sealed(expand(suite, schedule, b"key", context, 32), nonce, sealed[32:])


def open_sealed(key: bytes, nonce: bytes, sealed: bytes, bound: bytes = b"") -> bytes:
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, bound)
    except InvalidTag:
        raise ValueError("changed") from None


def derive(content_key: bytes, purpose: bytes) -> bytes:
    return hmac.digest(content_key, CONTEXT + purpose + b"\x01", "sha256")


# -- envelope and header ----------------------------------------------------------


def check_envelope(data: bytes) -> dict[str, str]:
    """Commitment under "", and each recipient's wrapped key under its fingerprint."""
    envelope = parse(data, MAX_ENVELOPE)
    fields = {"format", "version", "algorithms", "commitment", "recipients"}
    need(set(envelope) == fields, "other fields")
    need(envelope["format"] == "ppcmi-bundle", "format")
    need(in_range(envelope["version"], 2, 2), "version")
    need(envelope["algorithms"] == ALGORITHMS, "algorithms")
    need(is_hex(envelope["commitment"], 64), "commitment")
    need(isinstance(envelope["recipients"], list), "recipients")
    need(1 <= len(envelope["recipients"]) <= 32, "recipients")
    wrapped = {"": envelope["commitment"]}
    for stanza in envelope["recipients"]:
        need(isinstance(stanza, dict) and set(stanza) == {"fingerprint", "wrapped_key"}, "stanza")
        need(is_hex(stanza["fingerprint"], 64) and is_hex(stanza["wrapped_key"], 160), "stanza")
        need(stanza["fingerprint"] > max(wrapped), "order of recipients")
        wrapped[stanza["fingerprint"]] = stanza["wrapped_key"]
    return wrapped


def check_header(data: bytes) -> dict[str, Any]:
    header = parse(data, MAX_HEADER)
    digits = {"bundle_id": 32, "study": 64, "sender": 64, "key_id": 16, "model": 16}
    ranges = {
        "version": (2, 2),
        "epoch": (1, 1_000_000),
        "items": (1, 1_000_000),
        "record_items": (1, 4096),
        "size": (1, 2**50),
    }
    need(set(header) == {*digits, *ranges, "kind", "recipients", "layout"}, "other fields")
    need(all(is_hex(header[name], count) for name, count in digits.items()), "hex")
    need(all(in_range(header[name], *span) for name, span in ranges.items()), "range")
    need(header["kind"] in ("query", "training", "reply", "model"), "kind")
    recipients = header["recipients"]
    need(isinstance(recipients, list) and 1 <= len(recipients) <= 32, "recipients")
    need(all(is_hex(one, 64) for one in recipients), "recipients")
    need(recipients == sorted(set(recipients)), "order of recipients")
    check_layout(header)
    return header


def check_layout(header: dict[str, Any]) -> None:
    layout, model = header["layout"], header["kind"] == "model"
    need(isinstance(layout, list) and 1 <= len(layout) <= 2048, "layout")
    for entry in layout:
        need(isinstance(entry, dict) and set(entry) == {"name", "dtype", "shape"}, "layout")
        need(isinstance(entry["name"], str) and len(entry["name"]) <= 120, "name")
        need((TENSOR if model else ITEM_TENSOR).fullmatch(entry["name"]), "name")
        need(isinstance(entry["dtype"], str) and entry["dtype"] in DTYPES, "dtype")
        need(isinstance(entry["shape"], list) and len(entry["shape"]) <= 4, "shape")
        need(all(in_range(side, 1, 65536) for side in entry["shape"]), "shape")
    need(len({entry["name"] for entry in layout}) == len(layout), "a tensor twice")
    sizes = [byte_count(entry) for entry in layout]
    if model:
        need(header["items"] == header["record_items"] == 1, "a model is one item")
    record = max(sizes) if model else header["record_items"] * sum(sizes)
    need(record <= (MAX_RECORD if header["record_items"] == 1 else MAX_JOINT_RECORD), "record")


def byte_count(entry: dict[str, Any]) -> int:
    return np.dtype(DTYPES[entry["dtype"]]).itemsize * math.prod(entry["shape"])


# -- payload ----------------------------------------------------------------------


def record_layouts(header: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    if header["kind"] == "model":
        yield from ([entry] for entry in header["layout"])
        return
    for start in range(0, header["items"], header["record_items"]):
        count = min(header["record_items"], header["items"] - start)
        yield [entry | {"shape": [count, *entry["shape"]]} for entry in header["layout"]]


def read_blob(blob: bytes, layout: list[dict[str, Any]]) -> Tensors:
    need(len(blob) >= 8, "record")
    (length,) = struct.unpack("<Q", blob[:8])
    need(0 < length <= min(MAX_BLOB_HEADER, len(blob) - 8), "length of a record's header")
    need(blob[8:9] == b"{", "a record's header")
    fields = parse(blob[8 : 8 + length].rstrip(b" "), MAX_BLOB_HEADER, canonical=False)
    data = blob[8 + length :]
    need(set(fields) == {entry["name"] for entry in layout}, "other tensors")
    tensors: Tensors = {}
    spans = []
    for entry in layout:
        said = fields[entry["name"]]
        need(isinstance(said, dict) and set(said) == {"dtype", "shape", "data_offsets"}, "tensor")
        need(said["dtype"] == entry["dtype"] and said["shape"] == entry["shape"], "tensor")
        need(all(type(side) is int for side in said["shape"]), "tensor")
        span = said["data_offsets"]
        need(isinstance(span, list) and len(span) == 2, "offsets")
        need(all(in_range(end, 0, len(data)) for end in span), "offsets")
        need(span[1] - span[0] == byte_count(entry), "offsets")
        spans.append(tuple(span))
        value = np.frombuffer(data[span[0] : span[1]], DTYPES[entry["dtype"]])
        need(value.dtype.kind != "f" or np.isfinite(value).all(), "not finite")
        tensors[entry["name"]] = value.reshape(entry["shape"])
    ends = [0, *(stop for _, stop in sorted(spans))]
    need([begin for begin, _ in sorted(spans)] == ends[:-1], "overlap or gap")
    need(ends[-1] == len(data), "longer than its tensors")
    return tensors


def read_records(payload: bytes, header: dict[str, Any]) -> list[Tensors]:
    records, at = [], 0
    for layout in record_layouts(header):
        length = int.from_bytes(payload[at : at + 4], "big")
        at += 4
        need(0 < length <= len(payload) - at, "length of a record")
        records.append(read_blob(payload[at : at + length], layout))
        at += length
    need(at == len(payload), "something behind the last record")
    return records


def values_of(name: str, tensors: Tensors) -> np.ndarray:
    """Latents in float32: an int8 tensor is multiplied by its scales."""
    value = tensors[name].astype(np.float32)
    scale = tensors.get(name + ".scale")
    return value if scale is None else value * scale[:, :, None, None]


# -- the file ---------------------------------------------------------------------


def read(
    data: bytes, fingerprint: str, private: bytes, senders: Mapping[str, bytes]
) -> tuple[dict[str, Any], list[Tensors]]:
    """Header and records. ``senders``: Ed25519 public keys by fingerprint."""
    need(data[:8] == MAGIC, "magic")
    envelope, at = take_sized(data, 8, MAX_ENVELOPE)
    wrapped = check_envelope(envelope)
    sealed_header, at = take_sized(data, at, MAX_HEADER + TAG)
    need(fingerprint in wrapped, "encrypted to others")
    info = CONTEXT + b"wrap|" + fingerprint.encode()
    key = hpke_open(private, bytes.fromhex(wrapped[fingerprint]), info)
    need(len(key) == 32 and derive(key, b"commitment").hex() == wrapped[""], "commitment")
    header = check_header(open_sealed(derive(key, b"header"), bytes(12), sealed_header, envelope))
    need(header["recipients"] == [name for name in wrapped if name], "other recipients")
    count = -(-header["size"] // CHUNK)
    need(len(data) == at + header["size"] + count * TAG + TRAILER, "length of the file")
    body, trailer = data[at:-TRAILER], data[-TRAILER:]
    chunks = [body[start : start + CHUNK + TAG] for start in range(0, len(body), CHUNK + TAG)]
    tree = hashlib.sha256(hashlib.sha256(data[:at]).digest())
    for chunk in chunks:
        tree.update(hashlib.sha256(chunk).digest())
    signature = open_sealed(derive(key, b"trailer"), bytes(12), trailer)
    need(header["sender"] in senders, "unknown sender")
    try:
        Ed25519PublicKey.from_public_bytes(senders[header["sender"]]).verify(
            signature, CONTEXT + b"signature|" + tree.digest()
        )
    except InvalidSignature:
        raise ValueError("signature") from None
    payload = b"".join(
        open_sealed(
            derive(key, b"payload"), index.to_bytes(11, "big") + bytes([index == count - 1]), chunk
        )
        for index, chunk in enumerate(chunks)
    )
    return header, read_records(payload, header)


def take_sized(data: bytes, at: int, limit: int) -> tuple[bytes, int]:
    (length,) = struct.unpack(">I", data[at : at + 4].ljust(4, b"\x00"))
    need(0 < length <= min(limit, len(data) - at - 4), "length of a header")
    return data[at + 4 : at + 4 + length], at + 4 + length
