"""Opening keys and identities for a verb: whose home, and where the passphrase comes from."""

from __future__ import annotations

import getpass
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import SecretStr

from ppcmi_sf.cards import ContactCard
from ppcmi_sf.cli.console import say
from ppcmi_sf.errors import ContactError, KeyFileError
from ppcmi_sf.home import Home, Party, default_home
from ppcmi_sf.identity import Identity
from ppcmi_sf.keys import ClientKey, read_key_record
from ppcmi_sf.passphrase import GIVE_FILE, Passphrases, read_passphrase_file
from ppcmi_sf.secretfile import check_passphrase

Opened = TypeVar("Opened")


class Credentials:
    """What a verb needs to act for somebody.

    Parameters
    ----------
    home
        The party's folder; by default the user's own.
    passphrase_file
        As ``--passphrase-file`` names it.
    """

    def __init__(self, home: Path | None, passphrase_file: Path | None) -> None:
        self.home = Home(home if home is not None else default_home())
        self._asks = sys.stdin is not None and sys.stdin.isatty()
        self._sources = Passphrases(file=passphrase_file, prompt=self._ask if self._asks else None)
        self._typed: list[SecretStr] = []
        self.last_passphrase = SecretStr("")  # that opened something

    def party(self) -> Party:
        """Open the identity; tell what expires soon.

        Raises
        ------
        KeyFileError
            There is none, or the passphrase does not open it.
        """
        card = self.home.card()
        identity = self._open(
            lambda passphrase: Identity.load(self.home.identity_file, passphrase),
            f"identity of '{card.name}'",
            card.fingerprint,
        )
        own = card.validity.expiry_note("Your identity")
        for note in ([own] if own else []) + self.home.contacts.expiry_notes():
            say(f"Note: {note}")
        return Party(self.home, identity)

    def key(self, path: Path) -> ClientKey:
        """Open a client key; tell when it expires soon.

        Raises
        ------
        KeyFileError
            It is missing or damaged, or the passphrase does not open it.
        """
        record = read_key_record(path)
        key = self._open(
            lambda passphrase: ClientKey.load(path, passphrase),
            f"client key {path.name}",
            record.key_id,
        )
        note = key.validity.expiry_note(f"The client key {path.name}")
        if note:
            say(f"Note: {note}")
        return key

    def new_passphrase(self, what: str) -> SecretStr:
        """A passphrase for something new; typed twice when a person is asked.

        Raises
        ------
        KeyFileError
            There is none, it is too short, or the two differ.
        """
        quiet = self._sources.without_asking("")
        if quiet is None:
            return self.ask_for_new(what, GIVE_FILE)
        check_passphrase(quiet)
        return quiet

    def ask_for_new(self, what: str, otherwise: str) -> SecretStr:
        """Ask a person, twice; ``otherwise`` is what a script can do instead.

        Raises
        ------
        KeyFileError
            There is nobody to ask, it is too short, or the two differ.
        """
        if not self._asks:
            raise KeyFileError(
                f"The new {what} needs a passphrase, and there is nobody to ask.",
                hint=otherwise,
            )
        passphrase = self._ask(f"New passphrase of the {what}")
        check_passphrase(passphrase)
        if self._ask("The same again") != passphrase:
            raise KeyFileError("The two passphrases differ.", hint="Give the command again.")
        return passphrase

    def changed_passphrase(self, what: str, file: Path | None) -> SecretStr:
        """A passphrase in place of another: from a file, else typed twice.

        Raises
        ------
        KeyFileError
            There is none, it is too short, or the two differ.
        InputFileError
            The file cannot be read.
        """
        if file is not None:
            return read_passphrase_file(file)
        return self.ask_for_new(what, "Give --new-passphrase-file FILE, a file that holds it.")

    def recipients(self, names: Sequence[str], study: str) -> list[ContactCard]:
        """The cards of those who are named, else of the study's mapping server.

        Raises
        ------
        ContactError
            Nobody is named and no membership list was accepted; or a contact is
            unknown, revoked or expired.
        """
        if names:
            return [self.home.contacts.recipient(name) for name in names]
        listed = self.home.memberships.newest(study)
        if listed is None:
            raise ContactError(
                "For whom? No mapping server of this study is known here.",
                hint="Name it with --to, or join the study first ('ppcmi join accept').",
            )
        server = listed.server_card
        if not listed.validity.covers():
            raise ContactError(
                f"The membership list of '{server.name}' is valid from {listed.created} to "
                f"{listed.expires}.",
                hint="Ask the mapping server for the current list.",
            )
        return [self.home.contacts.recipient_of(server.fingerprint, server.name)]

    def _open(self, load: Callable[[SecretStr], Opened], what: str, secret_id: str) -> Opened:
        quiet = self._sources.without_asking(secret_id)
        if quiet is not None:
            return self._load(load, quiet)
        for typed in self._typed:  # key and identity often have the same one
            with suppress(KeyFileError):
                return self._load(load, typed)
        return self._load(load, self._sources.find(what, secret_id))

    def _load(self, load: Callable[[SecretStr], Opened], passphrase: SecretStr) -> Opened:
        opened = load(passphrase)
        self.last_passphrase = passphrase
        return opened

    def _ask(self, question: str) -> SecretStr:
        try:
            answer = SecretStr(getpass.getpass(f"{question}: "))
        except EOFError:  # Ctrl-D
            raise KeyFileError("No passphrase was given.", hint="Try again.") from None
        self._typed.append(answer)
        return answer
