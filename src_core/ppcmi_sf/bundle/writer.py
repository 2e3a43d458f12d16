"""Writing a latent bundle as a stream: one record in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ppcmi_sf.bundle.crypto import BundleDigest, ContentKey
from ppcmi_sf.bundle.format import CHUNK_BYTES, TAG_BYTES, file_length, pack_prelude
from ppcmi_sf.bundle.header import (
    MAX_RECIPIENTS,
    BundleHeader,
    BundleKind,
    TensorLayout,
    items_per_record,
    new_bundle_id,
)
from ppcmi_sf.bundle.payload import Array, Tensors, pack_record, record_length
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.errors import BundleError, ContactError
from ppcmi_sf.files import atomic_path
from ppcmi_sf.identity import Identity


def make_header(
    kind: BundleKind,
    *,
    study: str,
    sender: Identity,
    recipients: Sequence[ContactCard],
    key_id: str,
    epoch: int,
    model: str,
    items: int,
    layout: Sequence[TensorLayout],
) -> BundleHeader:
    """A header with a new random id and the size of its payload.

    Raises
    ------
    ContactError
        There is no recipient, or more than 32.
    """
    fingerprints = tuple(sorted({card.fingerprint for card in recipients}))
    if not 1 <= len(fingerprints) <= MAX_RECIPIENTS:
        raise ContactError(
            f"A bundle has 1 to {MAX_RECIPIENTS} recipients.",
            hint="Name them with --to, by the names that 'ppcmi contact list' shows.",
        )
    draft = BundleHeader(
        kind=kind,
        bundle_id=new_bundle_id(),
        study=study,
        sender=sender.fingerprint,
        recipients=fingerprints,
        key_id=key_id,
        epoch=epoch,
        model=model,
        items=items,
        layout=tuple(layout),
        record_items=1 if kind == "model" else items_per_record(layout),
        size=1,
    )
    return draft.model_copy(update={"size": _payload_size(draft)})


def _payload_size(header: BundleHeader) -> int:
    if header.kind == "model":
        return sum(record_length((entry,)) for entry in header.layout)
    last = header.record_count - 1
    full = record_length(header.record_layout(0)) if last else 0
    return last * full + record_length(header.record_layout(last))


def expected_bytes(header: BundleHeader, recipients: Sequence[ContactCard]) -> int:
    """Bytes of the file that a bundle with this header, for these recipients, will have."""
    envelope = ContentKey().envelope(recipients).to_bytes()
    prelude = pack_prelude(envelope, bytes(len(header.to_bytes()) + TAG_BYTES))
    return file_length(len(prelude), header.size)


@contextmanager
def create_bundle(
    target: Path, header: BundleHeader, sender: Identity, recipients: Sequence[ContactCard]
) -> Iterator[BundleWriter]:
    """Write a bundle; it gets its name when the block ends well, and else leaves nothing.

    Raises
    ------
    BundleError
        Latents are missing or cannot be written.
    ContactError, KeyFileError
        A recipient's card or the sender's identity has expired.
    ResourceError
        The file cannot be written.
    """
    sender.require_current()
    for card in recipients:
        card.require_current()
    listed = tuple(sorted({card.fingerprint for card in recipients}))
    if (header.sender, header.recipients) != (sender.fingerprint, listed):
        raise _mistaken("The header of the bundle names another sender or other recipients.")
    with atomic_path(Path(target)) as temporary, temporary.open("xb") as handle:
        writer = BundleWriter(handle, header, sender, recipients)
        yield writer
        writer.require_finished()


class BundleWriter:
    """Takes items in any portions; see :func:`create_bundle`."""

    def __init__(
        self,
        handle: BinaryIO,
        header: BundleHeader,
        sender: Identity,
        recipients: Sequence[ContactCard],
    ) -> None:
        self.header = header
        self._handle, self._sender = handle, sender
        self._key = ContentKey()
        envelope = self._key.envelope(recipients).to_bytes()
        prelude = pack_prelude(envelope, self._key.seal_header(header.to_bytes(), envelope))
        self._digest = BundleDigest(prelude)
        self._handle.write(prelude)
        self._held: list[Tensors] = []
        self._held_items = self._written_records = self._written_bytes = self._chunks = 0
        self._buffer = bytearray()
        self._finished = False
        self.file_bytes = 0

    def append(self, tensors: Mapping[str, Array]) -> None:
        """Add items: the layout's tensors with their number as first axis.

        Raises
        ------
        BundleError
            They are not those of the layout.
        """
        names = {entry.name for entry in self.header.layout}
        if set(tensors) != names or len({len(value) for value in tensors.values()}) != 1:
            raise _mistaken("The bundle has other tensors than its header says.")
        self._held.append(dict(tensors))
        self._held_items += len(next(iter(tensors.values())))
        while self._held_items and self._held_items >= self._wanted():
            self._flush_record()

    def append_tensor(self, name: str, value: Array) -> None:
        """Add the next tensor of a model, in the order of the layout."""
        self._write_record({name: value})

    def finish(self) -> str:
        """Write the end; give the digest that names this very bundle.

        Raises
        ------
        BundleError
            There were fewer or more items than the header says.
        """
        size = self.header.size
        if self._held_items or self._written_bytes != size:
            raise _mistaken("The bundle has other items than its header says.")
        self._write_chunks(last=True)
        signature = self._sender.sign(self._digest.message())
        self._handle.write(self._key.seal_trailer(signature))
        self._handle.flush()
        self.file_bytes = self._handle.tell()
        self._finished = True
        return self._digest.hexdigest()

    def require_finished(self) -> None:
        """A bundle without its end would be refused by everyone."""
        if not self._finished:
            raise _mistaken("The bundle was left without its end.")

    def _wanted(self) -> int:
        done = self._written_records * self.header.record_items
        return max(0, min(self.header.record_items, self.header.items - done)) or 2**62

    def _flush_record(self) -> None:
        count = self._wanted()
        joined = {
            name: np.concatenate([part[name] for part in self._held])
            if len(self._held) > 1
            else self._held[0][name]
            for name in self._held[0]
        }
        rest = {name: value[count:] for name, value in joined.items()}
        self._held_items -= count
        self._held = [rest] if self._held_items else []
        self._write_record({name: value[:count] for name, value in joined.items()})

    def _write_record(self, tensors: Tensors) -> None:
        try:
            record = pack_record(tensors, self.header.record_layout(self._written_records))
        except (ValueError, IndexError) as error:
            raise BundleError(
                f"The latents cannot be written: {error}.",
                hint="Use --precision float32; if that fails too, train the autoencoders again.",
            ) from None
        self._written_records += 1
        self._written_bytes += len(record)
        self._buffer += record
        self._write_chunks(last=False)

    def _write_chunks(self, *, last: bool) -> None:
        """Seal whole chunks; one is held back, since only the end tells which is the last."""
        view, at = bytes(self._buffer), 0
        while len(view) - at > CHUNK_BYTES or (last and at < len(view)):
            data = view[at : at + CHUNK_BYTES]
            at += len(data)
            sealed = self._key.seal_chunk(self._chunks, data, last=last and at == len(view))
            self._digest.add(sealed)
            self._handle.write(sealed)
            self._chunks += 1
        self._buffer = bytearray(view[at:])


def _mistaken(what: str) -> BundleError:
    return BundleError(what, hint="This is a mistake in the program; please report it.")
