"""``ppcmi log``, ``log verify``, ``log export`` and ``log items``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from ppcmi_sf.cards import short_fingerprint
from ppcmi_sf.cli.console import command, show_result
from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.cli.options import HomeOption, JsonOption
from ppcmi_sf.cli.reports import count
from ppcmi_sf.errors import BundleError, PPCMIError
from ppcmi_sf.files import size_in_words
from ppcmi_sf.home import Home
from ppcmi_sf.registry import LogEntry

app = typer.Typer(help="What left this computer and what came: the disclosure log.")

VERIFY_EXAMPLE = "Example: ppcmi log verify"
EXPORT_EXAMPLE = "Example: ppcmi log export disclosures.csv"
WHOLE_HASH = "Give all of what 'ppcmi log verify' printed behind 'Last hash'."
ITEMS_EXAMPLE = "Example: ppcmi log items 0123456789abcdef0123456789abcdef"


@app.callback(invoke_without_command=True)
def show(context: typer.Context, home: HomeOption = None, json_output: JsonOption = False) -> None:
    """Show the disclosure log, the oldest entry first."""
    if context.invoked_subcommand is None:
        _show(home=home, json_output=json_output)
    elif home is not None or json_output:
        # Never passed over: the verb would look into the log of another home.
        verb = context.invoked_subcommand
        raise typer.BadParameter(f"--home and --json go behind the verb: 'ppcmi log {verb} …'.")


@command
def _show(home: Path | None, json_output: bool) -> None:
    place = Credentials(home, None).home.require_used()
    entries = place.log.entries()
    names = _names(place)
    show_result(
        {"entries": [entry.model_dump() | {"hash": entry.hash} for entry in entries]},
        [_line(entry, names) for entry in entries] or ["Nothing yet."],
        as_json=json_output,
    )


@app.command("verify", epilog=VERIFY_EXAMPLE)
@command
def verify(
    head: Annotated[
        str | None,
        typer.Option("--head", help="A hash that you noted earlier: it must still be there."),
    ] = None,
    home: HomeOption = None,
    json_output: JsonOption = False,
) -> None:
    """Check that no entry was changed, removed or put in. Note the hash that it prints."""
    place = Credentials(home, None).home.require_used()
    if head is not None:
        head = head.strip().lower()
        if re.fullmatch("[0-9a-f]{64}", head) is None:
            # Never 'the entry is gone' of a hash that was cut off when it was copied.
            raise PPCMIError("A hash of the log has 64 hex digits; this is none.", hint=WHOLE_HASH)
    last = place.log.verify(head)
    number = len(place.log.entries())
    show_result(
        {"entries": number, "head": last},
        [f"{count(number, 'entry')}, unbroken.", f"Last hash: {last}"],
        as_json=json_output,
    )


@app.command("export", epilog=EXPORT_EXAMPLE)
@command
def export(
    file: Annotated[Path, typer.Argument(help="The CSV file to write.")],
    home: HomeOption = None,
    json_output: JsonOption = False,
) -> None:
    """Write the log as CSV. It names no patient, file or path."""
    number = Credentials(home, None).home.require_used().log.export_csv(file)
    show_result(
        {"file": str(file), "entries": number},
        [f"Wrote {count(number, 'entry')} to {file}"],
        as_json=json_output,
    )


@app.command("items", epilog=ITEMS_EXAMPLE)
@command
def items(
    bundle_id: Annotated[str, typer.Argument(help="Id of a bundle that you sent.")],
    home: HomeOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show which slices of which files a bundle held. This names files: keep it to yourself."""
    found = Credentials(home, None).home.require_used().registry.items_of(bundle_id)
    if not found:
        raise BundleError(
            "No bundle with that id was sent from here.", hint="See 'ppcmi log' for the ids."
        )
    show_result(
        {"items": [{"item": i, "source": source, "slice": n} for i, source, n in found]},
        [f"{item}  slice {number} of {source}" for item, source, number in found],
        as_json=json_output,
    )


def _names(home: Home) -> dict[str, str]:
    return {contact.card.fingerprint: contact.name for contact in home.contacts.all()}


def _line(entry: LogEntry, names: dict[str, str]) -> str:
    peers = ", ".join(names.get(peer, short_fingerprint(peer)) for peer in entry.peers)
    parts = [f"{entry.seq:5d}  {entry.at}  {entry.event}"]
    if entry.kind:
        parts.append(f"{entry.kind} {entry.bundle_id}")
    if entry.items and entry.kind:
        parts.append(count(entry.items, "item"))
    if entry.file_bytes:
        parts.append(size_in_words(entry.file_bytes))
    if peers:
        parts.append(f"{'from' if 'received' in entry.event else 'for'} {peers}")
    if entry.epoch:
        parts.append(f"key {entry.key_id}, epoch {entry.epoch}")
    return ", ".join(parts)
