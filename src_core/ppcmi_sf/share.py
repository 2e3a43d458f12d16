"""A transform share on its way: encrypted to the mapping server, signed by the site.

A JSON object with the recipient's fingerprint and an HPKE ciphertext (RFC 9180). Inside:
the share, sender and recipient, and the sender's signature over all of it, so that a server
cannot pass it on as if it had been meant for another. The server keeps the file as it came.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ppcmi_sf import strictjson
from ppcmi_sf.cards import ContactCard, Fingerprint, SenderLookup, signed_message
from ppcmi_sf.errors import KeyFileError, UntrustedSenderError
from ppcmi_sf.files import write_bytes
from ppcmi_sf.identity import Identity
from ppcmi_sf.keys import MAX_EPOCH, TransformShare
from ppcmi_sf.received import read_received

SUFFIX = ".ppcmishare"
MAX_BYTES = 8192
_KIND = "transform-share"
_INFO = b"ppcmi-sf/v1|transform-share|"
_NOUN = "transform share"


class SealedShare(BaseModel):
    """What everybody sees of a share file."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal["ppcmi-transform-share"] = "ppcmi-transform-share"
    version: Literal[2] = 2
    wrap: Literal["hpke-base-x25519-hkdf-sha256-chacha20-poly1305"] = (
        "hpke-base-x25519-hkdf-sha256-chacha20-poly1305"
    )
    recipient: Fingerprint
    sealed: Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$", max_length=4096)]

    def save(self, path: Path) -> None:
        """Write the file, readable by its owner alone (atomically)."""
        write_bytes(Path(path), strictjson.dumps(self.model_dump()) + b"\n", mode=0o600)


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    study: Fingerprint
    epoch: Annotated[int, Field(ge=1, le=MAX_EPOCH)]
    secret: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    sender: Fingerprint
    recipient: Fingerprint
    signature: Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


def write_share(path: Path, share: TransformShare, sender: Identity, server: ContactCard) -> None:
    """Write a share that only ``server`` can open (atomically).

    Raises
    ------
    ContactError, KeyFileError
        The server's card or the sender's identity has expired.
    ResourceError
        The file cannot be written.
    """
    sender.require_current()
    server.require_current()
    fields: dict[str, Any] = {
        "study": share.study,
        "epoch": share.epoch,
        "secret": share.secret.hex(),
        "sender": sender.fingerprint,
        "recipient": server.fingerprint,
    }
    fields["signature"] = sender.sign(signed_message(_KIND, fields)).hex()
    sealed = server.seal(strictjson.dumps(fields), _INFO + server.fingerprint.encode())
    SealedShare(recipient=server.fingerprint, sealed=sealed.hex()).save(path)


def read_sealed(path: Path) -> SealedShare:
    """What everybody sees of a share file.

    Raises
    ------
    InputFileError, KeyFileError
        It cannot be read, or is no share.
    """
    data = read_received(Path(path), MAX_BYTES, _NOUN)
    try:
        fields = strictjson.loads(data.removesuffix(b"\n"), limit=MAX_BYTES)
        return strictjson.read_as(SealedShare, fields)
    except ValueError:  # a ValidationError is one
        raise _damaged(path) from None


def read_share(
    path: Path, identity: Identity, sender_of: SenderLookup
) -> tuple[TransformShare, ContactCard]:
    """Open a share at the mapping server; also the card of the site that it is of.

    Raises
    ------
    InputFileError
        The file cannot be read.
    KeyFileError
        It is damaged, no share, or for another server.
    UntrustedSenderError
        The site is not trusted, or did not sign it.
    """
    return open_share(read_sealed(path), Path(path), identity, sender_of)


def open_share(
    record: SealedShare, path: Path, identity: Identity, sender_of: SenderLookup
) -> tuple[TransformShare, ContactCard]:
    """As :func:`read_share`, of a file that was read already; ``path`` is for messages."""
    if record.recipient != identity.fingerprint:
        raise KeyFileError(
            f"{path}: this transform share is for another server.",
            hint="Ask the site to make it for you (ppcmi share-transform --to).",
        )
    plain = identity.unseal(bytes.fromhex(record.sealed), _INFO + record.recipient.encode())
    if plain is None:
        raise _damaged(path)
    try:
        fields = strictjson.loads(plain, limit=MAX_BYTES)
        content = strictjson.read_as(_Content, fields)
    except ValueError:  # a ValidationError is one
        # 'from None': a message could quote the secret.
        raise _damaged(path) from None
    try:
        card = sender_of(content.sender)
    except UntrustedSenderError as error:
        raise error.about(path) from None
    message = signed_message(_KIND, fields)
    if (
        not card.verify(message, bytes.fromhex(content.signature))
        or content.recipient != identity.fingerprint
    ):
        raise UntrustedSenderError(
            f"{path}: not what '{card.name}' signed for this server.",
            hint="Do not use it. Tell the site, over another channel.",
        )
    return (
        TransformShare(card.name, content.study, content.epoch, bytes.fromhex(content.secret)),
        card,
    )


def _damaged(path: Path) -> KeyFileError:
    return KeyFileError(
        f"{path}: the transform share is damaged or not a transform share.",
        hint="Ask the site for it again (ppcmi share-transform).",
    )
