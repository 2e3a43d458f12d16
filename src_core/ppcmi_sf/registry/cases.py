"""Which item of which bundle is which slice of which case; which bundles went and came.

Without it a reply cannot be laid over its image, since bundles name nothing but random
pseudonyms.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ppcmi_sf.bundle.header import BundleHeader
from ppcmi_sf.errors import BundleError, ReplayError
from ppcmi_sf.imaging import Geometry, GridFit
from ppcmi_sf.registry import log
from ppcmi_sf.registry.database import Database, utc_now


@dataclass(frozen=True)
class SentCase:
    """A case of which slices were sent; with geometry and fit, what is needed to write its mask."""

    name: str
    source: str
    stamp: str
    geometry: Geometry | None = None
    fit: GridFit | None = None

    def is_of(self, stamp: str) -> bool:
        """Whether a stamp is of the same files, however they were read."""
        return self.stamp.partition(";")[0] == stamp.partition(";")[0]

    @property
    def has_changed(self) -> bool:
        """Whether something else lies at its path now; not where nothing does."""
        try:
            return not self.is_of(source_stamp([Path(self.source)]))
        except OSError:
            return False


@dataclass(frozen=True)
class SentItem:
    """A pseudonym, the number of its case in the list of cases, and its slice."""

    item_id: str
    case: int
    slice: int


@dataclass(frozen=True)
class AnsweredQuery:
    """What the registry knows of a query.

    Attributes
    ----------
    query_id
        Id of its bundle.
    slices
        Pseudonym to slice, of every item.
    key_id
        Id of the client key that protected it.
    model
        Id of the encoders that made it.
    recipients
        Fingerprints of those who may answer it.
    """

    query_id: str
    case: SentCase
    slices: dict[str, int]
    key_id: str
    model: str
    recipients: tuple[str, ...]


@dataclass(frozen=True)
class SentBundle:
    """A bundle that went out, as the registry noted it."""

    header: BundleHeader
    file: Path
    digest: str
    file_bytes: int


@dataclass(frozen=True)
class SentNote:
    """What the registry knows of a bundle that went out; recipients by fingerprint."""

    bundle_id: str
    kind: str
    recipients: tuple[str, ...]
    items: int
    digest: str


class Registry:
    """The registry of one site or server.

    Parameters
    ----------
    database
        Where it is kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def path(self) -> Path:
        """The SQLite file."""
        return self._database.path

    def record_sent(
        self,
        sent: SentBundle,
        key_id: str = "",
        cases: Sequence[SentCase] = (),
        items: Iterable[SentItem] = (),
        answers: str | None = None,
    ) -> None:
        """Note a bundle that goes out, and enter it in the disclosure log.

        Parameters
        ----------
        key_id
            Id of the client key that protects it.
        cases, items
            What its items are.
        answers
            For a reply, the id of its query.
        """
        header = sent.header
        with self._database.transaction() as connection:
            _insert_bundle(
                connection, header, "sent", header.recipients, sent, key_id=key_id, answers=answers
            )
            numbers = [_insert_case(connection, header.bundle_id, case) for case in cases]
            connection.executemany(
                "INSERT INTO items VALUES (?, ?, ?, ?)",
                ((i.item_id, header.bundle_id, numbers[i.case], i.slice) for i in items),
            )
            fields = log.bundle_fields(header, sent.digest, sent.file_bytes)
            log.append(connection, "sent", peers=header.recipients, **fields)

    def withdraw(self, bundle_id: str) -> None:
        """Take back a note of a bundle that could not be written. The log keeps both."""
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT kind, study, items, digest FROM bundles "
                "WHERE bundle_id = ? AND direction = 'sent'",
                (bundle_id,),
            ).fetchone()
            if row is None:
                return
            for table in ("items", "cases", "bundles"):
                connection.execute(f"DELETE FROM {table} WHERE bundle_id = ?", (bundle_id,))
            log.append(
                connection,
                "withdrawn",
                bundle_id=bundle_id,
                kind=row[0],
                study=row[1],
                items=row[2],
                digest=row[3],
            )

    def find_sent(self, bundle_id: str, digest: str) -> SentNote | None:
        """The bundle that went out from here under this id or, sooner, with this digest."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT bundle_id, kind, peers, items, digest FROM bundles "
                "WHERE direction = 'sent' AND (digest = ? OR bundle_id = ?) "
                "ORDER BY digest = ? DESC LIMIT 1",
                (digest, bundle_id, digest),
            ).fetchone()
        if row is None:
            return None
        return SentNote(row[0], row[1], tuple(json.loads(row[2])), row[3], row[4])

    def find_query(
        self,
        source: str,
        stamp: str,
        key_id: str,
        model: str,
        folder: Path | None = None,
        recipients: Sequence[str] | None = None,
    ) -> Path | None:
        """The file of a query already made of this unchanged source with this key and encoders.

        The latest one that is still there: in ``folder`` if one is named, for these
        ``recipients`` (fingerprints) if they are named.
        """
        peers = None if recipients is None else _peers(recipients)
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT file FROM bundles JOIN cases USING (bundle_id) WHERE direction = 'sent' "
                "AND kind = 'query' AND source = ? AND stamp = ? AND key_id = ? AND model = ? "
                "AND peers = coalesce(?, peers) ORDER BY bundles.rowid DESC",
                (source, stamp, key_id, model, peers),
            ).fetchall()
        files = [Path(row[0]) for row in rows]
        there = (f for f in files if f.is_file() and folder in (None, f.parent))
        return next(there, None)

    def training_recipients(self, study: str) -> set[str]:
        """Fingerprints of those to whom training bundles of a study were sent."""
        return {peer for _, peers in self._training(study) for peer in json.loads(peers)}

    def training_bundles(self, study: str) -> list[Path]:
        """Files of the training bundles that were made for a study and are still there."""
        return [path for file, _ in self._training(study) if (path := Path(file)).is_file()]

    def _training(self, study: str) -> list[tuple[str, str]]:
        with self._database.reading() as connection:
            return connection.execute(
                "SELECT file, peers FROM bundles WHERE direction = 'sent' AND kind = 'training' "
                "AND study = ?",
                (study,),
            ).fetchall()

    def find_reply(self, query_id: str, model: str, folder: Path) -> Path | None:
        """The file of a reply that this mapping network gave to a query, if it is in ``folder``."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT file FROM bundles WHERE direction = 'sent' AND answers = ? AND model = ?",
                (query_id, model),
            ).fetchall()
        files = (Path(row[0]) for row in rows)
        return next((f for f in files if f.is_file() and f.parent == folder), None)

    def accepted_at(self, bundle_id: str) -> str | None:
        """When a bundle was accepted, in UTC; nothing if it was not."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT at FROM bundles WHERE bundle_id = ? AND direction = 'received'",
                (bundle_id,),
            ).fetchone()
        return None if row is None else str(row[0])

    def require_new(self, header: BundleHeader, path: Path, *, again: bool = False) -> None:
        """Refuse a bundle that was accepted before.

        Raises
        ------
        ReplayError
            It was, and ``again`` is off.
        """
        accepted = self.accepted_at(header.bundle_id)
        if accepted is not None and not again:
            raise ReplayError(
                f"{path}: this bundle was accepted before, on {accepted[:10]}.",
                hint="If you want to use it once more, say so with --again.",
            )

    def record_received(
        self, header: BundleHeader, file: Path, digest: str, file_bytes: int
    ) -> None:
        """Note a bundle that was accepted, and enter it in the disclosure log."""
        with self._database.transaction() as connection:
            connection.execute(
                "DELETE FROM bundles WHERE bundle_id = ? AND direction = 'received'",
                (header.bundle_id,),
            )
            sent = SentBundle(header, file, digest, file_bytes)
            _insert_bundle(connection, header, "received", (header.sender,), sent)
            fields = log.bundle_fields(header, digest, file_bytes)
            log.append(connection, "received", peers=(header.sender,), **fields)

    def answered_query(self, item_id: str, path: Path) -> AnsweredQuery:
        """The query that an item of a reply belongs to.

        Parameters
        ----------
        path
            The reply, for messages.

        Raises
        ------
        BundleError
            This site never sent such an item.
        """
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT name, source, stamp, geometry, fit, key_id, model, peers, "
                "items.bundle_id FROM items "
                "JOIN cases USING (case_id) JOIN bundles ON bundles.bundle_id = items.bundle_id "
                "WHERE item_id = ? AND kind = 'query' AND direction = 'sent'",
                (item_id,),
            ).fetchone()
            slices: dict[str, int] = dict(
                connection.execute(
                    "SELECT item_id, slice FROM items WHERE bundle_id = ?",
                    (row[8] if row else "",),
                ).fetchall()
            )
        if row is None:
            raise BundleError(
                f"{path}: answers no query of this site.",
                hint="Use the registry of the site that made the query (--home).",
            )
        name, source, stamp, geometry, fit, key_id, model, peers, query_id = row
        try:
            case = SentCase(
                name,
                source,
                stamp,
                Geometry.model_validate_json(geometry),
                GridFit.model_validate_json(fit),
            )
        except (ValidationError, TypeError) as error:
            raise BundleError(
                f"{self.path}: the entry of '{name}' is damaged.",
                hint="Protect that case again and ask for a new reply.",
            ) from error
        return AnsweredQuery(query_id, case, slices, key_id, model, tuple(json.loads(peers)))

    def is_superseded(self, query: AnsweredQuery) -> bool:
        """Whether a later query is of a later state of the same file."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT stamp FROM cases JOIN bundles USING (bundle_id) WHERE source = ? "
                "AND kind = 'query' AND direction = 'sent' AND bundles.rowid > "
                "(SELECT rowid FROM bundles WHERE bundle_id = ? AND direction = 'sent')",
                (query.case.source, query.query_id),
            ).fetchall()
        return any(not query.case.is_of(stamp) for (stamp,) in rows)

    def items_of(self, bundle_id: str) -> list[tuple[str, str, int]]:
        """Pseudonym, source and slice of every item of a bundle that went out."""
        with self._database.reading() as connection:
            return connection.execute(
                "SELECT item_id, source, slice FROM items JOIN cases USING (case_id) "
                "WHERE items.bundle_id = ? ORDER BY items.rowid",
                (bundle_id,),
            ).fetchall()


