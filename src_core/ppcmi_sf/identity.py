"""Identity: who wrote a file, and who can open what was encrypted to it.

An Ed25519 key pair for signatures (RFC 8032) and an X25519 key pair for encryption
(RFC 7748, used through HPKE, RFC 9180), in a file under a passphrase. Its public half is a
:class:`ppcmi_sf.cards.ContactCard`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from pydantic import BaseModel, ConfigDict, SecretStr

from ppcmi_sf import secretfile
from ppcmi_sf.cards import HPKE, ContactCard, fingerprint_of, signed_message
from ppcmi_sf.dates import Validity, valid_from_today
from ppcmi_sf.errors import ContactError, KeyFileError
from ppcmi_sf.keys import SITE_NAME_RULE

SUFFIX = ".ppcmiid"
_SECRET_BYTES = 64


class IdentityRecord(BaseModel):
    """What an identity file says in the open."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal["ppcmi-identity"] = "ppcmi-identity"
    version: Literal[1] = 1
    card: dict[str, Any]


@dataclass(frozen=True)
class Identity:
    """A site's or server's two key pairs. Its repr never shows the private ones."""

    card: ContactCard
    sign_secret: bytes = field(repr=False)
    encrypt_secret: bytes = field(repr=False)

    noun = "identity"

    @classmethod
    def generate(cls, name: str, validity: Validity | None = None) -> Identity:
        """Make a new identity.

        Raises
        ------
        ContactError
            The name cannot be the name of a site.
        """
        return cls._make(
            name,
            secrets.token_bytes(32),
            secrets.token_bytes(32),
            validity or valid_from_today(),
        )

    @classmethod
    def _make(cls, name: str, sign: bytes, encrypt: bytes, validity: Validity) -> Identity:
        signer = Ed25519PrivateKey.from_private_bytes(sign)
        public, public_x = _public_keys(sign, encrypt)
        fields: dict[str, Any] = {
            "format": "ppcmi-contact-card",
            "version": 1,
            "name": name,
            "sign_key": public.hex(),
            "encrypt_key": public_x.hex(),
            "fingerprint": fingerprint_of(public, public_x),
            "created": validity.created.isoformat(),
            "expires": validity.expires.isoformat(),
        }
        fields["signature"] = signer.sign(signed_message("contact-card", fields)).hex()
        try:
            card = ContactCard.from_fields(fields)
        except ValueError:
            raise ContactError(
                "This cannot be the name of a site.",
                hint=SITE_NAME_RULE,
            ) from None
        return cls(card, sign, encrypt)

    def renew(self, validity: Validity | None = None) -> Identity:
        """The same keys and fingerprint with later dates; partners just get the new card."""
        span = validity or valid_from_today()
        return self._make(self.card.name, self.sign_secret, self.encrypt_secret, span)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its card."""
        return self.card.fingerprint

    def sign(self, message: bytes) -> bytes:
        """Sign with Ed25519 (64 bytes)."""
        return Ed25519PrivateKey.from_private_bytes(self.sign_secret).sign(message)

    def decryption_key(self) -> X25519PrivateKey:
        """The key that opens what was encrypted to this identity."""
        return X25519PrivateKey.from_private_bytes(self.encrypt_secret)

    def unseal(self, sealed: bytes, info: bytes) -> bytes | None:
        """What :meth:`ppcmi_sf.cards.ContactCard.seal` made for this party; nothing when it is not.

        A changed byte, another ``info``, another recipient and a low-order point are all alike.
        """
        try:
            return HPKE.decrypt(sealed, self.decryption_key(), info)
        except (InvalidTag, ValueError):
            return None

    def require_current(self) -> None:
        """Refuse to sign new things with an identity that has expired.

        Raises
        ------
        KeyFileError
            It expired.
        """
        if not self.card.validity.covers():
            raise KeyFileError(
                f"The identity of '{self.card.name}' is valid from {self.card.created} to "
                f"{self.card.expires}: it signs nothing now.",
                hint="Renew it with 'ppcmi identity renew' and send the new card to your partners. "
                "Check this computer's date, too.",
            )

    def save(self, path: Path, passphrase: SecretStr, *, new: bool = False) -> None:
        """Write the identity file under a passphrase, with mode 0600 (atomically).

        Parameters
        ----------
        new
            Never replace a file.

        Raises
        ------
        KeyFileError
            The passphrase has fewer than 8 characters; or there is a file, and this is new.
        ResourceError
            The file cannot be written.
        """
        record = IdentityRecord(card=self.card.model_dump())
        secret = self.sign_secret + self.encrypt_secret
        fields = record.model_dump()
        secretfile.seal(Path(path), fields, secret, passphrase, self.noun, new=new)

    @classmethod
    def load(cls, path: Path, passphrase: SecretStr) -> Identity:
        """Read an identity file.

        Raises
        ------
        KeyFileError
            The file is missing, damaged or of another kind, or the passphrase does not
            open it.
        """
        path = Path(path)
        card, secret = secretfile.unseal(
            path, passphrase, cls.noun, lambda fields: _card_of(fields, path)
        )
        sign, encrypt = secret[:32], secret[32:]
        if len(secret) != _SECRET_BYTES or _fingerprint(sign, encrypt) != card.fingerprint:
            raise secretfile.damaged(path, cls.noun)
        return cls(card, sign, encrypt)


def _public_keys(sign: bytes, encrypt: bytes) -> tuple[bytes, bytes]:
    public = Ed25519PrivateKey.from_private_bytes(sign).public_key().public_bytes_raw()
    public_x = X25519PrivateKey.from_private_bytes(encrypt).public_key().public_bytes_raw()
    return public, public_x


def _fingerprint(sign: bytes, encrypt: bytes) -> str:
    return fingerprint_of(*_public_keys(sign, encrypt))


def read_card(path: Path) -> ContactCard:
    """The contact card in an identity file; no passphrase is needed.

    Raises
    ------
    KeyFileError
        The file is missing, damaged or of another kind.
    """
    return _card_of(secretfile.read_public(path, Identity.noun), path)


def _card_of(fields: dict[str, Any], path: Path) -> ContactCard:
    if fields.get("format") != "ppcmi-identity":
        raise KeyFileError(f"{path}: not an identity file.", hint="Give the identity file.")
    record = secretfile.model_of(IdentityRecord, fields, path, Identity.noun)
    try:
        return ContactCard.from_fields(record.card)
    except ValueError:
        raise secretfile.damaged(path, Identity.noun) from None
