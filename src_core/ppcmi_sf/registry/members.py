"""Membership lists that were issued here or accepted from a server."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import lru_cache

from ppcmi_sf.errors import ContactError, ResourceError, UntrustedSenderError
from ppcmi_sf.membership import MembershipList
from ppcmi_sf.registry import log
from ppcmi_sf.registry.database import Database


class Memberships:
    """The newest list of each study and server. An older one is refused for ever."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self, study: str, server: str | None = None) -> MembershipList | None:
        """The list of a study, of one server or of any."""
        with self._database.reading() as connection:
            return self._newest(connection, study, server)

    def _newest(
        self, connection: sqlite3.Connection, study: str, server: str | None
    ) -> MembershipList | None:
        rows = connection.execute(
            "SELECT list FROM memberships WHERE study = ? AND server = coalesce(?, server) "
            "ORDER BY rowid DESC",
            (study, server),
        ).fetchall()
        try:
            return _parse(rows[0][0]) if rows else None
        except ValueError:
            raise ResourceError(
                f"{self._database.path}: a membership list in the registry is damaged.",
                hint="Take the file from your backup, or accept the list again.",
            ) from None

    def keep(self, listed: MembershipList, *, issued: bool) -> None:
        """Keep a list whose signature and server have been checked.

        Raises
        ------
        ContactError
            A newer list of that study and server was seen before, or it has expired.
        """
        if not listed.validity.covers():
            raise ContactError(
                f"This membership list is valid from {listed.created} to {listed.expires}.",
                hint="Ask the mapping server for the current list. Check this computer's date, "
                "too.",
            )
        with self._database.transaction() as connection:
            seen = self._newest(connection, listed.study, listed.server_card.fingerprint)
            if seen is not None and (
                listed.serial < seen.serial or (listed.serial == seen.serial and listed != seen)
            ):
                raise ContactError(
                    f"This membership list has number {listed.serial}; number {seen.serial} was "
                    "seen before.",
                    hint="Ask the mapping server for the current list.",
                )
            _put(connection, listed, "membership issued" if issued else "membership accepted")

    def issue(
        self,
        study: str,
        server: str,
        make: Callable[[MembershipList | None], MembershipList],
        write: Callable[[MembershipList], None],
    ) -> MembershipList:
        """At a server: make a list of the one before, write it, and keep it.

        Nobody else issues one meanwhile: of two commands at once, the later one would undo what
        the other did. A list that cannot be made or written is not kept.

        Parameters
        ----------
        make
            Gives the new list; it gets the newest one so far.
        write
            Writes the list to its file.
        """
        with self._database.transaction() as connection:
            listed = make(self._newest(connection, study, server))
            _put(connection, listed, "membership issued")
            write(listed)
        return listed

    def require_member(self, study: str, server: str, site: str, name: str) -> None:
        """Refuse a sender that the server's own list does not name, if there is a list.

        Whoever read the sender's file puts its name in front.

        Raises
        ------
        UntrustedSenderError
            The site is not in the list.
        """
        listed = self.newest(study, server)
        if listed is not None and site not in listed.fingerprints:
            raise UntrustedSenderError(
                f"'{name}' does not take part in this study.",
                hint="Let it in with 'ppcmi join approve', if it should.",
            )


def _put(connection: sqlite3.Connection, listed: MembershipList, event: log.Event) -> None:
    server = listed.server_card.fingerprint
    connection.execute(
        "INSERT OR REPLACE INTO memberships VALUES (?, ?, ?, ?)",
        (listed.study, server, listed.serial, listed.to_bytes().decode()),
    )
    log.append(connection, event, study=listed.study, peers=(server,), items=len(listed.members))


@lru_cache(maxsize=16)
def _parse(text: str) -> MembershipList:
    """Parse a list and check its signatures, once: a server asks for every query."""
    return MembershipList.from_bytes(text.encode())
