"""The bytes of a latent bundle that need no key: envelope and chunks. See SPEC.md.

Neither torch nor cryptography is needed here. Every length is checked against its limit
and against the file before anything of that size is read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppcmi_sf import strictjson
from ppcmi_sf.bundle.header import MAX_HEADER_BYTES, MAX_RECIPIENTS
from ppcmi_sf.errors import BundleDamagedError, BundleVersionError

SUFFIX = ".ppcmi"
# As PNG's: a letter beyond ASCII, and line ends that a text transfer would change.
MAGIC = b"\x89PPCMI\r\n"
VERSION = 2
MAX_ENVELOPE_BYTES = 16 * 1024
CHUNK_BYTES = 64 * 1024
TAG_BYTES = 16
SIGNATURE_BYTES = 64
TRAILER_BYTES = SIGNATURE_BYTES + TAG_BYTES

_LENGTH = struct.Struct(">I")
_ASK_AGAIN = "Ask the sender for the file again."


class Stanza(BaseModel):
    """One recipient: fingerprint, and the content key that only it can unwrap."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    wrapped_key: Annotated[str, Field(pattern=r"^[0-9a-f]{160}$")]


class Algorithms(BaseModel):
    """What the bundle was made with. There is one suite; another is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    wrap: Literal["hpke-base-x25519-hkdf-sha256-chacha20-poly1305"] = (
        "hpke-base-x25519-hkdf-sha256-chacha20-poly1305"
    )
    kdf: Literal["hkdf-expand-sha256"] = "hkdf-expand-sha256"
    payload: Literal["chacha20-poly1305-stream-64k"] = "chacha20-poly1305-stream-64k"
    hash: Literal["sha256"] = "sha256"
    signature: Literal["ed25519"] = "ed25519"


class Envelope(BaseModel):
    """What everybody sees who gets hold of the file. There is no other field."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal["ppcmi-bundle"] = "ppcmi-bundle"
    version: Literal[2] = 2
    algorithms: Algorithms = Algorithms()
    commitment: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    recipients: Annotated[
        tuple[Stanza, ...], Field(min_length=1, max_length=MAX_RECIPIENTS, strict=False)
    ]

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """Who can open it, if the list was not changed."""
        return tuple(stanza.fingerprint for stanza in self.recipients)

    def to_bytes(self) -> bytes:
        """The canonical JSON text."""
        return strictjson.dumps(self.model_dump(mode="json"))


@dataclass(frozen=True)
class Prelude:
    """The front of a file, up to the payload.

    Attributes
    ----------
    envelope, envelope_bytes
        Parsed, and as it stands.
    sealed_header
        The encrypted header.
    length
        Where the payload begins.
    """

    envelope: Envelope
    envelope_bytes: bytes
    sealed_header: bytes
    length: int


def pack_prelude(envelope_bytes: bytes, sealed_header: bytes) -> bytes:
    """Magic, and the two headers with their lengths."""
    return b"".join(
        (
            MAGIC,
            _LENGTH.pack(len(envelope_bytes)),
            envelope_bytes,
            _LENGTH.pack(len(sealed_header)),
            sealed_header,
        )
    )


def read_prelude(handle: BinaryIO, name: object) -> Prelude:
    """Read the front of a bundle.

    Parameters
    ----------
    name
        What to call the file in messages.

    Raises
    ------
    BundleDamagedError
        It is no bundle, or damaged.
    BundleVersionError
        A version or algorithm that is not accepted.
    """
    magic = handle.read(len(MAGIC))
    if magic != MAGIC:
        raise BundleDamagedError(f"{name}: {_what_it_is(magic)}", hint=_ASK_AGAIN)
    envelope_bytes = _read_sized(handle, MAX_ENVELOPE_BYTES, name)
    envelope = _parse_envelope(envelope_bytes, name)
    sealed = _read_sized(handle, MAX_HEADER_BYTES + TAG_BYTES, name)
    length = len(MAGIC) + 2 * _LENGTH.size + len(envelope_bytes) + len(sealed)
    return Prelude(envelope, envelope_bytes, sealed, length)


def _read_sized(handle: BinaryIO, limit: int, name: object) -> bytes:
    prefix = handle.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        raise cut_short(name)
    (length,) = _LENGTH.unpack(prefix)
    if not 0 < length <= limit:
        raise BundleDamagedError(
            f"{name}: a header says that it is {length} bytes long; {limit} are allowed.",
            hint=_ASK_AGAIN,
        )
    data = handle.read(length)
    if len(data) < length:
        raise cut_short(name)
    return data


def _parse_envelope(data: bytes, name: object) -> Envelope:
    try:
        fields = strictjson.loads(data, limit=MAX_ENVELOPE_BYTES)
    except ValueError as error:
        raise BundleDamagedError(
            f"{name}: its envelope is refused: {error}.", hint=_ASK_AGAIN
        ) from None
    _check_version(fields, name)
    try:
        envelope = Envelope.model_validate(fields)
    except ValidationError as error:
        where = error.errors()[0]["loc"][0]
        if where == "algorithms":
            raise BundleVersionError(
                f"{name}: made with algorithms that this program does not accept.",
                hint="Ask the sender to write it anew with the current version of ppcmi.",
            ) from None
        raise BundleDamagedError(f"{name}: its envelope is not valid.", hint=_ASK_AGAIN) from None
    if envelope.to_bytes() != data:  # a field is missing, for which there is a default
        raise BundleDamagedError(f"{name}: its envelope is not valid.", hint=_ASK_AGAIN)
    listed = list(envelope.fingerprints)
    if listed != sorted(set(listed)):
        raise BundleDamagedError(
            f"{name}: its recipients are not in order, or one is there twice.", hint=_ASK_AGAIN
        )
    return envelope


def _check_version(fields: dict[str, Any], name: object) -> None:
    version = fields.get("version")
    if type(version) is not int:
        raise BundleDamagedError(f"{name}: its envelope is not valid.", hint=_ASK_AGAIN)
    if version != VERSION:
        newer = version > VERSION
        raise BundleVersionError(
            f"{name}: written in version {version} of the format; this program reads {VERSION}.",
            hint="Update ppcmi." if newer else "Ask the sender to update ppcmi, and write it anew.",
        )


def _what_it_is(start: bytes) -> str:
    if not start:
        return "the file is empty."
    if MAGIC.startswith(start):
        return "cut short: only its first bytes are there."
    if start.startswith(b"\x89PPCMI"):
        return "spoiled on its way: something treated it as text."
    return "not a latent bundle."


def cut_short(name: object) -> BundleDamagedError:
    """The error for a file that ends too early."""
    return BundleDamagedError(
        f"{name}: cut short; the copy or the download was not finished.", hint=_ASK_AGAIN
    )


def chunk_lengths(size: int) -> tuple[int, int]:
    """How many chunks a payload of ``size`` bytes has, and the bytes of the last one."""
    count = -(-size // CHUNK_BYTES)
    return count, size - (count - 1) * CHUNK_BYTES


def file_length(prelude_length: int, size: int) -> int:
    """Bytes of a whole bundle whose payload has ``size`` bytes."""
    count, _ = chunk_lengths(size)
    return prelude_length + size + count * TAG_BYTES + TRAILER_BYTES


def nonce_of(index: int, *, last: bool) -> bytes:
    """Nonce of a chunk: 11 bytes of its number, one that says whether it is the last.

    The STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (CRYPTO 2015), as age
    uses it: chunks cannot be swapped, dropped, doubled or cut off.
    """
    return index.to_bytes(11, "big") + (b"\x01" if last else b"\x00")
