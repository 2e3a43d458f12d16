"""What a bundle in a folder is: told by checks of its every byte, never by its name alone."""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from napari_ppcmi._protocol.bundles import BundleInfo, State
from napari_ppcmi._protocol.message import Failure
from ppcmi_sf.bundle import BundleHeader, Envelope, open_bundle, peek, read_envelope
from ppcmi_sf.bundle.reader import read_digest
from ppcmi_sf.cards import ContactCard, short_fingerprint
from ppcmi_sf.errors import (
    BundleDamagedError,
    PPCMIError,
    ReaddressedError,
    ReplayError,
    UntrustedSenderError,
)
from ppcmi_sf.home import Party

_MAX_SEEN = 4096

LOCKED = "Unlock the identity to check it."


@dataclass(frozen=True)
class _Seen:
    """What came of checking the bytes; ``header`` if their signature is the sender's."""

    info: BundleInfo
    header: BundleHeader | None = None


# Files are large and folders looked at often; an entry is of a person's identity and a file as
# it was. What may change without the file (contacts, what was accepted) is asked each time.
_seen: OrderedDict[tuple[str, int, int, str], _Seen] = OrderedDict()


def inspect_bundle(path: Path, party: Party | None) -> BundleInfo:
    """What a bundle is to this party, which may be locked.

    Raises
    ------
    OSError
        The file is gone.
    """
    status = path.stat()
    written = datetime.fromtimestamp(status.st_mtime).astimezone().isoformat(timespec="seconds")
    plain = BundleInfo(file=path, written=written, byte_count=status.st_size, state="not readable")
    if party is None:
        return plain.model_copy(update={"problem": LOCKED})
    mark = (str(path), status.st_size, status.st_mtime_ns, party.identity.fingerprint)
    seen = _seen.get(mark)
    if seen is None:
        seen = _examine(plain, party)
        if seen.info.state in ("verified", "own", "changed"):
            _seen[mark] = seen
            while len(_seen) > _MAX_SEEN:
                _seen.popitem(last=False)
    return seen.info if seen.header is None else _as_of_now(seen.info, seen.header, party)


def bundles_in(folder: Path) -> list[Path]:
    """Plain files whose name is a bundle's, the newest first; links are left alone."""
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.endswith(".ppcmi") or entry.name.startswith("."):
                continue
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                found.append((-status.st_mtime_ns, entry.name))
    return [folder / name for _, name in sorted(found)]


def _examine(plain: BundleInfo, party: Party) -> _Seen:
    path, own = plain.file, party.identity.fingerprint
    try:
        envelope = read_envelope(path)
        plain = plain.model_copy(update={"recipients": _names(envelope.fingerprints, party)})
        if own not in envelope.fingerprints:
            return _Seen(_of_others(plain, envelope, party))
        with open_bundle(path, party.identity, party.sender) as bundle:
            header = bundle.header
        return _Seen(_described(plain, header, party), header)
    except UntrustedSenderError as error:
        return _Seen(_with(plain, _state_of_sender(path, party), error))
    except (BundleDamagedError, ReaddressedError) as error:
        return _Seen(_with(plain, "changed", error))
    except PPCMIError as error:
        return _Seen(_with(plain, "not readable", error))


def _described(plain: BundleInfo, header: BundleHeader, party: Party) -> BundleInfo:
    # Of a site's own queries and replies to itself, only the reply is something that came.
    written_here = header.sender == party.identity.fingerprint and header.kind != "reply"
    return plain.model_copy(
        update={
            "kind": header.kind,
            "bundle_id": header.bundle_id,
            "sender": _name(header.sender, party),
            "items": header.items,
            "state": "own" if written_here else "verified",
        }
    )


def _of_others(plain: BundleInfo, envelope: Envelope, party: Party) -> BundleInfo:
    """It cannot be opened here; if it was written here, the registry knows its digest."""
    path = plain.file
    digest = read_digest(path)
    note = party.home.registry.find_sent(path.stem, digest)
    if note is None:
        return plain.model_copy(
            update={"state": "for others", "problem": "It is encrypted to others."}
        )
    known = plain.model_copy(
        update={
            "kind": note.kind,
            "bundle_id": note.bundle_id,
            "sender": party.identity.card.name,
            "items": note.items,
        }
    )
    same = note.digest == digest and note.recipients == envelope.fingerprints
    if same:
        return known.model_copy(update={"state": "own"})
    problem = "It has the name of a bundle that was written here, and other content."
    return known.model_copy(update={"state": "changed", "problem": problem})


def _as_of_now(info: BundleInfo, header: BundleHeader, party: Party) -> BundleInfo:
    """Whom it is of may be revoked since, and the bundle may have been accepted."""
    if info.state == "own":
        return info
    try:
        party.sender(header.sender)
        party.home.registry.require_new(header, info.file)
    except UntrustedSenderError as error:
        return _with(info, _contact_state(header.sender, party), error.about(info.file))
    except ReplayError as error:
        return _with(info, "already used", error)
    return info


def _state_of_sender(path: Path, party: Party) -> State:
    try:
        return _contact_state(peek(path, party.identity).sender, party)
    except PPCMIError:
        return "changed"


def _contact_state(fingerprint: str, party: Party) -> State:
    if fingerprint == party.identity.fingerprint:
        return "changed"
    contact = party.home.contacts.find(fingerprint)
    if contact is None:
        return "unknown sender"
    if contact.state == "valid":
        return "changed"  # somebody we know did not sign this
    return "revoked sender" if contact.state == "revoked" else "expired"


def _with(info: BundleInfo, state: State, error: PPCMIError) -> BundleInfo:
    return info.model_copy(update={"state": state, "problem": Failure.of(error).text})


def _card(fingerprint: str, party: Party) -> ContactCard | None:
    if fingerprint == party.identity.fingerprint:
        return party.identity.card
    contact = party.home.contacts.find(fingerprint)
    return contact.card if contact else None


def _name(fingerprint: str, party: Party) -> str:
    card = _card(fingerprint, party)
    return card.name if card else short_fingerprint(fingerprint)


def _names(fingerprints: tuple[str, ...], party: Party) -> tuple[str, ...]:
    return tuple(_name(fingerprint, party) for fingerprint in fingerprints)
