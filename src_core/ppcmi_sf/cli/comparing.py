"""Comparing a fingerprint: by a person who reads it aloud, or by a script that knows it."""

from __future__ import annotations

import sys

from ppcmi_sf.cards import ContactCard, same_fingerprint
from ppcmi_sf.cli.console import say
from ppcmi_sf.errors import ContactError


def require_same(card: ContactCard, fingerprint: str | None) -> None:
    """Refuse a card whose fingerprint nobody has compared.

    Raises
    ------
    ContactError
        It is another, or the person says that it is.
    """
    if fingerprint is not None:
        if not same_fingerprint(fingerprint, card.fingerprint):
            raise ContactError(
                f"The card of '{card.name}' has another fingerprint: {card.words}.",
                hint="Do not use it. Ask its owner, over the telephone, for the fingerprint and "
                "for a new card.",
            )
        return
    say(f"The card says that it is of '{card.name}'. Its fingerprint is:")
    say(f"    {card.words}")
    say("Call the owner at a number that you know, and let the owner read these words to you.")
    if sys.stdin is None or not sys.stdin.isatty():
        raise ContactError(
            "Nobody has compared the fingerprint.",
            hint="In a script, give it with --fingerprint.",
        )
    say("Are they the same? [y/N]")
    # Not typer's own question: Ctrl-C has to leave as Ctrl-C.
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ContactError("Nothing was added.", hint="Ask the owner for the card again.")
