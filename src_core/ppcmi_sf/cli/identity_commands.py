"""``ppcmi identity``: ``new``, ``show``, ``export``, ``renew``, and its passphrase."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ppcmi_sf.cards import CARD_SUFFIX, ContactCard
from ppcmi_sf.cli.console import command, say, show_result
from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.cli.options import (
    HomeOption,
    JsonOption,
    NewPassphraseFileOption,
    PassphraseFileOption,
    ValidDaysOption,
)
from ppcmi_sf.dates import VALID_DAYS, valid_from_today
from ppcmi_sf.errors import KeyFileError
from ppcmi_sf.identity import Identity
from ppcmi_sf.passphrase import forget as forget_passphrase
from ppcmi_sf.passphrase import remember as remember_passphrase

app = typer.Typer(help="Who you are to your partners.", no_args_is_help=True)

NEW_EXAMPLE = "Example: ppcmi identity new --name north"
SHOW_EXAMPLE = "Example: ppcmi identity show"
FINGERPRINT_EXAMPLE = "Example: ppcmi identity fingerprint --words"
EXPORT_EXAMPLE = f"Example: ppcmi identity export north{CARD_SUFFIX}"
RENEW_EXAMPLE = "Example: ppcmi identity renew --valid-days 730"
PASSPHRASE_EXAMPLE = "Example: ppcmi identity passphrase"
REMEMBER_EXAMPLE = "Example: ppcmi identity remember"
FORGET_EXAMPLE = "Example: ppcmi identity forget"


@app.command("new", epilog=NEW_EXAMPLE)
@command
def new(
    name: Annotated[str, typer.Option("--name", help="Name of your site or server.")],
    valid_days: ValidDaysOption = VALID_DAYS,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Make your identity: the keys that sign what you write and open what is for you."""
    credentials = Credentials(home, passphrase_file)
    file = credentials.home.identity_file
    if file.exists():
        raise KeyFileError(
            f"{file}: there is an identity already, and it is never overwritten.",
            hint="Name another folder with --home, or renew it with 'ppcmi identity renew'.",
        )
    identity = Identity.generate(name, valid_from_today(days=valid_days))
    identity.save(file, credentials.new_passphrase("identity"), new=True)
    say("Keep a copy of this file and its passphrase: without them nobody can open what is for "
        "you.")  # fmt: skip
    show_result(_fields(file, identity.card), _lines(file, identity.card), as_json=json_output)


@app.command("show", epilog=SHOW_EXAMPLE)
@command
def show(home: HomeOption = None, json_output: JsonOption = False) -> None:
    """Show your card and its fingerprint in words. No passphrase is needed."""
    place = Credentials(home, None).home
    card = place.card()
    note = card.validity.expiry_note("Your identity")
    if note:
        say(f"Note: {note}")
    lines = _lines(place.identity_file, card)
    show_result(_fields(place.identity_file, card), lines, as_json=json_output)


@app.command("fingerprint", epilog=FINGERPRINT_EXAMPLE)
@command
def fingerprint(
    home: HomeOption = None,
    words: Annotated[bool, typer.Option("--words", help="In words, to read aloud.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Print your fingerprint alone, for scripts."""
    card = Credentials(home, None).home.card()
    fields = {"fingerprint": card.fingerprint, "words": card.words}
    show_result(fields, [card.words if words else card.fingerprint], as_json=json_output)


@app.command("export", epilog=EXPORT_EXAMPLE)
@command
def export(
    file: Annotated[Path, typer.Argument(help=f"The card to write ({CARD_SUFFIX}).")],
    home: HomeOption = None,
    json_output: JsonOption = False,
) -> None:
    """Write your contact card, to send to partners. It holds nothing secret."""
    card = Credentials(home, None).home.card()
    card.save(file)
    show_result(_fields(file, card), _lines(file, card), as_json=json_output)


@app.command("renew", epilog=RENEW_EXAMPLE)
@command
def renew(
    valid_days: ValidDaysOption = VALID_DAYS,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Give your identity later dates. Keys and fingerprint stay; send the new card around."""
    credentials = Credentials(home, passphrase_file)
    place = credentials.home
    party = credentials.party()
    renewed = party.identity.renew(valid_from_today(days=valid_days))
    renewed.save(place.identity_file, credentials.last_passphrase)
    show_result(
        _fields(place.identity_file, renewed.card),
        _lines(place.identity_file, renewed.card),
        as_json=json_output,
    )


@app.command("passphrase", epilog=PASSPHRASE_EXAMPLE)
@command
def passphrase(
    new_passphrase_file: NewPassphraseFileOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Change the passphrase of your identity. Copies of the old file keep the old one."""
    credentials = Credentials(home, passphrase_file)
    party, file = credentials.party(), credentials.home.identity_file
    party.identity.save(file, credentials.changed_passphrase("identity", new_passphrase_file))
    lines = [f"{file}: has a new passphrase."]
    show_result(_fields(file, party.identity.card), lines, as_json=json_output)


@app.command("remember", epilog=REMEMBER_EXAMPLE)
@command
def remember(
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Store your identity's passphrase in the system's keyring (needs the extra 'keyring')."""
    credentials = Credentials(home, passphrase_file)
    card, file = credentials.party().identity.card, credentials.home.identity_file
    remember_passphrase(card.fingerprint, credentials.last_passphrase)
    show_result(_fields(file, card), ["The keyring knows it now."], as_json=json_output)


@app.command("forget", epilog=FORGET_EXAMPLE)
@command
def forget(home: HomeOption = None, json_output: JsonOption = False) -> None:
    """Remove your identity's passphrase from the system's keyring."""
    place = Credentials(home, None).home
    card = place.card()
    forget_passphrase(card.fingerprint)
    lines = ["The keyring has forgotten it."]
    show_result(_fields(place.identity_file, card), lines, as_json=json_output)


def _fields(file: Path, card: ContactCard) -> dict[str, Any]:
    return {
        "file": str(file),
        "name": card.name,
        "fingerprint": card.fingerprint,
        "words": card.words,
        "created": card.created,
        "expires": card.expires,
    }


def _lines(file: Path, card: ContactCard) -> list[str]:
    return [
        f"{file}: '{card.name}', valid from {card.created} to {card.expires}",
        f"Fingerprint: {card.words}",
        f"             {card.fingerprint}",
    ]
