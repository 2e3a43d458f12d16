"""Joining a study: a site's request, the mapping server's list, and the site that takes it over.

Whose card has to be compared by a person is told here; the comparing is up to who calls.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ppcmi_sf.cards import ContactCard
from ppcmi_sf.errors import ContactError
from ppcmi_sf.home import Home, Party
from ppcmi_sf.membership import MAX_ASKED_SERIAL, MAX_SERIAL, JoinRequest, MembershipList
from ppcmi_sf.study import StudySpec

Members = list[ContactCard]


def write_request(party: Party, study: StudySpec, file: Path) -> None:
    """At a site: write the request to take part in a study.

    Raises
    ------
    KeyFileError
        The identity has expired.
    ResourceError
        The file cannot be written.
    """
    JoinRequest.make(party.identity, study.fingerprint).save(file)


def read_request(file: Path, study: StudySpec) -> ContactCard:
    """At the mapping server: the card of the site that asks to take part.

    Raises
    ------
    ContactError, InputFileError, StudyError
        It cannot be read, is damaged, changed or no request, or is of another study.
    """
    asked = JoinRequest.load(file)
    study.require(asked.study, f"The join request {file}")
    return asked.site


def read_list(file: Path, study: StudySpec) -> MembershipList:
    """At a site: the list that came from the mapping server.

    Raises
    ------
    ContactError, InputFileError, StudyError
        It cannot be read, is damaged, changed or no list, or is of another study.
    """
    listed = MembershipList.load(file)
    study.require(listed.study, f"The membership list {file}")
    return listed


def is_known(home: Home, card: ContactCard) -> bool:
    """Whether somebody has compared this party's fingerprint before."""
    return home.contacts.find(card.fingerprint) is not None


def let_in(party: Party, study: StudySpec, card: ContactCard, out: Path) -> MembershipList:
    """At the mapping server: take in a site whose card was compared, and write the new list.

    Raises
    ------
    ContactError
        Another contact has that name, or the site was revoked.
    PPCMIError
        See :func:`renew_list`.
    """
    party.home.contacts.meet(card)
    newest = _newest_card(party.home, card)

    def with_it(members: Members) -> Members:
        return [*(one for one in members if one.fingerprint != card.fingerprint), newest]

    return _issue(party, study, with_it, out)


def remove_member(party: Party, study: StudySpec, name: str, out: Path) -> MembershipList:
    """At the mapping server: take a site out, and write the new list.

    Raises
    ------
    ContactError
        It does not take part.
    PPCMIError
        See :func:`renew_list`.
    """

    def without_it(members: Members) -> Members:
        kept = [card for card in members if card.name != name]
        if len(kept) == len(members):
            raise ContactError(
                f"'{name}' does not take part in this study.", hint="See 'ppcmi join show'."
            )
        return kept

    return _issue(party, study, without_it, out)


def renew_list(party: Party, study: StudySpec, out: Path, *, at_least: int = 1) -> MembershipList:
    """At the mapping server: write the list anew, with later dates and the newest cards.

    Parameters
    ----------
    at_least
        The list's number is this or a higher one. For a server whose registry was lost: its
        numbers start again at 1, which sites refuse.

    Raises
    ------
    ContactError
        There is no list yet, the number is too high, or the new one is not valid.
    ResourceError
        The file cannot be written.
    """
    if at_least > MAX_ASKED_SERIAL:
        raise ContactError(
            f"The number {at_least} of a membership list is too high: it only rises, and ends at "
            f"{MAX_SERIAL}.",
            hint=f"Give one just above the sites' last one, at most {MAX_ASKED_SERIAL}.",
        )
    if party.home.memberships.newest(study.fingerprint, party.identity.fingerprint) is None:
        raise ContactError(
            "There is no membership list of this study here yet.",
            hint="Let a site in first ('ppcmi join approve').",
        )
    return _issue(party, study, lambda members: members, out, at_least=at_least)


def require_same_server(home: Home, listed: MembershipList) -> None:
    """Refuse a list of another server than the study's: any contact can sign one.

    Raises
    ------
    ContactError
        The study's list came from another server so far.
    """
    known, server = home.memberships.newest(listed.study), listed.server_card
    if known is not None and known.server_card.fingerprint != server.fingerprint:
        before = known.server_card.name
        raise ContactError(
            f"The list of this study came from '{before}' so far, and this one is of another "
            f"identity, '{server.name}'.",
            hint=f"Ask '{before}' over the telephone. If the study has a new mapping server, "
            "say so with --new-server, and compare the words again.",
        )


def take_over(home: Home, listed: MembershipList, *, new_server: bool = False) -> bool:
    """At a site: keep a list whose server was compared; tell whether this site is in it.

    Parameters
    ----------
    new_server
        The study may have another mapping server than so far: a person said so.

    Raises
    ------
    ContactError
        The server is refused or another one than so far, or the list is older than one that
        was seen, or has expired.
    KeyFileError
        There is no identity here.
    """
    own = home.card().fingerprint  # first: nothing is kept in a folder that is nobody's home
    if not new_server:
        require_same_server(home, listed)
    home.contacts.meet(listed.server_card)  # before: where the server is refused, its list is, too
    home.memberships.keep(listed, issued=False)
    return own in listed.fingerprints


def _newest_card(home: Home, card: ContactCard) -> ContactCard:
    known = home.contacts.find(card.fingerprint)
    return card if known is None else known.card


def _issue(
    party: Party,
    study: StudySpec,
    change: Callable[[Members], Members],
    out: Path,
    *,
    at_least: int = 1,
) -> MembershipList:
    """Issue a list whose sites are those of the one before, changed.

    Each card is the newest that the contact book has.
    """

    def make(before: MembershipList | None) -> MembershipList:
        cards = before.cards if before else []
        members = change([_newest_card(party.home, card) for card in cards])
        serial = max(at_least, before.serial + 1 if before else 1)
        return MembershipList.make(party.identity, study.fingerprint, members, serial)

    return party.home.memberships.issue(
        study.fingerprint, party.identity.fingerprint, make, lambda listed: listed.save(out)
    )
