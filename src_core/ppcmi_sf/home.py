"""A party's home folder: its identity, and its registry with contacts and disclosure log.

One folder for each person or role on a computer: by default the user's data folder, as the
operating system has it; else the one that ``--home`` or ``PPCMI_HOME`` names.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import SecretStr

from ppcmi_sf.cards import ContactCard
from ppcmi_sf.errors import KeyFileError, UntrustedSenderError
from ppcmi_sf.identity import Identity, read_card
from ppcmi_sf.registry import (
    ContactBook,
    Database,
    DisclosureLog,
    KeyEpochs,
    Memberships,
    Registry,
)
from ppcmi_sf.user_folders import user_data_folder

VARIABLE = "PPCMI_HOME"
IDENTITY_FILE = "identity.ppcmiid"
REGISTRY_FILE = "registry.sqlite"


def default_home() -> Path:
    """The folder that ``PPCMI_HOME`` names, else the user's data folder.

    Raises
    ------
    ResourceError
        Neither is known.
    """
    named = os.environ.get(VARIABLE)
    return Path(named) if named else user_data_folder()


@dataclass(frozen=True)
class Home:
    """Everything that belongs to one party and to no study alone."""

    root: Path

    @property
    def identity_file(self) -> Path:
        """The identity, under a passphrase."""
        return self.root / IDENTITY_FILE

    @property
    def has_identity(self) -> bool:
        """Whether somebody has made an identity here."""
        return os.path.isfile(self.identity_file)  # noqa: PTH113 - Path.is_file may raise

    @property
    def has_registry(self) -> bool:
        """Whether there is a registry; to ask one that is not there would make it."""
        return os.path.isfile(self.root / REGISTRY_FILE)  # noqa: PTH113 - Path.is_file may raise

    @cached_property
    def database(self) -> Database:
        """The SQLite file."""
        return Database(self.root / REGISTRY_FILE)

    @property
    def registry(self) -> Registry:
        """Which item is which slice; which bundles went and came."""
        return Registry(self.database)

    @property
    def key_epochs(self) -> KeyEpochs:
        """Which epochs of client keys there are."""
        return KeyEpochs(self.database)

    @property
    def contacts(self) -> ContactBook:
        """Whom this party knows."""
        return ContactBook(self.database)

    @property
    def memberships(self) -> Memberships:
        """Who takes part in which study."""
        return Memberships(self.database)

    @property
    def log(self) -> DisclosureLog:
        """What left, and what came."""
        return DisclosureLog(self.database)

    def card(self) -> ContactCard:
        """The party's own card; needs no passphrase.

        Raises
        ------
        KeyFileError
            There is no identity, or it is damaged.
        """
        self._require_identity()
        return read_card(self.identity_file)

    def identity(self, ask: Callable[[str, str], SecretStr]) -> Identity:
        """Open the identity.

        Parameters
        ----------
        ask
            Finds its passphrase, as :meth:`ppcmi_sf.passphrase.Passphrases.find` does.

        Raises
        ------
        KeyFileError
            There is none, it is damaged, or the passphrase does not open it.
        """
        card = self.card()
        passphrase = ask(f"identity of '{card.name}'", card.fingerprint)
        return Identity.load(self.identity_file, passphrase)

    def require_used(self) -> Home:
        """Refuse to look into a folder that is nobody's home: it would be taken for an empty one.

        Raises
        ------
        KeyFileError
            There is neither a registry nor an identity.
        """
        if not self.has_registry:
            self._require_identity()
        return self

    def _require_identity(self) -> None:
        if not self.has_identity:
            raise KeyFileError(
                f"{self.root}: there is no identity here yet.",
                hint="Make one with 'ppcmi identity new --name SITE', or name another folder with "
                "--home.",
            )


@dataclass(frozen=True)
class Party:
    """Who acts: an opened identity, and the home that it is of."""

    home: Home
    identity: Identity

    def sender(self, fingerprint: str) -> ContactCard:
        """The card of who wrote something; this party itself is trusted, too.

        Raises
        ------
        UntrustedSenderError
            Unknown, revoked or expired.
        """
        if fingerprint == self.identity.fingerprint:
            return self.identity.card
        return self.home.contacts.sender(fingerprint)

    def require_member(self, study: str, sender: ContactCard, path: Path) -> None:
        """At a mapping server: refuse a sender that its own membership list does not name.

        Parameters
        ----------
        path
            The sender's file, for the message.

        Raises
        ------
        UntrustedSenderError
            There is a list, and the sender is not in it.
        """
        try:
            self.home.memberships.require_member(
                study, self.identity.fingerprint, sender.fingerprint, sender.name
            )
        except UntrustedSenderError as error:
            raise error.about(path) from None
