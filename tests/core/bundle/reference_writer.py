"""A writer of latent bundles, made from SPEC.md alone: nothing of it comes from ppcmi_sf.

It writes what it is told to, wrong things too: the test vectors come from it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from os import urandom
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

MAGIC = b"\x89PPCMI\r\n"
CONTEXT = b"ppcmi-sf/v1|bundle|"
CHUNK = 65536
ALGORITHMS = {
    "hash": "sha256",
    "kdf": "hkdf-expand-sha256",
    "payload": "chacha20-poly1305-stream-64k",
    "signature": "ed25519",
    "wrap": "hpke-base-x25519-hkdf-sha256-chacha20-poly1305",
}
TYPES = {"float32": "F32", "float16": "F16", "int8": "I8", "uint8": "U8"}


def spell(value: Any) -> bytes:
    """The canonical JSON text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


# -- HPKE, RFC 9180: base mode, KEM 0x0020, KDF 0x0001, AEAD 0x0003 ---------------

_KEM = b"HPKE-v1KEM\x00\x20"
_SUITE = b"HPKE-v1HPKE\x00\x20\x00\x01\x00\x03"


def _extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt, suite + label + material, "sha256")


def _expand(suite: bytes, secret: bytes, label: bytes, info: bytes, size: int) -> bytes:
    text = struct.pack(">H", size) + suite + label + info
    return hmac.digest(secret, text + b"\x01", "sha256")[:size]


def hpke_seal(exchanged: bytes, enc: bytes, public: bytes, info: bytes, text: bytes) -> bytes:
    """Encapsulated key and ciphertext, from the Diffie-Hellman secret."""
    secret = _extract(_KEM, b"", b"eae_prk", exchanged)
    shared = _expand(_KEM, secret, b"shared_secret", enc + public, 32)
    context = b"\x00" + _extract(_SUITE, b"", b"psk_id_hash", b"")
    context += _extract(_SUITE, b"", b"info_hash", info)
    schedule = _extract(_SUITE, shared, b"secret", b"")
    key = _expand(_SUITE, schedule, b"key", context, 32)
    nonce = _expand(_SUITE, schedule, b"base_nonce", context, 12)
    return enc + ChaCha20Poly1305(key).encrypt(nonce, text, b"")


# -- parties ----------------------------------------------------------------------


@dataclass(frozen=True)
class Party:
    """Two private keys."""

    sign: bytes
    encrypt: bytes

    @property
    def public(self) -> bytes:
        return X25519PrivateKey.from_private_bytes(self.encrypt).public_key().public_bytes_raw()

    @property
    def fingerprint(self) -> str:
        signer = Ed25519PrivateKey.from_private_bytes(self.sign).public_key().public_bytes_raw()
        return hashlib.sha256(b"ppcmi-sf/v1|identity|" + signer + self.public).hexdigest()

    def signature(self, message: bytes) -> bytes:
        return Ed25519PrivateKey.from_private_bytes(self.sign).sign(message)


# -- payload ----------------------------------------------------------------------


