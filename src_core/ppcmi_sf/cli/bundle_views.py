"""What each party can see of a latent bundle, apart from the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppcmi_sf.bundle import open_bundle, read_envelope
from ppcmi_sf.home import Party


def bundle_views(file: Path, party: Party | None) -> dict[str, Any]:
    """The views of a stranger, of a mail server or file share, and of a recipient.

    Parameters
    ----------
    party
        The recipient, whose identity opens it; without one that view is left out.

    Raises
    ------
    PPCMIError
        The file is no bundle, or this recipient must refuse it.
    """
    envelope = read_envelope(file)
    stranger = {
        "format": f"{envelope.format}, version {envelope.version}",
        "bytes": file.stat().st_size,
        "encrypted_to": list(envelope.fingerprints),
        "algorithms": envelope.algorithms.model_dump(),
    }
    mail_server = {
        "file_name": file.name,
        "and": "what the stranger sees, and who sends what to whom and when",
    }
    recipient = None if party is None else _recipient(file, party)
    return {
        "kind": "latent bundle",
        "stranger": stranger,
        "mail_server": mail_server,
        "recipient": recipient,
    }


def _recipient(file: Path, party: Party) -> dict[str, Any]:
    with open_bundle(file, party.identity, party.sender) as bundle:
        fields = bundle.header.model_dump(mode="json")
        layout = fields.pop("layout")
        return {
            "sender_name": bundle.sender.name,
            "signature": "the sender's, and nothing was changed",
            **fields,
            "tensors": [f"{t['name']} {t['dtype']} {t['shape']}" for t in layout],
            "digest": bundle.digest,
        }


def bundle_lines(views: dict[str, Any]) -> list[str]:
    """The same for people."""
    headings = {
        "stranger": "A stranger who gets hold of the file sees:",
        "mail_server": "A mail server or file share on its way sees:",
        "recipient": "A recipient, who can open it, sees besides the numbers themselves:",
    }
    lines = [f"kind: {views['kind']}"]
    for view, heading in headings.items():
        lines.append(heading)
        if views[view] is None:
            lines.append("    (not opened; with --open you see it, if you are a recipient)")
            continue
        for name, value in views[view].items():
            shown = ", ".join(str(one) for one in value) if isinstance(value, list) else value
            if isinstance(value, dict):
                shown = ", ".join(f"{key} {one}" for key, one in value.items())
            lines.append(f"    {name}: {shown}")
    return lines
