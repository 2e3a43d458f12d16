"""``ppcmi contact add``, ``list``, ``remove`` and ``revoke``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ppcmi_sf.cards import ContactCard
from ppcmi_sf.cli.comparing import require_same
from ppcmi_sf.cli.console import command, say, show_result
from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.cli.options import FingerprintOption, HomeOption, JsonOption
from ppcmi_sf.registry import Contact

app = typer.Typer(help="Whom you trust.", no_args_is_help=True)

ADD_EXAMPLE = "Example: ppcmi contact add server.ppcmicard"
LIST_EXAMPLE = "Example: ppcmi contact list"
REMOVE_EXAMPLE = "Example: ppcmi contact remove south"
REVOKE_EXAMPLE = "Example: ppcmi contact revoke south"

NameArgument = Annotated[str, typer.Argument(help="Name of the contact.")]


@app.command("add", epilog=ADD_EXAMPLE)
@command
def add(
    card_file: Annotated[Path, typer.Argument(metavar="CARD", help="The partner's card.")],
    fingerprint: FingerprintOption = None,
    home: HomeOption = None,
    json_output: JsonOption = False,
) -> None:
    """Add a partner's card, or a renewed one, once its fingerprint has been compared."""
    place = Credentials(home, None).home
    card = ContactCard.load(card_file)
    known = place.contacts.find(card.fingerprint)
    if known is None:  # a renewed card has the fingerprint that was compared before
        require_same(card, fingerprint)
    place.contacts.add(card)
    show_result(
        _fields(place.contacts.get(card.name)) | {"renewed": known is not None},
        [f"{'Renewed' if known else 'Added'} '{card.name}', valid to {card.expires}."],
        as_json=json_output,
    )


@app.command("list", epilog=LIST_EXAMPLE)
@command
def list_(home: HomeOption = None, json_output: JsonOption = False) -> None:
    """Show every contact, with its state and fingerprint."""
    place = Credentials(home, None).home.require_used()
    every = place.contacts.all()
    for note in place.contacts.expiry_notes():
        say(f"Note: {note}")
    lines = [
        line
        for contact in every
        for line in (
            f"{contact.name}: {contact.state}, to {contact.card.expires}",
            f"    {contact.card.words}",
        )
    ]
    show_result(
        {"contacts": [_fields(contact) for contact in every]},
        lines or ["No contacts yet; add a card with 'ppcmi contact add'."],
        as_json=json_output,
    )


@app.command("remove", epilog=REMOVE_EXAMPLE)
@command
def remove(name: NameArgument, home: HomeOption = None, json_output: JsonOption = False) -> None:
    """Forget a contact. Its bundles are then those of an unknown sender."""
    place = Credentials(home, None).home.require_used()
    place.contacts.remove(name)
    show_result({"removed": name}, [f"Removed '{name}'."], as_json=json_output)


@app.command("revoke", epilog=REVOKE_EXAMPLE)
@command
def revoke(name: NameArgument, home: HomeOption = None, json_output: JsonOption = False) -> None:
    """Accept nothing from a contact any more, and encrypt nothing to it."""
    place = Credentials(home, None).home.require_used()
    place.contacts.revoke(name)
    show_result({"revoked": name}, [f"Revoked '{name}'."], as_json=json_output)


def _fields(contact: Contact) -> dict[str, Any]:
    card = contact.card
    return {
        "name": card.name,
        "state": contact.state,
        "fingerprint": card.fingerprint,
        "words": card.words,
        "expires": card.expires,
    }
