"""Joining a study: the site's request, the mapping server's list of who takes part."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from napari_ppcmi._protocol.keys import IdentityInfo
from napari_ppcmi._protocol.message import Answer, Request


class MembershipInfo(Answer):
    """Who takes part in a study.

    Attributes
    ----------
    serial
        Number of the list; 0 when there is none here yet.
    is_ours
        This party is the mapping server, and wrote the list.
    is_member
        This party's card is in the list.
    """

    study: str
    serial: int = 0
    expires: str = ""
    server: IdentityInfo | None = None
    members: tuple[IdentityInfo, ...] = ()
    is_ours: bool = False
    is_member: bool = False


class ComparedCard(Answer):
    """Whose file it is. ``known``: its fingerprint was compared before, and need not be again."""

    card: IdentityInfo
    known: bool


class LookAtMembership(Request):
    """The newest list of a study. Answer: :class:`MembershipInfo`."""

    quick: ClassVar[bool] = True

    home: Path
    study_file: Path


class WriteJoinRequest(Request):
    """At a site: ask to take part. Answer: :class:`~.keys.IdentityInfo`, one's own."""

    quick: ClassVar[bool] = True

    study_file: Path
    file: Path


class ReadJoinRequest(Request):
    """At the mapping server: who asks to take part. Answer: :class:`ComparedCard`."""

    quick: ClassVar[bool] = True

    study_file: Path
    file: Path


class LetIn(Request):
    """At the mapping server: take in who asks, and write the list. Answer: MembershipInfo.

    Attributes
    ----------
    fingerprint
        Of the card that was compared: the file may have changed since.
    """

    quick: ClassVar[bool] = True

    study_file: Path
    file: Path
    fingerprint: str
    out: Path


class TakeOut(Request):
    """At the mapping server: take a site out, and write the list. Answer: MembershipInfo."""

    quick: ClassVar[bool] = True

    study_file: Path
    name: str
    out: Path


class RenewList(Request):
    """At the mapping server: later dates and newest cards. Answer: :class:`MembershipInfo`.

    Attributes
    ----------
    at_least
        The list gets this number or a higher one.
    """

    quick: ClassVar[bool] = True

    study_file: Path
    out: Path
    at_least: int = 1


class ReadMembershipList(Request):
    """At a site: whose list it is. Answer: :class:`ComparedCard`, the server's."""

    quick: ClassVar[bool] = True

    home: Path
    study_file: Path
    file: Path


class TakeOver(Request):
    """At a site: take over the server's list. Answer: :class:`MembershipInfo`.

    Attributes
    ----------
    fingerprint
        Of the server's card that was compared.
    """

    quick: ClassVar[bool] = True

    home: Path
    study_file: Path
    file: Path
    fingerprint: str
