"""``ppcmi join request``, ``approve``, ``accept``, ``remove``, ``renew`` and ``show``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ppcmi_sf.cli.comparing import require_same
from ppcmi_sf.cli.console import command, say, show_result
from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.cli.options import (
    FingerprintOption,
    HomeOption,
    JsonOption,
    PassphraseFileOption,
    StudyOption,
)
from ppcmi_sf.errors import ContactError
from ppcmi_sf.membership import MAX_ASKED_SERIAL, MembershipList
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows import joining

app = typer.Typer(
    help="Joining a study: one file to the mapping server, one back.", no_args_is_help=True
)

REQUEST_EXAMPLE = "Example: ppcmi join request --study lv.yaml --out north.ppcmijoin"
APPROVE_EXAMPLE = (
    "Example: ppcmi join approve north.ppcmijoin --study lv.yaml --out lv.ppcmimembers"
)
ACCEPT_EXAMPLE = "Example: ppcmi join accept lv.ppcmimembers --study lv.yaml"
REMOVE_EXAMPLE = "Example: ppcmi join remove south --study lv.yaml --out lv.ppcmimembers"
RENEW_EXAMPLE = "Example: ppcmi join renew --study lv.yaml --out lv.ppcmimembers"
SHOW_EXAMPLE = "Example: ppcmi join show --study lv.yaml"

ListOption = Annotated[Path, typer.Option("--out", help="The membership list to write.")]


@app.command("request", epilog=REQUEST_EXAMPLE)
@command
def request(
    study: StudyOption,
    out: Annotated[Path, typer.Option("--out", help="The request to write.")],
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """At a site: ask to take part in a study. Send the file to the mapping server."""
    spec = StudySpec.load(study)
    party = Credentials(home, passphrase_file).party()
    joining.write_request(party, spec, out)
    card = party.identity.card
    say("Send it to the mapping server. On the telephone, read these words to it:")
    show_result(
        {"file": str(out), "fingerprint": card.fingerprint, "words": card.words},
        [f"Wrote {out}", f"Your fingerprint: {card.words}"],
        as_json=json_output,
    )


@app.command("approve", epilog=APPROVE_EXAMPLE)
@command
def approve(
    request_file: Annotated[Path, typer.Argument(metavar="REQUEST", help="The site's request.")],
    study: StudyOption,
    out: ListOption,
    fingerprint: FingerprintOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """At the mapping server: let a site in, and write the new membership list."""
    spec = StudySpec.load(study)
    party = Credentials(home, passphrase_file).party()
    card = joining.read_request(request_file, spec)
    if not joining.is_known(party.home, card):
        require_same(card, fingerprint)
    _show_issued(joining.let_in(party, spec, card, out), out, as_json=json_output)


@app.command("accept", epilog=ACCEPT_EXAMPLE)
@command
def accept(
    list_file: Annotated[Path, typer.Argument(metavar="LIST", help="The server's list.")],
    study: StudyOption,
    fingerprint: FingerprintOption = None,
    new_server: Annotated[
        bool, typer.Option("--new-server", help="The study has another mapping server now.")
    ] = False,
    home: HomeOption = None,
    json_output: JsonOption = False,
) -> None:
    """At a site: accept the server's membership list. An older one is refused for ever."""
    spec = StudySpec.load(study)
    place = Credentials(home, None).home
    place.card()  # says what is missing before anybody is asked to compare
    listed = joining.read_list(list_file, spec)
    if not new_server:
        joining.require_same_server(place, listed)  # before anybody is asked to compare
    if new_server or not joining.is_known(place, listed.server_card):
        require_same(listed.server_card, fingerprint)
    if not joining.take_over(place, listed, new_server=new_server):
        say("Note: you are not in this list. The server will not accept your bundles.")
    show_result(_fields(listed), _lines(listed), as_json=json_output)


@app.command("remove", epilog=REMOVE_EXAMPLE)
@command
def remove(
    name: Annotated[str, typer.Argument(help="Name of the site.")],
    study: StudyOption,
    out: ListOption,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """At the mapping server: take a site out of a study. Nothing changes for the others."""
    spec = StudySpec.load(study)
    party = Credentials(home, passphrase_file).party()
    _show_issued(joining.remove_member(party, spec, name, out), out, as_json=json_output)


@app.command("renew", epilog=RENEW_EXAMPLE)
@command
def renew(
    study: StudyOption,
    out: ListOption,
    serial: Annotated[
        int,
        typer.Option(
            "--serial", min=1, max=MAX_ASKED_SERIAL, help="Give the list at least this number."
        ),
    ] = 1,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """At the mapping server: write the list anew, with later dates and the newest cards.

    When the server's registry was lost, its numbers start again at 1, and sites refuse them:
    give --serial with a number above the last one that the sites have ('ppcmi join show').
    """
    spec = StudySpec.load(study)
    party = Credentials(home, passphrase_file).party()
    listed = joining.renew_list(party, spec, out, at_least=serial)
    _show_issued(listed, out, as_json=json_output)


@app.command("show", epilog=SHOW_EXAMPLE)
@command
def show(study: StudyOption, home: HomeOption = None, json_output: JsonOption = False) -> None:
    """Show who takes part in a study."""
    spec = StudySpec.load(study)
    place = Credentials(home, None).home.require_used()
    listed = place.memberships.newest(spec.fingerprint)
    if listed is None:
        raise ContactError(
            "There is no membership list of this study here yet.",
            hint="Accept the mapping server's ('ppcmi join accept').",
        )
    show_result(_fields(listed), _lines(listed), as_json=json_output)


def _show_issued(listed: MembershipList, out: Path, *, as_json: bool) -> None:
    say("Send it to the sites. A site that has joined for the first time compares your "
        "fingerprint.")  # fmt: skip
    show_result(_fields(listed) | {"file": str(out)}, _lines(listed), as_json=as_json)


def _fields(listed: MembershipList) -> dict[str, Any]:
    return {
        "study": listed.study,
        "serial": listed.serial,
        "expires": listed.expires,
        "server": listed.server_card.name,
        "server_fingerprint": listed.server_card.fingerprint,
        "server_words": listed.server_card.words,
        "members": [{"name": c.name, "fingerprint": c.fingerprint} for c in listed.cards],
    }


def _lines(listed: MembershipList) -> list[str]:
    names = ", ".join(card.name for card in listed.cards) or "nobody yet"
    return [
        f"Membership list {listed.serial} of '{listed.server_card.name}', "
        f"valid to {listed.expires}: {names}",
        f"The server's fingerprint: {listed.server_card.words}",
    ]
