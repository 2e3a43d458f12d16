"""The SQLite file behind registry, disclosure log and contacts."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ppcmi_sf.errors import ResourceError

WAIT_SECONDS = 30.0
_VERSION = 1
_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS bundles (
        bundle_id TEXT NOT NULL,
        direction TEXT NOT NULL CHECK (direction IN ('sent', 'received')),
        kind TEXT NOT NULL,
        study TEXT NOT NULL,
        peers TEXT NOT NULL,
        key_id TEXT NOT NULL,
        model TEXT NOT NULL,
        items INTEGER NOT NULL,
        digest TEXT NOT NULL,
        file TEXT NOT NULL,
        answers TEXT,
        at TEXT NOT NULL,
        PRIMARY KEY (bundle_id, direction)
    );
    """,
    """
    CREATE TABLE IF NOT EXISTS cases (
        case_id INTEGER PRIMARY KEY,
        bundle_id TEXT NOT NULL,
        name TEXT NOT NULL,
        source TEXT NOT NULL,
        stamp TEXT NOT NULL,
        geometry TEXT,
        fit TEXT
    );
    """,
    """
    CREATE INDEX IF NOT EXISTS cases_by_source ON cases (source, stamp);
    """,
    """
    CREATE TABLE IF NOT EXISTS items (
        item_id TEXT PRIMARY KEY,
        bundle_id TEXT NOT NULL,
        case_id INTEGER NOT NULL REFERENCES cases ON DELETE CASCADE,
        slice INTEGER NOT NULL
    );
    """,
    """
    CREATE INDEX IF NOT EXISTS items_by_bundle ON items (bundle_id);
    """,
    """
    CREATE TABLE IF NOT EXISTS keys (
        key_id TEXT PRIMARY KEY,
        study TEXT NOT NULL,
        site TEXT NOT NULL,
        epoch INTEGER NOT NULL
    );
    """,
    """
    CREATE TABLE IF NOT EXISTS contacts (
        fingerprint TEXT PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        card TEXT NOT NULL,
        added TEXT NOT NULL,
        revoked TEXT
    );
    """,
    """
    CREATE TABLE IF NOT EXISTS memberships (
        study TEXT NOT NULL,
        server TEXT NOT NULL,
        serial INTEGER NOT NULL,
        list TEXT NOT NULL,
        PRIMARY KEY (study, server)
    );
    """,
    """
    CREATE TABLE IF NOT EXISTS log (
        seq INTEGER PRIMARY KEY,
        entry TEXT NOT NULL,
        hash TEXT NOT NULL
    );
    """,
    """
    CREATE TRIGGER IF NOT EXISTS log_is_not_changed BEFORE UPDATE ON log
    BEGIN SELECT RAISE(ABORT, 'the disclosure log is append-only'); END;
    """,
    """
    CREATE TRIGGER IF NOT EXISTS log_is_not_shortened BEFORE DELETE ON log
    BEGIN SELECT RAISE(ABORT, 'the disclosure log is append-only'); END;
    """,
    """
    CREATE TRIGGER IF NOT EXISTS log_is_not_replaced BEFORE INSERT ON log
    WHEN EXISTS (SELECT 1 FROM log WHERE seq = NEW.seq)
    BEGIN SELECT RAISE(ABORT, 'the disclosure log is append-only'); END;
    """,
)


class Database:
    """One SQLite file in WAL mode, which several processes may use at once.

    Parameters
    ----------
    path
        The file; made, readable by its owner alone, when it is missing.

    Raises
    ------
    ResourceError
        It cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        with self._connection() as connection:
            _use_wal(connection)
            if connection.execute("PRAGMA user_version").fetchone() != (_VERSION,):
                with _writing(connection):
                    for statement in _SCHEMA:
                        connection.execute(statement)
                    connection.execute(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything within is written, or nothing. Nobody else writes meanwhile.

        Raises
        ------
        ResourceError
            The file cannot be used.
        """
        with self._connection() as connection, _writing(connection):
            yield connection

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """For questions alone; it waits for nobody.

        Raises
        ------
        ResourceError
            The file cannot be used.
        """
        with self._connection() as connection:
            yield connection

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch(mode=0o600)  # it names cases and paths
            # isolation_level=None: transactions begin where this module says so.
            with closing(
                sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
            ) as connection:
                connection.execute("PRAGMA foreign_keys = ON")
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise ResourceError(
                f"{self.path}: the registry cannot be used ({error}).",
                hint="Check that the disk is not full and the file not damaged or in use.",
            ) from error


@contextmanager
def _writing(connection: sqlite3.Connection) -> Iterator[None]:
    # IMMEDIATE: what is read within is still true when it is written.
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled back already
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite itself does not wait here while another process writes."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def utc_now() -> str:
    """Date and time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
