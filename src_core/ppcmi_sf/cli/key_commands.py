"""``ppcmi key new``, ``ppcmi key show`` and ``ppcmi share-transform``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ppcmi_sf.cli.console import command, say, show_result
from ppcmi_sf.cli.options import JsonOption, KeyOption, StudyOption
from ppcmi_sf.errors import KeyFileError, StudyError
from ppcmi_sf.keys import ClientKey, TransformShare
from ppcmi_sf.study import StudySpec

app = typer.Typer(help="The secret of a site.", no_args_is_help=True)

NEW_EXAMPLE = "Example: ppcmi key new north.ppcmikey --study lv.yaml --site north"
SHOW_EXAMPLE = "Example: ppcmi key show north.ppcmikey"
SHARE_EXAMPLE = (
    "Example: ppcmi share-transform --key north.ppcmikey --study lv.yaml --out north.share.json"
)

NOT_PROTECTED = "It is not protected by a passphrase yet: keep it where only you can read it."


@app.command("new", epilog=NEW_EXAMPLE)
@command
def new(
    file: Annotated[Path, typer.Argument(help="The key file to write.")],
    study: StudyOption,
    site: Annotated[str, typer.Option("--site", help="Name of the site.")],
    epoch: Annotated[int, typer.Option("--epoch", min=1, help="Raise it to rotate a key.")] = 1,
    json_output: JsonOption = False,
) -> None:
    """Make a client key. Without it, nobody can read what it protected: keep a backup."""
    if file.exists():
        raise KeyFileError(
            f"{file}: there is a file already, and a key is never overwritten.",
            hint="Choose another name.",
        )
    key = ClientKey.generate(site, StudySpec.load(study).fingerprint, epoch)
    key.save(file)
    say(NOT_PROTECTED)
    show_result(_fields(file, key), _lines(file, key), as_json=json_output)


@app.command("show", epilog=SHOW_EXAMPLE)
@command
def show(
    file: Annotated[Path, typer.Argument(help="The key file.")], json_output: JsonOption = False
) -> None:
    """Show whose key it is. The secret itself is never shown."""
    key = ClientKey.load(file)
    show_result(_fields(file, key), _lines(file, key), as_json=json_output)


@command
def share_transform(
    key: KeyOption,
    study: StudyOption,
    out: Annotated[Path, typer.Option("--out", help="The share file to write.")],
    json_output: JsonOption = False,
) -> None:
    """Write the transform share of a site for an escrow server.

    With it the server can undo this site's keyed transform, for this study and
    epoch. The client key cannot be computed from it.
    """
    spec, client_key = StudySpec.load(study), ClientKey.load(key)
    spec.require(client_key.study, f"The client key {key}")
    if spec.arrangement == "blind":
        raise StudyError(
            f"{study}: in a blind study the server gets no transform share.",
            hint="Send the training bundles alone.",
        )
    share = client_key.transform_share()
    _require_free(out)
    share.save(out)
    say("Whoever holds this file can read this site's latents. " + NOT_PROTECTED)
    show_result(_fields(out, share), _lines(out, share), as_json=json_output)


def _require_free(out: Path) -> None:
    """A share may be written again, since it comes out the same; a key is never replaced."""
    if not out.exists():
        return
    try:
        TransformShare.load(out)
    except KeyFileError as error:
        raise KeyFileError(
            f"{out}: there is a file already that is no transform share (maybe a key).",
            hint="Choose another name.",
        ) from error


def _fields(file: Path, secret: ClientKey | TransformShare) -> dict[str, Any]:
    return {
        "file": str(file),
        "kind": secret.noun,
        "site": secret.site,
        "epoch": secret.epoch,
        "study": secret.study,
        "key_id": secret.key_id,
    }


def _lines(file: Path, secret: ClientKey | TransformShare) -> list[str]:
    return [
        f"{file}: {secret.noun} of site '{secret.site}', epoch {secret.epoch}",
        f"Key id {secret.key_id}, study {secret.study[:12]}…",
    ]
