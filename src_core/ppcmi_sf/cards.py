"""ContactCard: the public half of an identity, and the fingerprint that people compare.

A card is signed by itself. Its *fingerprint* is SHA-256 of the two public keys; the words that
people compare over the telephone are the first 128 bits of it, in the English word list
of BIP-39, with that list's checksum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from mnemonic import Mnemonic
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppcmi_sf import strictjson
from ppcmi_sf.dates import Validity
from ppcmi_sf.errors import ContactError
from ppcmi_sf.files import write_bytes
from ppcmi_sf.keys import SITE_NAME_PATTERN
from ppcmi_sf.received import read_received

HPKE = hpke.Suite(hpke.KEM.X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.CHACHA20_POLY1305)
CARD_SUFFIX = ".ppcmicard"
MAX_CARD_BYTES = 4096

SenderLookup = Callable[[str], "ContactCard"]
"""Gives the card of a fingerprint; raises ``UntrustedSenderError`` when it is not trusted."""

Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(pattern=SITE_NAME_PATTERN)]
_Key = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_WORDS = Mnemonic("english")
_WORD_BYTES = 16
_SHORT = 16


def fingerprint_of(sign_key: bytes, encrypt_key: bytes) -> str:
    """Fingerprint (64 hex digits) of two public keys."""
    return hashlib.sha256(b"ppcmi-sf/v1|identity|" + sign_key + encrypt_key).hexdigest()


def fingerprint_words(fingerprint: str) -> str:
    """Twelve words in groups of three: the first 128 bits, for reading over the telephone."""
    words = _WORDS.to_mnemonic(bytes.fromhex(fingerprint)[:_WORD_BYTES]).split()
    return " - ".join(" ".join(words[at : at + 3]) for at in range(0, len(words), 3))


def short_fingerprint(fingerprint: str) -> str:
    """Its first digits: to tell somebody unknown from others, never to compare."""
    return f"{fingerprint[:_SHORT]}…"


def same_fingerprint(given: str, fingerprint: str) -> bool:
    """Whether words or hex digits, as a person types them, are those of a fingerprint."""
    letters = given.lower().replace("-", " ").split()
    if len(letters) == 12 and all(word.isalpha() for word in letters):
        return letters == fingerprint_words(fingerprint).replace("-", " ").split()
    return "".join(letters).replace(":", "") == fingerprint


class ContactCard(BaseModel):
    """The public half of an identity, signed by itself.

    Attributes
    ----------
    name
        What the site calls itself. The receiver decides whether that is true.
    sign_key, encrypt_key
        Ed25519 and X25519 public keys, 64 hex digits each.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal["ppcmi-contact-card"] = "ppcmi-contact-card"
    version: Literal[1] = 1
    name: Name
    sign_key: _Key
    encrypt_key: _Key
    fingerprint: Fingerprint
    created: str
    expires: str
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]

    @property
    def validity(self) -> Validity:
        """From when to when it is valid."""
        return Validity.parse(self.created, self.expires)

    @property
    def words(self) -> str:
        """The fingerprint in words."""
        return fingerprint_words(self.fingerprint)

    def verify(self, message: bytes, signature: bytes) -> bool:
        """Whether this site signed ``message``."""
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.sign_key)).verify(
                signature, message
            )
        except (InvalidSignature, ValueError):
            return False
        return True

    def encryption_key(self) -> X25519PublicKey:
        """The X25519 key that files for this party are encrypted to."""
        return X25519PublicKey.from_public_bytes(bytes.fromhex(self.encrypt_key))

    def seal(self, data: bytes, info: bytes) -> bytes:
        """Encrypt to this party alone, with HPKE; ``info`` says what for and is bound to it."""
        return HPKE.encrypt(data, self.encryption_key(), info)

    def require_current(self) -> None:
        """Refuse to encrypt something new to a card that has expired.

        Raises
        ------
        ContactError
            It expired, or is not valid yet.
        """
        if not self.validity.covers():
            raise ContactError(
                f"The card of '{self.name}' is valid from {self.created} to {self.expires}.",
                hint="Ask for a new card and add it with 'ppcmi contact add'.",
            )

    def to_bytes(self) -> bytes:
        """The card as it is written to a file."""
        return strictjson.dumps(self.model_dump()) + b"\n"

    def save(self, path: Path) -> None:
        """Write the card (atomically)."""
        write_bytes(Path(path), self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> ContactCard:
        """Read a card and check its signature by itself.

        Raises
        ------
        ContactError
            It is damaged, changed, or no card.
        InputFileError
            The file cannot be read.
        """
        data = read_received(Path(path), MAX_CARD_BYTES, "contact card")
        try:
            return cls.from_fields(strictjson.loads(data.removesuffix(b"\n"), limit=MAX_CARD_BYTES))
        except ValueError as error:
            raise ContactError(
                f"{path}: not a valid contact card ({plain_reason(error)}).",
                hint="Ask the sender for the card again.",
            ) from None

    @classmethod
    def from_fields(cls, fields: dict[str, Any]) -> ContactCard:
        """Check the fields of a card, its fingerprint and its signature.

        Raises
        ------
        ValueError
            Something is wrong with it.
        """
        card = strictjson.read_as(cls, fields)
        card.validity  # noqa: B018 - parsing is the check
        sign_key, encrypt_key = bytes.fromhex(card.sign_key), bytes.fromhex(card.encrypt_key)
        if fingerprint_of(sign_key, encrypt_key) != card.fingerprint:
            raise ValueError("its fingerprint is not that of its keys")
        message = signed_message("contact-card", fields)
        if not card.verify(message, bytes.fromhex(card.signature)):
            raise ValueError("its signature is not its own")
        if _is_small_order(sign_key) or is_low_order(card.encryption_key()):
            raise ValueError("one of its keys protects nothing")
        return card


def is_low_order(key: X25519PublicKey) -> bool:
    """Whether everybody would get the same shared secret with this key (RFC 7748, section 6.1)."""
    try:
        X25519PrivateKey.generate().exchange(key)
    except ValueError:
        return True
    return False


# y of the eight points of small order (RFC 8032's curve): under such a key anybody can sign.
_P = 2**255 - 19
_Y8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
_SMALL_ORDER_Y = {0, 1, _P - 1, _Y8, _P - _Y8}


def _is_small_order(sign_key: bytes) -> bool:
    y = int.from_bytes(sign_key, "little") & (2**255 - 1)
    return y % _P in _SMALL_ORDER_Y


def signed_message(kind: str, fields: dict[str, Any]) -> bytes:
    """The bytes that are signed: the kind of document, and all fields but the signature."""
    body = {name: value for name, value in fields.items() if name != "signature"}
    return b"ppcmi-sf/v1|" + kind.encode() + b"|" + strictjson.dumps(body)


def plain_reason(error: ValueError) -> str:
    """Why something was refused, without quoting it."""
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = str(first["loc"][0]) if first["loc"] else "a field"
        if first["type"] == "extra_forbidden":
            return "it has a field that does not belong there"
        return f"'{where}' is missing or not valid"
    return str(error)
