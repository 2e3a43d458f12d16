"""Reading a latent bundle as a stream, after its signature has been checked.

Two passes: the first hashes the file and checks the sender's signature over it, the second
decrypts. Nothing of the payload is given out before the first is done, and each chunk
of the second is compared with its hash of the first.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from cryptography.exceptions import InvalidTag

from ppcmi_sf.bundle.crypto import BundleDigest, ContentKey, unwrap
from ppcmi_sf.bundle.format import (
    CHUNK_BYTES,
    TAG_BYTES,
    TRAILER_BYTES,
    Envelope,
    chunk_lengths,
    cut_short,
    file_length,
    pack_prelude,
    read_prelude,
)
from ppcmi_sf.bundle.header import BundleHeader
from ppcmi_sf.bundle.payload import LENGTH_BYTES, Tensors, max_blob_bytes, unpack_blob
from ppcmi_sf.cards import ContactCard, SenderLookup
from ppcmi_sf.errors import (
    BundleContentError,
    BundleDamagedError,
    NotRecipientError,
    ReaddressedError,
    UntrustedSenderError,
)
from ppcmi_sf.identity import Identity
from ppcmi_sf.received import open_received

HASH_BYTES = 32
_NOUN = "latent bundle"
_ASK_AGAIN = "Ask the sender for the file again."


@dataclass(frozen=True)
class OpenedHeader:
    """What a recipient can see before the signature is checked. Do not act on it.

    Attributes
    ----------
    file_bytes
        Size of the file.
    """

    envelope: Envelope
    header: BundleHeader
    file_bytes: int
    prelude: bytes = field(repr=False)
    key: ContentKey = field(repr=False)


def read_envelope(path: Path) -> Envelope:
    """What everybody can see. No identity is needed.

    Raises
    ------
    InputFileError, BundleError
        The file cannot be read, or is no bundle.
    """
    with open_received(Path(path), _NOUN) as handle:
        return read_prelude(handle, path).envelope


def read_digest(path: Path) -> str:
    """The digest that names this very bundle. No identity is needed, and nothing is checked.

    Raises
    ------
    InputFileError, BundleError
        The file cannot be read, or is no bundle.
    """
    with open_received(Path(path), _NOUN) as handle:
        prelude = read_prelude(handle, path)
        digest = BundleDigest(pack_prelude(prelude.envelope_bytes, prelude.sealed_header))
        left = os.fstat(handle.fileno()).st_size - prelude.length - TRAILER_BYTES
        while left > 0:
            sealed = handle.read(min(left, CHUNK_BYTES + TAG_BYTES))
            if not sealed:
                raise cut_short(path)
            digest.add(sealed)
            left -= len(sealed)
    return digest.hexdigest()


def peek(path: Path, identity: Identity) -> BundleHeader:
    """Decrypt the header alone. Its signature is not checked: use it to sort files, no more.

    Raises
    ------
    InputFileError, BundleError
        The file cannot be read, is damaged, or was encrypted to others.
    """
    with open_received(Path(path), _NOUN) as handle:
        return _open_header(handle, path, identity).header


@contextmanager
def open_bundle(path: Path, identity: Identity, sender_of: SenderLookup) -> Iterator[BundleReader]:
    """Open a bundle whose every byte is the sender's.

    Parameters
    ----------
    identity
        Whose private key opens it.
    sender_of
        Finds the sender's card by fingerprint, and refuses who is not trusted.

    Raises
    ------
    InputFileError
        The file cannot be read.
    BundleDamagedError, BundleVersionError, BundleContentError, NotRecipientError
        See :mod:`ppcmi_sf.errors`.
    UntrustedSenderError, ReaddressedError
        The sender is not trusted, the signature is not the sender's, or the list of recipients
        is another than the sender wrote.
    """
    path = Path(path)
    with open_received(path, _NOUN) as handle:
        opened = _open_header(handle, path, identity)
        try:
            sender = sender_of(opened.header.sender)
        except UntrustedSenderError as error:  # it does not know the file's name
            raise error.about(path) from None
        yield BundleReader(path, handle, opened, sender)


def _open_header(handle: BinaryIO, path: Path, identity: Identity) -> OpenedHeader:
    prelude = read_prelude(handle, path)
    envelope = prelude.envelope
    stanza = next((s for s in envelope.recipients if s.fingerprint == identity.fingerprint), None)
    if stanza is None:
        raise NotRecipientError(
            f"{path}: encrypted to others, not to '{identity.card.name}'.",
            hint="Ask the sender to write it for you (--to), or use the identity that it is for.",
        )
    key = unwrap(stanza, envelope, identity)
    if key is None:
        raise BundleDamagedError(f"{path}: its envelope was changed.", hint=_ASK_AGAIN)
    try:
        plain = key.open_header(prelude.sealed_header, prelude.envelope_bytes)
    except InvalidTag:
        raise BundleDamagedError(
            f"{path}: its envelope or header was changed.", hint=_ASK_AGAIN
        ) from None
    try:
        header = BundleHeader.from_bytes(plain)
    except ValueError as error:
        raise BundleContentError(
            f"{path}: its header is refused: {error}.",
            hint="It was not written by ppcmi, or by another version; ask the sender.",
        ) from None
    if header.recipients != envelope.fingerprints:
        raise ReaddressedError(
            f"{path}: written for other recipients than it has now; somebody passed it on.",
            hint="Do not use it. Tell the sender.",
        )
    size = os.fstat(handle.fileno()).st_size
    wanted = file_length(prelude.length, header.size)
    if size < wanted:
        raise cut_short(path)
    if size > wanted:
        raise BundleDamagedError(
            f"{path}: {size - wanted} bytes were added at its end.", hint=_ASK_AGAIN
        )
    whole = pack_prelude(prelude.envelope_bytes, prelude.sealed_header)
    return OpenedHeader(envelope, header, size, whole, key)


class BundleReader:
    """An open bundle whose signature has been checked; see :func:`open_bundle`.

    Attributes
    ----------
    header
        What the sender says of it.
    sender
        The sender's card.
    digest
        Names this very bundle (64 hex digits).
    """

    def __init__(
        self, path: Path, handle: BinaryIO, opened: OpenedHeader, sender: ContactCard
    ) -> None:
        self.path, self.header, self.sender = path, opened.header, sender
        self.file_bytes = opened.file_bytes
        self._handle, self._opened = handle, opened
        self._hashes = bytearray()  # 32 bytes a chunk
        self.digest = self._verify()

    def records(self) -> Iterator[Tensors]:
        """The tensors of each record in turn; items are the first axis, unless it is a model.

        Raises
        ------
        BundleContentError
            A record holds something that is not allowed.
        BundleDamagedError
            The file changed while it was read.
        """
        stream = _PlainStream(self._chunks())
        for index in range(self.header.record_count):
            layout = self.header.record_layout(index)
            try:
                length = int.from_bytes(stream.take(LENGTH_BYTES), "big")
                if not 0 < length <= max_blob_bytes(layout):
                    raise ValueError("a record is longer than its tensors")
                tensors = unpack_blob(stream.take(length), layout)
            except ValueError as error:
                raise self._refused(str(error)) from None
            yield tensors
        if not stream.at_end():
            raise self._refused("there is something behind the last record")

    def _refused(self, why: str) -> BundleContentError:
        return BundleContentError(
            f"{self.path}: its content is refused: {why}.",
            hint=f"Tell '{self.sender.name}', whose program wrote and signed it so.",
        )

    def _verify(self) -> str:
        digest = BundleDigest(self._opened.prelude)
        for sealed in self._sealed_chunks():
            self._hashes += digest.add(sealed)
        sealed_trailer = self._handle.read(TRAILER_BYTES)
        try:
            signature = self._opened.key.open_trailer(sealed_trailer)
        except InvalidTag:
            raise BundleDamagedError(
                f"{self.path}: its signature is missing or was changed.", hint=_ASK_AGAIN
            ) from None
        if not self.sender.verify(digest.message(), signature):
            raise UntrustedSenderError(
                f"{self.path}: not what '{self.sender.name}' signed; it was changed on its way, "
                "or written by somebody else.",
                hint="Do not use it. Tell the sender, over another channel.",
            )
        return digest.hexdigest()

    def _sealed_chunks(self) -> Iterator[bytes]:
        self._handle.seek(len(self._opened.prelude))
        count, last_bytes = chunk_lengths(self.header.size)
        for index in range(count):
            wanted = (CHUNK_BYTES if index < count - 1 else last_bytes) + TAG_BYTES
            sealed = self._handle.read(wanted)
            if len(sealed) < wanted:
                raise cut_short(self.path)
            yield sealed

    def _chunks(self) -> Iterator[bytes]:
        count, _ = chunk_lengths(self.header.size)
        for index, sealed in enumerate(self._sealed_chunks()):
            expected = self._hashes[index * HASH_BYTES : (index + 1) * HASH_BYTES]
            try:
                if hashlib.sha256(sealed).digest() != expected:
                    raise InvalidTag
                plain = self._opened.key.open_chunk(index, sealed, last=index == count - 1)
            except InvalidTag:
                raise BundleDamagedError(
                    f"{self.path}: changed, at chunk {index + 1} of {count}.", hint=_ASK_AGAIN
                ) from None
            yield plain


class _PlainStream:
    """Bytes in any portions from chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = bytearray()

    def take(self, count: int) -> bytes:
        while len(self._held) < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise ValueError("a record is cut short")
            self._held += chunk
        with memoryview(self._held) as view:
            taken = bytes(view[:count])
        del self._held[:count]
        return taken

    def at_end(self) -> bool:
        return not self._held and next(self._chunks, None) is None
