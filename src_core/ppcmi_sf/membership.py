"""Joining a study: one file from the site to the mapping server, one back.

A *join request* is a site's card and the study, signed by the site. The *membership
list* holds the cards of all sites of a study, signed by the server, with a serial number that
only rises: whoever has seen a newer list refuses an older one, so that a site that was
removed cannot come back by an old file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ppcmi_sf import strictjson
from ppcmi_sf.cards import ContactCard, Fingerprint, plain_reason, signed_message
from ppcmi_sf.dates import Validity, valid_from_today
from ppcmi_sf.errors import ContactError
from ppcmi_sf.files import write_bytes
from ppcmi_sf.identity import Identity
from ppcmi_sf.received import read_received

REQUEST_SUFFIX = ".ppcmijoin"
LIST_SUFFIX = ".ppcmimembers"
MAX_MEMBERS = 256
MAX_LIST_BYTES = 256 * 1024
MAX_REQUEST_BYTES = 8192
LIST_DAYS = 365
MAX_SERIAL = 10**9
MAX_ASKED_SERIAL = 10**6  # by a person: enough are left for the changes of a lifetime

_Signature = Annotated[str, Field(pattern=r"^[0-9a-f]{128}$")]


class JoinRequest(BaseModel):
    """A site asks to take part in a study."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal["ppcmi-join-request"] = "ppcmi-join-request"
    version: Literal[1] = 1
    study: Fingerprint
    card: dict[str, Any]
    signature: _Signature

    @property
    def site(self) -> ContactCard:
        """The site's card."""
        return ContactCard.from_fields(self.card)

    @classmethod
    def make(cls, identity: Identity, study: str) -> JoinRequest:
        """Sign a request.

        Raises
        ------
        KeyFileError
            The identity has expired.
        """
        identity.require_current()
        fields: dict[str, Any] = {
            "format": "ppcmi-join-request",
            "version": 1,
            "study": study,
            "card": identity.card.model_dump(),
        }
        signature = identity.sign(signed_message("join-request", fields)).hex()
        return cls.model_validate(fields | {"signature": signature})

    def save(self, path: Path) -> None:
        """Write the request (atomically)."""
        write_bytes(Path(path), strictjson.dumps(self.model_dump()) + b"\n")

    @classmethod
    def load(cls, path: Path) -> JoinRequest:
        """Read a request, and check card and signature.

        Raises
        ------
        ContactError
            It is damaged, changed, or no request.
        InputFileError
            The file cannot be read.
        """
        data = read_received(Path(path), MAX_REQUEST_BYTES, "join request")
        try:
            fields = strictjson.loads(data.removesuffix(b"\n"), limit=MAX_REQUEST_BYTES)
            request = strictjson.read_as(cls, fields)
            message = signed_message("join-request", fields)
            if not request.site.verify(message, bytes.fromhex(request.signature)):
                raise ValueError("its signature is not the site's")
        except ValueError as error:
            raise _refused(path, "join request", error) from None
        return request


class MembershipList(BaseModel):
    """Who takes part in a study, by its mapping server.

    Attributes
    ----------
    serial
        Rises with every change.
    server, members
        Fields of contact cards.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    format: Literal["ppcmi-membership"] = "ppcmi-membership"
    version: Literal[1] = 1
    study: Fingerprint
    serial: Annotated[int, Field(ge=1, le=MAX_SERIAL)]
    created: str
    expires: str
    server: dict[str, Any]
    members: Annotated[tuple[dict[str, Any], ...], Field(max_length=MAX_MEMBERS, strict=False)]
    signature: _Signature

    @property
    def server_card(self) -> ContactCard:
        """The mapping server's card."""
        return ContactCard.from_fields(self.server)

    @property
    def cards(self) -> list[ContactCard]:
        """The sites' cards."""
        return [ContactCard.from_fields(fields) for fields in self.members]

    @property
    def fingerprints(self) -> set[str]:
        """Fingerprints of the sites."""
        return {str(fields["fingerprint"]) for fields in self.members}

    @property
    def validity(self) -> Validity:
        """From when to when the list is valid."""
        return Validity.parse(self.created, self.expires)

    @classmethod
    def make(
        cls,
        server: Identity,
        study: str,
        members: Sequence[ContactCard],
        serial: int,
        validity: Validity | None = None,
    ) -> MembershipList:
        """Sign a list.

        Raises
        ------
        ContactError
            There are more than 256 sites, or two of one name or identity, or the numbers are
            used up.
        KeyFileError
            The server's identity has expired.
        """
        server.require_current()
        if len(members) > MAX_MEMBERS:
            raise ContactError(
                f"A study has at most {MAX_MEMBERS} sites.", hint="Remove some, or divide it."
            )
        if serial > MAX_SERIAL:
            raise ContactError(
                f"The membership lists of this study have used all numbers up to {MAX_SERIAL}.",
                hint="Agree on a study of another name, and let the sites join that.",
            )
        for names in ([c.name for c in members], [c.fingerprint for c in members]):
            if len(set(names)) != len(names):
                raise ContactError(
                    "Two sites of the list have one name or one identity.",
                    hint="Remove one of them ('ppcmi join remove').",
                )
        span = validity or valid_from_today(days=LIST_DAYS)
        ordered = sorted(members, key=lambda card: card.name)
        fields: dict[str, Any] = {
            "format": "ppcmi-membership",
            "version": 1,
            "study": study,
            "serial": serial,
            "created": span.created.isoformat(),
            "expires": span.expires.isoformat(),
            "server": server.card.model_dump(),
            "members": [card.model_dump() for card in ordered],
        }
        fields["signature"] = server.sign(signed_message("membership", fields)).hex()
        return cls.model_validate(fields)

    def to_bytes(self) -> bytes:
        """The list as it is written to a file."""
        return strictjson.dumps(self.model_dump(mode="json")) + b"\n"

    def save(self, path: Path) -> None:
        """Write the list (atomically)."""
        write_bytes(Path(path), self.to_bytes())

    @classmethod
    def load(cls, path: Path) -> MembershipList:
        """Read a list, and check all cards and the server's signature.

        Raises
        ------
        ContactError
            It is damaged, changed, or no list.
        InputFileError
            The file cannot be read.
        """
        data = read_received(Path(path), MAX_LIST_BYTES, "membership list")
        try:
            return cls.from_bytes(data)
        except ValueError as error:
            raise _refused(path, "membership list", error) from None

    @classmethod
    def from_bytes(cls, data: bytes) -> MembershipList:
        """Check what :meth:`to_bytes` made.

        Raises
        ------
        ValueError
            Something is wrong with it.
        """
        fields = strictjson.loads(data.removesuffix(b"\n"), limit=MAX_LIST_BYTES)
        listed = strictjson.read_as(cls, fields)
        listed.validity  # noqa: B018 - parsing is the check
        names = [card.name for card in listed.cards]
        if len({*names}) != len(names) or len(listed.fingerprints) != len(names):
            raise ValueError("a site is there twice")
        if names != sorted(names):
            raise ValueError("its sites are not in the order of their names")
        message = signed_message("membership", fields)
        if not listed.server_card.verify(message, bytes.fromhex(listed.signature)):
            raise ValueError("its signature is not the server's")
        return listed


def _refused(path: Path, noun: str, error: ValueError) -> ContactError:
    return ContactError(
        f"{path}: not a valid {noun} ({plain_reason(error)}).",
        hint="Ask the sender for the file again.",
    )
