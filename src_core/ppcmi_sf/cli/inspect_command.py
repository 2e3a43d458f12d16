"""``ppcmi inspect``: say what a file is, without its secrets or latents."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from ppcmi_sf.bundle import SUFFIX as BUNDLE_SUFFIX
from ppcmi_sf.cards import CARD_SUFFIX, ContactCard
from ppcmi_sf.cli.bundle_views import bundle_lines, bundle_views
from ppcmi_sf.cli.console import command, say, show_result
from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.cli.options import (
    FrameOption,
    HomeOption,
    JsonOption,
    PassphraseFileOption,
    SeriesOption,
)
from ppcmi_sf.cli.reports import count
from ppcmi_sf.errors import InputFileError, KeyFileError
from ppcmi_sf.identity import SUFFIX as IDENTITY_SUFFIX
from ppcmi_sf.identity import read_card
from ppcmi_sf.keys import SUFFIX as KEY_SUFFIX
from ppcmi_sf.keys import read_key_record
from ppcmi_sf.membership import LIST_SUFFIX, REQUEST_SUFFIX, JoinRequest, MembershipList
from ppcmi_sf.share import SUFFIX as SHARE_SUFFIX
from ppcmi_sf.share import read_sealed
from ppcmi_sf.study import StudySpec

EXAMPLE = "Example: ppcmi inspect outbox/north/2f….ppcmi --open"


@command
def inspect(
    file: Annotated[
        Path, typer.Argument(help="A study, key, card, share, list, bundle, model or image.")
    ],
    open_it: Annotated[
        bool, typer.Option("--open", help="Of a bundle: show what you, a recipient, can see.")
    ] = False,
    frame: FrameOption = None,
    series: SeriesOption = None,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Say what a file is. Of a bundle: what a stranger, a mail server and a recipient can see."""
    if not file.exists() and not file.is_symlink():
        raise InputFileError(file, "there is no such file.", hint="Check the path.")
    if file.suffix.lower() == BUNDLE_SUFFIX:
        party = Credentials(home, passphrase_file).party() if open_it else None
        views = bundle_views(file, party)
        show_result(views, bundle_lines(views), as_json=json_output)
        return
    fields = _describe(file, frame, series)
    show_result(fields, _lines(fields), as_json=json_output)


def _lines(fields: dict[str, Any]) -> list[str]:
    shown = {key: value for key, value in fields.items() if value is not None}
    if fields.get("spacing_mm", 1) is None:
        shown["spacing_mm"] = "not stated"
    if "members" in shown:
        shown["members"] = ", ".join(one["name"] for one in shown["members"]) or "nobody yet"
    if "series" in shown:
        shown["series"] = ", ".join(
            f"{one['uid']} ({count(one['files'], 'file')})" for one in shown["series"]
        )
    return [f"{key}: {value}" for key, value in shown.items()]


def _describe(file: Path, frame: int | None, series: str | None) -> dict[str, Any]:
    suffix = file.suffix.lower()
    if suffix in (".yaml", ".yml"):
        study = StudySpec.load(file)
        return {"kind": "study", "fingerprint": study.fingerprint} | study.model_dump(mode="json")
    if suffix == ".safetensors":
        from ppcmi_sf.models.store import read_header

        return dict(read_header(file).model_dump(mode="json"))
    own = {
        KEY_SUFFIX: _key,
        IDENTITY_SUFFIX: _identity,
        CARD_SUFFIX: _card,
        SHARE_SUFFIX: _share,
        REQUEST_SUFFIX: _request,
        LIST_SUFFIX: _list,
    }
    if suffix in own:
        return own[suffix](file)
    from ppcmi_sf.imaging import is_supported

    if file.is_dir() or is_supported(file):
        return _image(file, frame, series)
    return _renamed_key(file)


def _key(file: Path) -> dict[str, Any]:
    record = read_key_record(file)
    return {
        "kind": "client key",
        "protected": "by a passphrase",
        **record.model_dump(exclude={"format", "version"}),
    }


def _renamed_key(file: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings(record=True) as told:  # it may be no key at all
            fields = _key(file)
    except KeyFileError:
        raise InputFileError(
            file,
            "not a file that ppcmi knows.",
            hint="It reads studies, keys, cards, shares, membership lists, bundles, models and "
            "images, by their suffix.",
        ) from None
    for warning in told:
        say(f"Warning: {warning.message}")
    return fields


def _identity(file: Path) -> dict[str, Any]:
    return {"kind": "identity", "protected": "by a passphrase", **_card_fields(read_card(file))}


def _card(file: Path) -> dict[str, Any]:
    return {"kind": "contact card", **_card_fields(ContactCard.load(file))}


def _card_fields(card: ContactCard) -> dict[str, Any]:
    return {
        "name": card.name,
        "fingerprint": card.fingerprint,
        "words": card.words,
        "created": card.created,
        "expires": card.expires,
    }


def _share(file: Path) -> dict[str, Any]:
    record = read_sealed(file)
    return {"kind": "transform share", "encrypted_to": record.recipient}


def _request(file: Path) -> dict[str, Any]:
    request = JoinRequest.load(file)
    return {"kind": "join request", "study": request.study, **_card_fields(request.site)}


def _list(file: Path) -> dict[str, Any]:
    listed = MembershipList.load(file)
    return {
        "kind": "membership list",
        "study": listed.study,
        "serial": listed.serial,
        "created": listed.created,
        "expires": listed.expires,
        "server": listed.server_card.name,
        "server_fingerprint": listed.server_card.fingerprint,
        "server_words": listed.server_card.words,
        "members": [{"name": c.name, "fingerprint": c.fingerprint} for c in listed.cards],
    }


def _image(file: Path, frame: int | None, series: str | None) -> dict[str, Any]:
    from ppcmi_sf.imaging import list_series, read_image

    if file.is_dir():
        found = list_series(file)
        if len(found) != 1 and series is None:
            return {
                "kind": "folder",
                "series": [{"uid": one.uid, "files": one.file_count} for one in found],
            }
    image = read_image(file, frame=frame, series_uid=series)
    geometry = image.geometry
    return {
        "kind": f"image ({geometry.family})",
        "shape": list(geometry.shape),
        "channels": image.data.shape[-1],
        "spacing_mm": list(geometry.spacing) if geometry.has_physical_size else None,
        "slice_axis": geometry.slice_axis if len(geometry.shape) == 3 else None,
        "values": [float(image.data.min()), float(image.data.max())],
    }
