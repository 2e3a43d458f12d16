"""The disclosure log: what left this computer and what came, when, and for whom.

Entries are only ever added. Each holds the hash of the one before it, so that a change or a
gap is noticed. An end that was cut off is noticed by whoever noted the last hash elsewhere.
No entry names a patient, a file or a path.
"""

from __future__ import annotations

import csv
import hashlib
import io
import sqlite3
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ppcmi_sf import strictjson
from ppcmi_sf.bundle.header import BundleHeader
from ppcmi_sf.errors import ResourceError
from ppcmi_sf.files import write_text
from ppcmi_sf.registry.database import Database, utc_now

GENESIS = "0" * 64

Event = Literal[
    "sent", "received", "withdrawn", "share sent", "share received", "contact added",
    "contact removed", "contact revoked", "membership issued", "membership accepted", "key made",
]  # fmt: skip


class LogEntry(BaseModel):
    """One line of the log.

    Attributes
    ----------
    at
        UTC, to the second.
    peers
        Fingerprints of the recipients of what was sent, or of the sender of what came.
    digest
        Names the very bytes of a bundle.
    previous
        Hash of the entry before.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    seq: Annotated[int, Field(ge=1)]
    at: str
    event: Event
    kind: str = ""
    bundle_id: str = ""
    study: str = ""
    peers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    key_id: str = ""
    epoch: int = 0
    model: str = ""
    items: int = 0
    file_bytes: int = 0
    digest: str = ""
    previous: str = GENESIS

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON text."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The canonical JSON text."""
        return strictjson.dumps(self.model_dump(mode="json"))


def append(connection: sqlite3.Connection, event: Event, **fields: object) -> LogEntry:
    """Add an entry within a transaction that also does what it tells of."""
    row = connection.execute("SELECT seq, hash FROM log ORDER BY seq DESC LIMIT 1").fetchone()
    seq, previous = (row[0] + 1, row[1]) if row else (1, GENESIS)
    entry = LogEntry.model_validate(
        {"seq": seq, "at": utc_now(), "event": event, "previous": previous} | fields
    )
    connection.execute(
        "INSERT INTO log VALUES (?, ?, ?)", (seq, entry.to_bytes().decode(), entry.hash)
    )
    return entry


def bundle_fields(header: BundleHeader, digest: str, file_bytes: int) -> dict[str, object]:
    """What the log keeps of a bundle."""
    return {
        "kind": header.kind,
        "bundle_id": header.bundle_id,
        "study": header.study,
        "key_id": header.key_id,
        "epoch": header.epoch,
        "model": header.model,
        "items": header.items,
        "file_bytes": file_bytes,
        "digest": digest,
    }


class DisclosureLog:
    """Reads, checks and exports the log."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, event: Event, **fields: object) -> LogEntry:
        """Add an entry of its own."""
        with self._database.transaction() as connection:
            return append(connection, event, **fields)

    def entries(self) -> list[LogEntry]:
        """All entries, the oldest first.

        Raises
        ------
        ResourceError
            An entry is damaged.
        """
        return [self._parse(seq, text) for seq, text, _ in self._rows()]

    def verify(self, head: str | None = None) -> str:
        """Check the chain; give the hash of the last entry.

        Parameters
        ----------
        head
            A hash that was noted earlier: it must still be in the chain.

        Raises
        ------
        ResourceError
            An entry was changed, removed or put in.
        """
        previous, seen = GENESIS, {GENESIS}
        for place, (seq, text, stored) in enumerate(self._rows(), start=1):
            entry = self._parse(seq, text)
            if (seq, entry.seq) != (place, place) or entry.previous != previous:
                raise self._broken(place, "an entry before it is missing or was changed")
            if entry.hash != stored or entry.to_bytes().decode() != text:
                raise self._broken(place, "it was changed")
            previous = stored
            seen.add(stored)
        if head is not None and head not in seen:
            raise ResourceError(
                f"{self._database.path}: the entry that you noted is not in the disclosure log "
                "any more.",
                hint="Entries at its end were removed, or it is another log. Keep a copy of the "
                "file and ask who had access.",
            )
        return previous

    def export_csv(self, path: Path) -> int:
        """Write all entries as CSV (atomically); give their number."""
        entries = self.entries()
        text = io.StringIO(newline="")
        table = csv.writer(text)
        names = [*LogEntry.model_fields, "hash"]
        table.writerow(names)
        for entry in entries:
            fields = entry.model_dump() | {"peers": " ".join(entry.peers), "hash": entry.hash}
            table.writerow([fields[name] for name in names])
        write_text(Path(path), text.getvalue())
        return len(entries)

    def _rows(self) -> list[tuple[int, str, str]]:
        with self._database.reading() as connection:
            return connection.execute("SELECT seq, entry, hash FROM log ORDER BY seq").fetchall()

    def _parse(self, seq: int, text: str) -> LogEntry:
        try:
            return LogEntry.model_validate_json(text)
        except ValidationError:
            raise self._broken(seq, "it was changed") from None

    def _broken(self, seq: int, why: str) -> ResourceError:
        return ResourceError(
            f"{self._database.path}: the disclosure log is broken at entry {seq}: {why}.",
            hint="Somebody or something changed it. Keep a copy of the file and ask who had "
            "access.",
        )
