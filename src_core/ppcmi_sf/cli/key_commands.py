"""``ppcmi key new``, ``show``, ``rotate``, ``passphrase``, ``remember``, ``forget``; shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ppcmi_sf.cli.console import command, say, show_result
from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.cli.options import (
    HomeOption,
    JsonOption,
    KeyOption,
    NewPassphraseFileOption,
    PassphraseFileOption,
    StudyOption,
    ToOption,
    ValidDaysOption,
)
from ppcmi_sf.dates import VALID_DAYS, valid_from_today
from ppcmi_sf.errors import ContactError, KeyFileError, StudyError
from ppcmi_sf.keys import SUFFIX, ClientKey, KeyRecord, read_key_record
from ppcmi_sf.passphrase import forget as forget_passphrase
from ppcmi_sf.passphrase import remember as remember_passphrase
from ppcmi_sf.share import SUFFIX as SHARE_SUFFIX
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows.send_share import require_free_share, send_share

app = typer.Typer(help="The secret of a site.", no_args_is_help=True)

NEW_EXAMPLE = "Example: ppcmi key new north.ppcmikey --study lv.yaml --site north"
SHOW_EXAMPLE = "Example: ppcmi key show north.ppcmikey"
ROTATE_EXAMPLE = "Example: ppcmi key rotate north.ppcmikey --out north-2.ppcmikey"
PASSPHRASE_EXAMPLE = "Example: ppcmi key passphrase north.ppcmikey"
REMEMBER_EXAMPLE = "Example: ppcmi key remember north.ppcmikey"
FORGET_EXAMPLE = "Example: ppcmi key forget north.ppcmikey"
SHARE_EXAMPLE = (
    "Example: ppcmi share-transform --key north.ppcmikey --study lv.yaml "
    f"--to server --out north{SHARE_SUFFIX}"
)

FileArgument = Annotated[Path, typer.Argument(help=f"The key file ({SUFFIX}).")]

BACKUP = (
    "Keep a copy of this file and its passphrase: without them, masks that were not revealed yet "
    "are lost."
)


@app.command("new", epilog=NEW_EXAMPLE)
@command
def new(
    file: Annotated[Path, typer.Argument(help=f"The key file to write ({SUFFIX}).")],
    study: StudyOption,
    site: Annotated[str, typer.Option("--site", help="Name of the site.")],
    valid_days: ValidDaysOption = VALID_DAYS,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Make a client key, under a passphrase. Without it, nobody can read what it protected.

    Where the old key was lost, this makes one of the next epoch.
    """
    _require_free(file)
    credentials = Credentials(home, passphrase_file)
    fingerprint = StudySpec.load(study).fingerprint
    epoch = credentials.home.key_epochs.newest(fingerprint, site) + 1
    if epoch > 1:
        say(
            f"Note: there was a key of epoch {epoch - 1} already; it makes no new bundles from now "
            "on."
        )
    key = ClientKey.generate(site, fingerprint, epoch, valid_from_today(days=valid_days))
    _save_new(file, key, credentials, as_json=json_output)