def blob(tensors: Mapping[str, np.ndarray], **extra: Any) -> bytes:
    """A safetensors blob. What is in ``extra`` is added to, or replaces, its header."""
    entries: dict[str, Any] = {}
    data = b""
    for name, value in tensors.items():
        raw = value.tobytes()
        entries[name] = {
            "dtype": TYPES[str(value.dtype)],
            "shape": list(value.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    return raw_blob(json.dumps(entries | extra).encode(), data)


def raw_blob(header: bytes, data: bytes) -> bytes:
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def record(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


# -- the file ---------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """A file in its parts, to be changed with ``dataclasses.replace``."""

    envelope: bytes
    header: bytes
    chunks: tuple[bytes, ...]
    trailer: bytes

    def join(self) -> bytes:
        return self.prelude() + b"".join(self.chunks) + self.trailer

    def prelude(self) -> bytes:
        sizes = (struct.pack(">I", len(part)) for part in (self.envelope, self.header))
        return MAGIC + next(sizes) + self.envelope + next(sizes) + self.header

    def boundaries(self) -> dict[str, int]:
        """Where each part ends."""
        ends = {"magic": 8, "envelope-length": 12, "envelope": 12 + len(self.envelope)}
        ends["header-length"] = ends["envelope"] + 4
        ends["header"] = at = ends["header-length"] + len(self.header)
        for number, chunk in enumerate(self.chunks, 1):
            at += len(chunk)
            ends[f"chunk-{number}"] = at
        return ends


def split(data: bytes) -> Parts:
    """The parts of a whole, undamaged file."""
    size = struct.unpack(">I", data[8:12])[0]
    header_at = 16 + size
    header_end = header_at + struct.unpack(">I", data[header_at - 4 : header_at])[0]
    body, trailer = data[header_end:-80], data[-80:]
    chunks = tuple(body[at : at + CHUNK + 16] for at in range(0, len(body), CHUNK + 16))
    return Parts(data[12 : header_at - 4], data[header_at:header_end], chunks, trailer)


def nonce(index: int, last: bool) -> bytes:
    return index.to_bytes(11, "big") + bytes([last])


class Secret:
    """The content key of a bundle."""

    def __init__(self, key: bytes | None = None) -> None:
        self.key = urandom(32) if key is None else key

    def derive(self, purpose: str) -> bytes:
        return hmac.digest(self.key, CONTEXT + purpose.encode() + b"\x01", "sha256")

    def seal(self, purpose: str, number: bytes, text: bytes, bound: bytes = b"") -> bytes:
        return ChaCha20Poly1305(self.derive(purpose)).encrypt(number, text, bound)

    def stanza(self, fingerprint: str, public: bytes) -> dict[str, str]:
        """The entry of a recipient."""
        once = X25519PrivateKey.generate()
        exchanged = once.exchange(X25519PublicKey.from_public_bytes(public))
        enc = once.public_key().public_bytes_raw()
        return self.wrapped(fingerprint, exchanged, enc, public)

    def wrapped(
        self, fingerprint: str, exchanged: bytes, enc: bytes, public: bytes
    ) -> dict[str, str]:
        info = CONTEXT + b"wrap|" + fingerprint.encode()
        sealed = hpke_seal(exchanged, enc, public, info, self.key)
        return {"fingerprint": fingerprint, "wrapped_key": sealed.hex()}

    def envelope(self, recipients: Sequence[Party]) -> dict[str, Any]:
        stanzas = [self.stanza(party.fingerprint, party.public) for party in recipients]
        return {
            "format": "ppcmi-bundle",
            "version": 2,
            "algorithms": dict(ALGORITHMS),
            "commitment": self.derive("commitment").hex(),
            "recipients": sorted(stanzas, key=lambda stanza: stanza["fingerprint"]),
        }


def sign(parts: Parts, secret: Secret, sender: Party | None) -> Parts:
    """With the trailer that belongs to the other parts; zeros for nobody's signature."""
    tree = hashlib.sha256(hashlib.sha256(parts.prelude()).digest())
    for chunk in parts.chunks:
        tree.update(hashlib.sha256(chunk).digest())
    message = CONTEXT + b"signature|" + tree.digest()
    signature = bytes(64) if sender is None else sender.signature(message)
    return replace(parts, trailer=secret.seal("trailer", bytes(12), signature))


def write(
    header: bytes,
    payload: bytes,
    sender: Party | None,
    recipients: Sequence[Party],
    *,
    secret: Secret | None = None,
    envelope: bytes | None = None,
    nonces: Callable[[int, bool], bytes] = nonce,
) -> Parts:
    """A bundle of these very header and payload bytes, encrypted and signed."""
    secret = secret or Secret()
    envelope = envelope or spell(secret.envelope(recipients))
    pieces = [payload[at : at + CHUNK] for at in range(0, len(payload), CHUNK)]
    chunks = tuple(
        secret.seal("payload", nonces(index, index == len(pieces) - 1), piece)
        for index, piece in enumerate(pieces)
    )
    sealed = secret.seal("header", bytes(12), header, envelope)
    return sign(Parts(envelope, sealed, chunks, b""), secret, sender)
