"""Which epochs of a site's client key there are. Never a key."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from ppcmi_sf.errors import KeyFileError
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.registry import log
from ppcmi_sf.registry.database import Database


class KeyEpochs:
    """Remembers what was made or used here, so that a rotated key makes nothing new."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def note(self, key: ClientKey) -> None:
        """Remember that there is a key of this epoch."""
        with self._database.transaction() as connection:
            known = connection.execute("SELECT 1 FROM keys WHERE key_id = ?", (key.key_id,))
            if known.fetchone() is None:
                _insert(connection, key)

    def add(self, key: ClientKey, save: Callable[[], None]) -> None:
        """Remember a key that is new, once ``save`` has written it.

        Two keys of one epoch could not be told apart by it.

        Raises
        ------
        KeyFileError
            Another program has made one of this epoch meanwhile. Nothing is written then.
        """
        with self._database.transaction() as connection:
            newest = _newest(connection, key.study, key.site)
            if newest >= key.epoch:
                raise KeyFileError(
                    f"A client key of site '{key.site}' and epoch {newest} was made meanwhile by "
                    "another window or program; nothing was written.",
                    hint="Use that one. If you need a newer one, try again.",
                )
            save()
            _insert(connection, key)

    def newest(self, study: str, site: str) -> int:
        """Epoch of the newest key of a site in a study that is known here, 0 if there is none."""
        with self._database.reading() as connection:
            return _newest(connection, study, site)

    def require_newest(self, key: ClientKey) -> None:
        """Refuse to make new bundles with a key that was rotated.

        Raises
        ------
        KeyFileError
            A key of a later epoch is known.
        """
        newest = self.newest(key.study, key.site)
        if newest > key.epoch:
            raise KeyFileError(
                f"The client key of site '{key.site}' is of epoch {key.epoch}, and was rotated: "
                f"epoch {newest} is in use.",
                hint="Give the key of the new epoch. The old one still opens old replies.",
            )


def _newest(connection: sqlite3.Connection, study: str, site: str) -> int:
    (newest,) = connection.execute(
        "SELECT MAX(epoch) FROM keys WHERE study = ? AND site = ?", (study, site)
    ).fetchone()
    return int(newest or 0)


def _insert(connection: sqlite3.Connection, key: ClientKey) -> None:
    connection.execute(
        "INSERT INTO keys VALUES (?, ?, ?, ?)", (key.key_id, key.study, key.site, key.epoch)
    )
    # As in bundles and shares: the id of what is derived from it.
    share_id = key.transform_share().key_id
    log.append(connection, "key made", study=key.study, key_id=share_id, epoch=key.epoch)