@app.command("show", epilog=SHOW_EXAMPLE)
@command
def show(
    file: FileArgument,
    check: Annotated[
        bool, typer.Option("--check", help="Open it, to see that the passphrase is right.")
    ] = False,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Show whose key it is. The secret itself is never shown."""
    record = read_key_record(file)
    if check:
        Credentials(None, passphrase_file).key(file)
    else:
        note = record.validity.expiry_note(f"The client key {file.name}")
        if note:
            say(f"Note: {note}")
    lines = _lines(file, record) + ["The passphrase opens it."] * check
    show_result(_fields(file, record), lines, as_json=json_output)


@app.command("rotate", epilog=ROTATE_EXAMPLE)
@command
def rotate(
    file: FileArgument,
    out: Annotated[Path, typer.Option("--out", help="The file of the new key.")],
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Make the key of the next epoch, under the same passphrase.

    The old key is kept: it still opens old replies, and makes no new bundles.
    """
    _require_free(out)
    credentials = Credentials(home, passphrase_file)
    key = credentials.key(file)
    epochs = credentials.home.key_epochs
    epochs.note(key)
    epochs.require_newest(key)
    rotated = key.rotate()
    epochs.add(rotated, lambda: rotated.save(out, credentials.last_passphrase, new=True))
    say(f"{file} is of the old epoch now: it opens old replies and makes no new bundles. Make new "
        "training bundles and a new transform share with the new key.")  # fmt: skip
    say(BACKUP)
    record = read_key_record(out)
    show_result(_fields(out, record), _lines(out, record), as_json=json_output)


@app.command("passphrase", epilog=PASSPHRASE_EXAMPLE)
@command
def passphrase(
    file: FileArgument,
    new_passphrase_file: NewPassphraseFileOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Change the passphrase of a key file. Copies of the old file keep the old one."""
    credentials = Credentials(None, passphrase_file)
    key = credentials.key(file)
    key.save(file, credentials.changed_passphrase("client key", new_passphrase_file))
    record = read_key_record(file)
    show_result(_fields(file, record), [f"{file}: has a new passphrase."], as_json=json_output)


@app.command("remember", epilog=REMEMBER_EXAMPLE)
@command
def remember(
    file: FileArgument,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Store a key's passphrase in the system's keyring (needs the extra 'keyring')."""
    credentials = Credentials(None, passphrase_file)
    key = credentials.key(file)
    remember_passphrase(key.key_id, credentials.last_passphrase)
    record = read_key_record(file)
    show_result(_fields(file, record), ["The keyring knows it now."], as_json=json_output)


@app.command("forget", epilog=FORGET_EXAMPLE)
@command
def forget(file: FileArgument, json_output: JsonOption = False) -> None:
    """Remove a key's passphrase from the system's keyring."""
    record = read_key_record(file)
    forget_passphrase(record.key_id)
    show_result(_fields(file, record), ["The keyring has forgotten it."], as_json=json_output)


@command
def share_transform(
    key: KeyOption,
    study: StudyOption,
    out: Annotated[Path, typer.Option("--out", help="The share file to write.")],
    to: ToOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Write the transform share of a site for an escrow server, encrypted to it and signed.

    With it the server can undo this site's keyed transform, for this study and
    epoch. The client key cannot be computed from it.
    """
    spec = StudySpec.load(study)
    record = read_key_record(key)
    spec.require(record.study, f"The client key {key}")
    if spec.arrangement == "blind":
        raise StudyError(
            f"{study}: in a blind study the server gets no transform share.",
            hint="Send the training bundles alone.",
        )
    require_free_share(out)
    credentials = Credentials(home, passphrase_file)
    party, client_key = credentials.party(), credentials.key(key)
    servers = credentials.recipients(to or [], spec.fingerprint)
    if len(servers) != 1:
        raise ContactError(
            "A transform share is for one server.", hint="Give --to once, for each a file."
        )
    client_key.require_current()
    party.home.key_epochs.require_newest(client_key)
    share = client_key.transform_share()
    send_share(out, share, party, servers[0])
    say(f"With this file, '{servers[0].name}' can read this site's latents, and nobody else.")
    show_result(
        {
            "file": str(out),
            "kind": share.noun,
            "to": servers[0].name,
            "epoch": share.epoch,
            "study": share.study,
            "key_id": share.key_id,
        },
        [
            f"{out}: transform share of site '{share.site}' for '{servers[0].name}', epoch "
            f"{share.epoch}",
            f"Key id {share.key_id}, study {share.study[:12]}…",
        ],
        as_json=json_output,
    )


def _save_new(file: Path, key: ClientKey, credentials: Credentials, *, as_json: bool) -> None:
    typed = credentials.new_passphrase("client key")
    credentials.home.key_epochs.add(key, lambda: key.save(file, typed, new=True))
    say(BACKUP)
    record = read_key_record(file)
    show_result(_fields(file, record), _lines(file, record), as_json=as_json)


def _require_free(file: Path) -> None:
    if file.exists():
        raise KeyFileError(
            f"{file}: there is a file already, and a key is never overwritten.",
            hint="Choose another name.",
        )


def _fields(file: Path, record: KeyRecord) -> dict[str, Any]:
    return {
        "file": str(file),
        "kind": ClientKey.noun,
        "site": record.site,
        "epoch": record.epoch,
        "study": record.study,
        "key_id": record.key_id,
        "created": record.created,
        "expires": record.expires,
    }


def _lines(file: Path, record: KeyRecord) -> list[str]:
    return [
        f"{file}: client key of site '{record.site}', epoch {record.epoch}",
        f"Key id {record.key_id}, study {record.study[:12]}…",
        f"Valid from {record.created} to {record.expires}",
    ]
