"""Who takes part in a study: requests of sites, lists of the mapping server."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from napari_ppcmi._protocol.joining import (
    ComparedCard,
    LetIn,
    LookAtMembership,
    MembershipInfo,
    ReadJoinRequest,
    ReadMembershipList,
    RenewList,
    TakeOut,
    TakeOver,
    WriteJoinRequest,
)
from napari_ppcmi._protocol.keys import IdentityInfo
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.tasks.keys import card_info, identity_info
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.errors import ContactError, InputFileError, KeyFileError
from ppcmi_sf.home import Home
from ppcmi_sf.membership import LIST_SUFFIX, REQUEST_SUFFIX, MembershipList
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows import joining


def look_at_membership(_desk: Desk, request: LookAtMembership) -> MembershipInfo:
    """The newest list of a study; without any passphrase."""
    study, home = StudySpec.load(request.study_file), Home(request.home)
    listed = home.memberships.newest(study.fingerprint) if home.has_registry else None
    if listed is None:
        return MembershipInfo(study=study.name)
    return _info(study, listed, home)


def write_join_request(desk: Desk, request: WriteJoinRequest) -> IdentityInfo:
    """Ask to take part in a study."""
    party, study = desk.require_party(), StudySpec.load(request.study_file)
    _require_replaceable(request.file, REQUEST_SUFFIX)
    joining.write_request(party, study, request.file)
    return identity_info(party.identity.card, "Your identity")


def read_join_request(desk: Desk, request: ReadJoinRequest) -> ComparedCard:
    """Who asks to take part."""
    study = StudySpec.load(request.study_file)
    card = joining.read_request(request.file, study)
    return _compared(desk.require_party().home, card)


def let_in(desk: Desk, request: LetIn) -> MembershipInfo:
    """Take in the very site whose card was compared."""
    party, study = desk.require_party(), StudySpec.load(request.study_file)
    card = joining.read_request(request.file, study)
    _require_compared(card, request.fingerprint, request.file)
    _require_replaceable(request.out, LIST_SUFFIX)
    return _info(study, joining.let_in(party, study, card, request.out), party.home)


def take_out(desk: Desk, request: TakeOut) -> MembershipInfo:
    """Take a site out."""
    party, study = desk.require_party(), StudySpec.load(request.study_file)
    _require_replaceable(request.out, LIST_SUFFIX)
    listed = joining.remove_member(party, study, request.name, request.out)
    return _info(study, listed, party.home)


def renew_list(desk: Desk, request: RenewList) -> MembershipInfo:
    """Later dates and the newest cards."""
    party, study = desk.require_party(), StudySpec.load(request.study_file)
    _require_replaceable(request.out, LIST_SUFFIX)
    listed = joining.renew_list(party, study, request.out, at_least=request.at_least)
    return _info(study, listed, party.home)


def read_membership_list(_desk: Desk, request: ReadMembershipList) -> ComparedCard:
    """Whose list it is."""
    study, home = StudySpec.load(request.study_file), Home(request.home)
    listed = joining.read_list(request.file, study)
    if home.has_registry:
        joining.require_same_server(home, listed)
    return _compared(home, listed.server_card)


def take_over(_desk: Desk, request: TakeOver) -> MembershipInfo:
    """Take over the list of the very server whose card was compared."""
    study, home = StudySpec.load(request.study_file), Home(request.home)
    listed = joining.read_list(request.file, study)
    _require_compared(listed.server_card, request.fingerprint, request.file)
    home.card()  # a site without an identity takes part in nothing
    joining.take_over(home, listed)
    return _info(study, listed, home)


def _require_compared(card: ContactCard, fingerprint: str, file: Path) -> None:
    if card.fingerprint != fingerprint:
        raise ContactError(
            f"{file}: the file was changed since its words were compared.",
            hint="Do not use it. Ask the sender for it again.",
        )


def _require_replaceable(file: Path, suffix: str) -> None:
    """A file of its kind may be written again; anything else (a key, say) is never replaced."""
    if file.suffix != suffix and file.exists():
        raise InputFileError(
            file, "there is a file of another kind already.", hint="Choose another name."
        )


def _compared(home: Home, card: ContactCard) -> ComparedCard:
    return ComparedCard(
        card=card_info(card), known=home.has_registry and joining.is_known(home, card)
    )


def _info(study: StudySpec, listed: MembershipList, home: Home) -> MembershipInfo:
    own, server = "", listed.server_card
    with suppress(KeyFileError):  # there may be no identity yet
        own = home.card().fingerprint
    return MembershipInfo(
        study=study.name,
        serial=listed.serial,
        expires=listed.expires,
        server=card_info(server),
        members=tuple(card_info(one) for one in listed.cards),
        is_ours=server.fingerprint == own,
        is_member=own in listed.fingerprints,
    )