def _insert_bundle(
    connection: sqlite3.Connection,
    header: BundleHeader,
    direction: str,
    peers: Sequence[str],
    sent: SentBundle,
    *,
    key_id: str = "",
    answers: str | None = None,
) -> None:
    connection.execute(
        "INSERT INTO bundles VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            header.bundle_id,
            direction,
            header.kind,
            header.study,
            _peers(peers),
            key_id,
            header.model,
            header.items,
            sent.digest,
            str(sent.file.resolve()),
            answers,
            utc_now(),
        ),
    )


def _peers(fingerprints: Sequence[str]) -> str:
    return json.dumps(sorted(fingerprints))


def _insert_case(connection: sqlite3.Connection, bundle_id: str, case: SentCase) -> int:
    geometry = None if case.geometry is None else case.geometry.model_dump_json()
    fit = None if case.fit is None else case.fit.model_dump_json()
    cursor = connection.execute(
        "INSERT INTO cases (bundle_id, name, source, stamp, geometry, fit) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (bundle_id, case.name, case.source, case.stamp, geometry, fit),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def source_stamp(sources: Sequence[Path]) -> str:
    """Sizes and modification times of a case's files: changes when a file does."""
    parts = []
    for source in sources:
        for file in sorted(source.iterdir()) if source.is_dir() else [source]:
            status = file.stat()
            parts.append(f"{status.st_size}-{status.st_mtime_ns}")
    return ",".join(parts)
