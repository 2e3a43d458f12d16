"""Partners: their cards in, one's own card out."""

from __future__ import annotations

from napari_ppcmi._protocol.keys import (
    AddContact,
    ExportCard,
    HomeInfo,
    IdentityInfo,
    ReadCard,
    RemoveContact,
    RevokeContact,
)
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.tasks.keys import card_info, home_info, identity_info
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.errors import ContactError
from ppcmi_sf.home import Home


def export_card(_desk: Desk, request: ExportCard) -> IdentityInfo:
    """Write the home's own card. It holds nothing secret."""
    card = Home(request.home).card()
    card.save(request.file)
    return identity_info(card, "Your identity")


def read_card(_desk: Desk, request: ReadCard) -> IdentityInfo:
    """Read a partner's card, so that a person can compare its words."""
    return card_info(ContactCard.load(request.file))


def add_contact(_desk: Desk, request: AddContact) -> HomeInfo:
    """Take in the very card that was compared."""
    card = ContactCard.load(request.file)
    if card.fingerprint != request.fingerprint:
        raise ContactError(
            f"{request.file}: the card was changed since its words were compared.",
            hint="Do not use it. Ask the partner for the card again.",
        )
    home = Home(request.home)
    home.contacts.add(card)
    return home_info(home)


def revoke_contact(_desk: Desk, request: RevokeContact) -> HomeInfo:
    """Never again take anything from a partner."""
    home = Home(request.home)
    home.contacts.revoke(request.name)
    return home_info(home)


def remove_contact(_desk: Desk, request: RemoveContact) -> HomeInfo:
    """Forget a partner."""
    home = Home(request.home)
    home.contacts.remove(request.name)
    return home_info(home)
