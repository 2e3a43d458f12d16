"""The site's own ledger: which item of which bundle is which slice of which case.

It never leaves the site. Without it a reply cannot be laid over its image,
since bundles name nothing but random ids.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ppcmi_sf.bundle.header import BundleHeader
from ppcmi_sf.errors import BundleError, KeyFileError, ResourceError
from ppcmi_sf.imaging import Geometry, GridFit

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bundles (
    bundle_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    direction TEXT NOT NULL CHECK (direction IN ('sent', 'received')),
    file TEXT NOT NULL,
    items INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    encoders TEXT NOT NULL,
    at TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS cases (
    bundle_id TEXT PRIMARY KEY REFERENCES bundles ON DELETE CASCADE,
    name TEXT NOT NULL,
    source TEXT NOT NULL,
    stamp TEXT NOT NULL,
    geometry TEXT NOT NULL,
    fit TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS items (
    item_id TEXT PRIMARY KEY,
    bundle_id TEXT NOT NULL REFERENCES bundles ON DELETE CASCADE,
    slice INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS cases_by_source ON cases (source, stamp);
"""


@dataclass(frozen=True)
class SentCase:
    """A case that was sent as a query: what is needed to write its mask."""

    name: str
    source: str
    stamp: str
    geometry: Geometry
    fit: GridFit


class Registry:
    """The ledger in one SQLite file.

    Parameters
    ----------
    path
        The file; made when it is missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        with self._connection() as connection:
            connection.executescript(_SCHEMA)

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)  # it names cases and paths
            with closing(sqlite3.connect(self.path, timeout=30)) as connection:
                connection.execute("PRAGMA foreign_keys = ON")
                with connection:
                    yield connection
        except (sqlite3.Error, OSError) as error:
            raise ResourceError(
                f"{self.path}: the site's ledger cannot be used ({error}).",
                hint="Check that the disk is not full and the file not damaged or in use.",
            ) from error

    def record_sent(
        self, header: BundleHeader, file: Path, key_id: str, case: SentCase | None = None
    ) -> None:
        """Note a bundle that goes out; with ``case``, that its items are its slices in order."""
        with self._connection() as connection:
            _insert_bundle(connection, header, "sent", file, key_id)
            if case is None:
                return
            connection.execute(
                "INSERT INTO cases VALUES (?, ?, ?, ?, ?, ?)",
                (
                    header.bundle_id,
                    case.name,
                    case.source,
                    case.stamp,
                    case.geometry.model_dump_json(),
                    case.fit.model_dump_json(),
                ),
            )
            connection.executemany(
                "INSERT INTO items VALUES (?, ?, ?)",
                [(item, header.bundle_id, index) for index, item in enumerate(header.items)],
            )

    def record_received(self, header: BundleHeader, file: Path, key_id: str) -> None:
        """Note a bundle that came in (again, if it came before)."""
        with self._connection() as connection:
            # A hostile reply may bear the id of its own query, whose entry must stay.
            connection.execute(
                "DELETE FROM bundles WHERE bundle_id = ? AND direction = 'received'",
                (header.bundle_id,),
            )
            _insert_bundle(connection, header, "received", file, key_id)

    def forget(self, bundle_id: str) -> None:
        """Take back a note, of a bundle that could not be written."""
        with self._connection() as connection:
            connection.execute("DELETE FROM bundles WHERE bundle_id = ?", (bundle_id,))

    def find_query(
        self, source: str, stamp: str, key_id: str, encoders: str, folder: Path | None = None
    ) -> Path | None:
        """The file of a query already made of this unchanged source with this key and encoders.

        The latest one that is still there, in ``folder`` if one is named.
        """
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT file FROM bundles JOIN cases USING (bundle_id) WHERE kind = 'query' "
                "AND source = ? AND stamp = ? AND key_id = ? AND encoders = ? ORDER BY at DESC",
                (source, stamp, key_id, encoders),
            ).fetchall()
        files = [Path(row[0]) for row in rows]
        there = (f for f in files if f.is_file() and folder in (None, f.parent))
        return next(there, None)

    def case_of_reply(self, header: BundleHeader, key_id: str) -> tuple[SentCase, list[int]]:
        """The case that a reply answers, and the slice number of each of its items.

        Raises
        ------
        BundleError
            This site never sent that query, or the items are not the query's.
        KeyFileError
            The query was made with another key than the one of this id.
        """
        with self._connection() as connection:
            row = connection.execute(
                "SELECT name, source, stamp, geometry, fit, key_id "
                "FROM cases JOIN bundles USING (bundle_id) WHERE bundle_id = ?",
                (header.in_reply_to,),
            ).fetchone()
            slices: dict[str, int] = dict(
                connection.execute(
                    "SELECT item_id, slice FROM items WHERE bundle_id = ?", (header.in_reply_to,)
                ).fetchall()
            )
        if row is None:
            raise BundleError(
                f"The reply {header.bundle_id[:12]}… answers no query of this site.",
                hint="Use the site folder (with its registry.sqlite) that made the query.",
            )
        if row[5] != key_id:
            raise KeyFileError(
                f"The query of '{row[0]}' was made with another key (id {row[5]}) than this one "
                f"(id {key_id}).",
                hint="Give the key that the query was made with; 'ppcmi key show' tells its id.",
            )
        if set(slices) != set(header.items):
            raise BundleError(
                f"The reply {header.bundle_id[:12]}… does not have every slice of '{row[0]}' once.",
                hint="Ask the mapping server for the reply again.",
            )
        try:
            geometry = Geometry.model_validate_json(row[3])
            fit = GridFit.model_validate_json(row[4])
        except ValidationError as error:
            raise BundleError(
                f"{self.path}: the entry of '{row[0]}' is damaged.",
                hint="Protect that case again and ask for a new reply.",
            ) from error
        return SentCase(row[0], row[1], row[2], geometry, fit), [slices[i] for i in header.items]


def _insert_bundle(
    connection: sqlite3.Connection, header: BundleHeader, direction: str, file: Path, key_id: str
) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO bundles VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            header.bundle_id,
            header.kind,
            direction,
            str(file.resolve()),
            len(header.items),
            key_id,
            header.encoders,
            datetime.now(UTC).isoformat(timespec="seconds"),
        ),
    )


def source_stamp(sources: Sequence[Path]) -> str:
    """Sizes and modification times of a case's files: changes when a file does."""
    parts = []
    for source in sources:
        for file in sorted(source.iterdir()) if source.is_dir() else [source]:
            status = file.stat()
            parts.append(f"{status.st_size}-{status.st_mtime_ns}")
    return ",".join(parts)
