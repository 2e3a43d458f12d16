"""Keys, chunks and signature of a latent bundle. See SPEC.md for every step.

A random content key is wrapped for each recipient with HPKE (RFC 9180) in base mode.
Everything else comes from it by HKDF-Expand. The sender's Ed25519 signature covers all
bytes before it, the list of recipients included, and is itself encrypted, so that it
does not tell a stranger who the sender is.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from ppcmi_sf.bundle.format import Envelope, Stanza, nonce_of
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.identity import Identity

_CONTEXT = b"ppcmi-sf/v1|bundle|"
_ZERO_NONCE = bytes(12)


class ContentKey:
    """The random key of one bundle, and what is derived from it. Its repr shows nothing."""

    def __init__(self, secret: bytes | None = None) -> None:
        secret = secrets.token_bytes(32) if secret is None else secret
        self._secret = secret
        self.commitment = self._derive(b"commitment")
        self._header = ChaCha20Poly1305(self._derive(b"header"))
        self._payload = ChaCha20Poly1305(self._derive(b"payload"))
        self._trailer = ChaCha20Poly1305(self._derive(b"trailer"))

    def __repr__(self) -> str:
        return "ContentKey(…)"

    def _derive(self, purpose: bytes) -> bytes:
        return HKDFExpand(hashes.SHA256(), 32, _CONTEXT + purpose).derive(self._secret)

    def envelope(self, recipients: Iterable[ContactCard]) -> Envelope:
        """The envelope that lets these recipients, and nobody else, open the bundle."""
        unique = {card.fingerprint: card for card in recipients}
        stanzas = [
            Stanza(
                fingerprint=card.fingerprint,
                wrapped_key=card.seal(self._secret, _wrap_info(card.fingerprint)).hex(),
            )
            for _, card in sorted(unique.items())
        ]
        return Envelope(commitment=self.commitment.hex(), recipients=tuple(stanzas))

    def seal_header(self, header: bytes, envelope: bytes) -> bytes:
        """Encrypt the header; the envelope is bound to it."""
        return self._header.encrypt(_ZERO_NONCE, header, envelope)

    def open_header(self, sealed: bytes, envelope: bytes) -> bytes:
        """Raises ``InvalidTag`` when header or envelope were changed."""
        return self._header.decrypt(_ZERO_NONCE, sealed, envelope)

    def seal_chunk(self, index: int, data: bytes, *, last: bool) -> bytes:
        """Encrypt a chunk of the payload."""
        return self._payload.encrypt(nonce_of(index, last=last), data, None)

    def open_chunk(self, index: int, sealed: bytes, *, last: bool) -> bytes:
        """Raises ``InvalidTag`` when the chunk was changed or moved."""
        return self._payload.decrypt(nonce_of(index, last=last), sealed, None)

    def seal_trailer(self, signature: bytes) -> bytes:
        """Encrypt the signature."""
        return self._trailer.encrypt(_ZERO_NONCE, signature, None)

    def open_trailer(self, sealed: bytes) -> bytes:
        """Raises ``InvalidTag`` when the trailer was changed."""
        return self._trailer.decrypt(_ZERO_NONCE, sealed, None)


def unwrap(stanza: Stanza, envelope: Envelope, identity: Identity) -> ContentKey | None:
    """The content key, or nothing when the stanza or the commitment was changed."""
    info = _wrap_info(stanza.fingerprint)
    secret = identity.unseal(bytes.fromhex(stanza.wrapped_key), info)
    if secret is None or len(secret) != 32:
        return None
    key = ContentKey(secret)
    fits = hmac.compare_digest(key.commitment, bytes.fromhex(envelope.commitment))
    return key if fits else None


def _wrap_info(fingerprint: str) -> bytes:
    return _CONTEXT + b"wrap|" + fingerprint.encode()


class BundleDigest:
    """What is signed: SHA-256 over the hashes of the prelude and of every sealed chunk."""

    def __init__(self, prelude: bytes) -> None:
        self._digest = hashlib.sha256(hashlib.sha256(prelude).digest())

    def add(self, sealed_chunk: bytes) -> bytes:
        """Add a chunk; give its own hash."""
        one = hashlib.sha256(sealed_chunk).digest()
        self._digest.update(one)
        return one

    def message(self) -> bytes:
        """The bytes to sign."""
        return _CONTEXT + b"signature|" + self._digest.digest()

    def hexdigest(self) -> str:
        """For the disclosure log: names this very bundle."""
        return self._digest.hexdigest()
