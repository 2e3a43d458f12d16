"""The contact book: whose bundles are accepted, and for whom bundles may be encrypted."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from ppcmi_sf import strictjson
from ppcmi_sf.cards import MAX_CARD_BYTES, ContactCard, short_fingerprint
from ppcmi_sf.errors import ContactError, ResourceError, UntrustedSenderError
from ppcmi_sf.registry import log
from ppcmi_sf.registry.database import Database, utc_now


@dataclass(frozen=True)
class Contact:
    """A card in the book.

    Attributes
    ----------
    added
        When, in UTC.
    revoked
        When it was revoked, or nothing.
    """

    card: ContactCard
    added: str
    revoked: str | None

    @property
    def name(self) -> str:
        """What the card calls itself."""
        return self.card.name

    @property
    def state(self) -> str:
        """``valid``, ``not valid yet``, ``expired`` or ``revoked``."""
        if self.revoked is not None:
            return "revoked"
        if self.card.validity.covers():
            return "valid"
        return "expired" if self.card.validity.days_left() < 0 else "not valid yet"


class ContactBook:
    """Cards whose fingerprints a person has compared."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, card: ContactCard) -> None:
        """Add a card, or renew one of the same keys. A renewed card keeps its name.

        Raises
        ------
        ContactError
            Another contact has that name, the contact has another name or a newer card, or it
            was revoked.
        """
        with self._database.transaction() as connection:
            for known in self._all(connection):
                if known.card.fingerprint == card.fingerprint:
                    self._require_renewable(known, card)
                elif known.name == card.name:
                    raise ContactError(
                        f"There is a contact '{card.name}' with another fingerprint already.",
                        hint="If it has new keys, remove the old contact first: "
                        f"'ppcmi contact remove {card.name}'.",
                    )
            connection.execute(
                "INSERT INTO contacts VALUES (?, ?, ?, ?, NULL) ON CONFLICT (fingerprint) "
                "DO UPDATE SET name = excluded.name, card = excluded.card",
                (card.fingerprint, card.name, card.to_bytes().decode(), utc_now()),
            )
            log.append(connection, "contact added", peers=(card.fingerprint,))

    def meet(self, card: ContactCard) -> None:
        """Add a card that came with something else; a newer one that is there stays.

        Raises
        ------
        ContactError
            Another contact has that name, this one another, or it was revoked.
        """
        known = self.find(card.fingerprint)
        older = known is not None and card.validity.created < known.card.validity.created
        if known is None or known.revoked is not None or not older:
            self.add(card)

    @staticmethod
    def _require_renewable(known: Contact, card: ContactCard) -> None:
        if known.revoked is not None:
            raise ContactError(
                f"'{known.name}' was revoked on {known.revoked[:10]}.",
                hint="It needs a new identity. To undo a mistake, remove the contact first.",
            )
        if card.name != known.name:
            # Files are for and from whom a person compared the words with, by that name.
            raise ContactError(
                f"This card calls itself '{card.name}', and its owner is the contact "
                f"'{known.name}': a card keeps its name.",
                hint="Ask for a card of the old name, or for a new identity. To take the new name, "
                f"remove the old contact first: 'ppcmi contact remove {known.name}'.",
            )
        if card.validity.created < known.card.validity.created:
            raise ContactError(
                f"A newer card of '{known.name}' is there already.",
                hint="Ask for the current card.",
            )

    def all(self) -> list[Contact]:
        """Every contact, by name."""
        with self._database.reading() as connection:
            return self._all(connection)

    def _all(self, connection: sqlite3.Connection) -> list[Contact]:
        rows = connection.execute(
            "SELECT card, added, revoked FROM contacts ORDER BY name"
        ).fetchall()
        return [self._contact(*row) for row in rows]

    def get(self, name: str) -> Contact:
        """The contact of a name.

        Raises
        ------
        ContactError
            There is none.
        """
        every = self.all()
        for contact in every:
            if contact.name == name:
                return contact
        known = ", ".join(contact.name for contact in every)
        raise ContactError(
            f"There is no contact '{name}'" + (f"; there are {known}." if known else "."),
            hint="Add the partner's card with 'ppcmi contact add'.",
        )

    def find(self, fingerprint: str) -> Contact | None:
        """The contact of a fingerprint, if there is one."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT card, added, revoked FROM contacts WHERE fingerprint = ?", (fingerprint,)
            ).fetchone()
        return None if row is None else self._contact(*row)

    def recipient(self, name: str) -> ContactCard:
        """The card to encrypt to.

        Raises
        ------
        ContactError
            There is none, or it is revoked or expired.
        """
        return self._current(self.get(name))

    def recipient_of(self, fingerprint: str, name: str) -> ContactCard:
        """As :meth:`recipient`, by fingerprint; ``name`` is for the message.

        Raises
        ------
        ContactError
            There is none, or it is revoked or expired.
        """
        contact = self.find(fingerprint)
        if contact is None:
            raise ContactError(
                f"'{name}' is no contact any more.",
                hint="Add its card with 'ppcmi contact add', or name somebody with --to.",
            )
        return self._current(contact)

    @staticmethod
    def _current(contact: Contact) -> ContactCard:
        if contact.state != "valid":
            raise ContactError(
                f"The contact '{contact.name}' is {contact.state}.",
                hint="Ask for a new card and add it with 'ppcmi contact add'.",
            )
        return contact.card

    def sender(self, fingerprint: str) -> ContactCard:
        """The card of who wrote something.

        Raises
        ------
        UntrustedSenderError
            Unknown, revoked or expired. Whoever read the file puts its name in front.
        """
        found = self.find(fingerprint)
        if found is None:
            raise UntrustedSenderError(
                f"the sender is unknown (fingerprint {short_fingerprint(fingerprint)}).",
                hint="If you expect it, get the sender's card, compare the fingerprint over the "
                "telephone and add it with 'ppcmi contact add'.",
            )
        if found.state == "revoked":
            raise UntrustedSenderError(
                f"the sender '{found.name}' was revoked.", hint="Do not use this file."
            )
        if found.state != "valid":
            raise UntrustedSenderError(
                f"the card of the sender '{found.name}' is {found.state}: it is for "
                f"{found.card.created} to {found.card.expires}.",
                hint="Ask for the renewed card and add it with 'ppcmi contact add'. Check this "
                "computer's date, too.",
            )
        return found.card

    def remove(self, name: str) -> None:
        """Forget a contact.

        Raises
        ------
        ContactError
            There is none of that name.
        """
        fingerprint = self.get(name).card.fingerprint
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM contacts WHERE fingerprint = ?", (fingerprint,))
            log.append(connection, "contact removed", peers=(fingerprint,))

    def revoke(self, name: str) -> None:
        """Accept nothing from a contact any more, and encrypt nothing to it.

        Raises
        ------
        ContactError
            There is none of that name.
        """
        fingerprint = self.get(name).card.fingerprint
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE contacts SET revoked = ? WHERE fingerprint = ?", (utc_now(), fingerprint)
            )
            log.append(connection, "contact revoked", peers=(fingerprint,))

    def expiry_notes(self) -> list[str]:
        """Sentences about cards that expire within 30 days."""
        notes = [
            contact.card.validity.expiry_note(f"The card of '{contact.name}'")
            for contact in self.all()
            if contact.revoked is None
        ]
        return [note for note in notes if note]

    def _contact(self, text: str, added: str, revoked: str | None) -> Contact:
        try:
            fields = strictjson.loads(text.encode().rstrip(b"\n"), limit=MAX_CARD_BYTES)
            return Contact(ContactCard.from_fields(fields), added, revoked)
        except ValueError:
            raise ResourceError(
                f"{self._database.path}: a contact in the registry is damaged.",
                hint="Take the file from your backup.",
            ) from None
