"""Joining a study: requests and membership lists, and that an old list never comes back."""

import traceback
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ppcmi_sf import strictjson
from ppcmi_sf.cards import signed_message
from ppcmi_sf.dates import Validity, utc_today
from ppcmi_sf.errors import (
    ContactError,
    InputFileError,
    KeyFileError,
    PPCMIError,
    ResourceError,
    UntrustedSenderError,
)
from ppcmi_sf.identity import Identity
from ppcmi_sf.membership import (
    MAX_LIST_BYTES,
    MAX_MEMBERS,
    MAX_REQUEST_BYTES,
    JoinRequest,
    MembershipList,
)
from ppcmi_sf.registry import Database, DisclosureLog, Memberships

STUDY, OTHER_STUDY = "ab" * 32, "cd" * 32
NORTH, SOUTH, WEST, SERVER, OTHER = (
    Identity.generate(name) for name in ("north", "south", "west", "server", "other")
)
SITES = [NORTH.card, SOUTH.card, WEST.card]
PAST = Validity(date(2020, 1, 1), date(2021, 1, 1))
YESTERDAY = utc_today() - timedelta(1)


def issue(members=SITES, serial=1, server=SERVER, study=STUDY, validity=None) -> MembershipList:
    return MembershipList.make(server, study, members, serial, validity)


def signed_list(signer=SERVER, drop=(), **changes) -> bytes:
    """A list with fields changed, and then signed."""
    fields = issue().model_dump(mode="json") | changes
    fields = {name: value for name, value in fields.items() if name not in {"signature", *drop}}
    signature = signer.sign(signed_message("membership", fields)).hex()
    return strictjson.dumps(fields | {"signature": signature})


def signed_request(signer=NORTH, drop=(), **changes) -> bytes:
    """A request with fields changed, and then signed."""
    fields = JoinRequest.make(NORTH, STUDY).model_dump() | changes
    fields = {name: value for name, value in fields.items() if name not in {"signature", *drop}}
    signature = signer.sign(signed_message("join-request", fields)).hex()
    return strictjson.dumps(fields | {"signature": signature})


def told(error: BaseException) -> str:
    """Everything that an error shows to anybody."""
    return "".join(traceback.format_exception(error)) + f"{error!r}{error}"


def refused(kind, path, data: bytes, error=ContactError) -> PPCMIError:
    path.write_bytes(data)
    with pytest.raises(PPCMIError) as caught:
        kind.load(path)
    assert type(caught.value) is error
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert "Jane" not in told(caught.value)
    return caught.value


@pytest.fixture
def memberships(tmp_path):
    return Memberships(Database(tmp_path / "registry.sqlite"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """For tests that write a file very often."""
    return tmp_path_factory.mktemp("membership")


def test_a_request_holds_the_card_and_the_study_and_comes_back(tmp_path):
    request = JoinRequest.make(NORTH, STUDY)
    request.save(tmp_path / "north.ppcmijoin")
    found = JoinRequest.load(tmp_path / "north.ppcmijoin")
    assert found == request
    assert (found.site, found.study) == (NORTH.card, STUDY)
    assert set(found.model_dump()) == {"format", "version", "study", "card", "signature"}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "ppcmi-membership"},
        {"version": 2},
        {"study": OTHER_STUDY},
        {"card": SOUTH.card.model_dump()},
        {"card": NORTH.card.model_dump() | {"name": "nOrth"}},
        {"card": NORTH.card.model_dump() | {"expires": "2030-01-01"}},
        {"card": {}},
        {"card": "north"},
        {"signature": JoinRequest.make(SOUTH, STUDY).signature},
        {"signature": JoinRequest.make(NORTH, OTHER_STUDY).signature},
        {"signature": NORTH.card.signature},
        {"signature": ""},
        {"patient": "Jane"},
    ],
)
def test_a_request_with_a_changed_field_is_refused(change, tmp_path):
    fields = JoinRequest.make(NORTH, STUDY).model_dump()
    refused(JoinRequest, tmp_path / "request", strictjson.dumps(fields | change))
    for field in change:
        if field in fields:
            kept = {name: value for name, value in fields.items() if name != field}
            refused(JoinRequest, tmp_path / "request", strictjson.dumps(kept))


def test_a_request_that_another_signed_or_that_is_no_request_is_refused(tmp_path):
    for data in (
        signed_request(signer=SOUTH),
        signed_request(study="ab"),
        signed_request(study="Jane Doe"),
        signed_request(patient="Jane"),
        signed_request(version="1"),
        NORTH.card.to_bytes(),
        b"",
        b"\x80\x04.",
        b"[" * 5000,
    ):
        refused(JoinRequest, tmp_path / "request", data)
    too_large = b" " * (MAX_REQUEST_BYTES + 1)
    refused(JoinRequest, tmp_path / "request", too_large, InputFileError)


def test_a_list_comes_back_with_every_card_as_it_was(tmp_path):
    listed = issue(SITES[::-1], serial=7)
    listed.save(tmp_path / "study.ppcmimembers")
    found = MembershipList.load(tmp_path / "study.ppcmimembers")
    assert found == listed
    assert (found.study, found.serial, found.server_card) == (STUDY, 7, SERVER.card)
    assert found.cards == SITES  # by name
    assert found.fingerprints == {card.fingerprint for card in SITES}
    assert found.validity == Validity(utc_today(), utc_today() + timedelta(365))


def test_a_list_may_be_empty_or_full_and_not_fuller(tmp_path):
    crowd = [Identity.generate(f"{number:03d}-{'x' * 36}").card for number in range(MAX_MEMBERS)]
    for members in ([], crowd):
        issue(members).save(tmp_path / "list")
        assert len(MembershipList.load(tmp_path / "list").members) == len(members)
    assert (tmp_path / "list").stat().st_size < MAX_LIST_BYTES
    with pytest.raises(ContactError, match="at most 256 sites"):
        issue([*crowd, NORTH.card])
    everyone = [card.model_dump() for card in [*crowd, NORTH.card]]
    refused(MembershipList, tmp_path / "list", signed_list(members=everyone))


def test_adding_renewing_or_removing_one_site_leaves_the_others_byte_for_byte():
    def spelled(listed):
        return {fields["name"]: strictjson.dumps(fields) for fields in listed.members}

    before = spelled(issue([NORTH.card, SOUTH.card], serial=1))
    added = spelled(issue([WEST.card, NORTH.card, SOUTH.card], serial=2))
    renewed = spelled(issue([WEST.renew(PAST).card, SOUTH.card, NORTH.card], serial=3))
    removed = spelled(issue([SOUTH.card, NORTH.card], serial=4))
    assert set(added) == set(renewed) == {"north", "south", "west"}
    assert added["west"] != renewed["west"]
    assert before == removed
    for name in ("north", "south"):
        assert before[name] == added[name] == renewed[name] == removed[name]
    assert before["north"] == NORTH.card.to_bytes().rstrip(b"\n")


CHANGES = [
    {"format": "ppcmi-join-request"},
    {"version": 2},
    {"study": OTHER_STUDY},
    {"serial": 2},
    {"created": YESTERDAY.isoformat()},
    {"expires": (utc_today() + timedelta(3000)).isoformat()},
    {"server": OTHER.card.model_dump()},
    {"server": SERVER.renew(PAST).card.model_dump()},
    {"members": []},
    {"members": [NORTH.card.model_dump(), SOUTH.card.model_dump()]},
    {"members": [card.model_dump() for card in SITES[::-1]]},
    {"members": [card.model_dump() for card in [*SITES, OTHER.card]]},
    {"signature": issue(serial=2).signature},
    {"signature": SERVER.card.signature},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_a_list_with_a_changed_or_missing_field_is_refused(change, tmp_path):
    assert {name for item in CHANGES for name in item} == set(MembershipList.model_fields)
    fields = issue().model_dump(mode="json")
    refused(MembershipList, tmp_path / "list", strictjson.dumps(fields | change))
    kept = {name: value for name, value in fields.items() if name not in change}
    refused(MembershipList, tmp_path / "list", strictjson.dumps(kept))


def test_a_server_cannot_put_in_a_card_that_the_site_did_not_sign(tmp_path):
    for field, value in (
        ("name", "sOuth"),
        ("expires", "2031-01-01"),
        ("encrypt_key", OTHER.card.encrypt_key),
        ("email", "jane@hospital.example"),
    ):
        member = SOUTH.card.model_dump() | {field: value}
        data = signed_list(members=[NORTH.card.model_dump(), member])
        refused(MembershipList, tmp_path / "list", data)


def test_a_member_that_is_there_twice_is_refused(tmp_path):
    for members in ([NORTH.card] * 2, [NORTH.card, SOUTH.card, NORTH.renew(PAST).card]):
        data = signed_list(members=[card.model_dump() for card in members])
        error = refused(MembershipList, tmp_path / "list", data)
        assert "a site is there twice" in error.message


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([NORTH.card, Identity.generate("north").card, WEST.card], "there twice"),
        ([SOUTH.card, NORTH.card], "not in the order of their names"),
    ],
)
def test_a_well_signed_list_has_each_name_once_and_by_name(members, words, tmp_path):
    data = signed_list(members=[card.model_dump() for card in members])
    assert words in refused(MembershipList, tmp_path / "list", data).message


def test_after_the_last_number_it_is_told_in_words():
    assert issue(serial=10**9).serial == 10**9
    with pytest.raises(ContactError, match="used all numbers") as caught:
        issue(serial=10**9 + 1)
    assert caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"serial": 0},
        {"serial": -1},
        {"serial": 10**9 + 1},
        {"serial": "1"},
        {"serial": True},
        {"study": "ab"},
        {"created": "2026-1-1"},
        {"created": "2020-01-01"},
        {"expires": "2020-01-01"},
        {"members": {}},
        {"members": "north"},
        {"members": [[]]},
        {"members": [{}]},
        {"server": {}},
        {"patient": "Jane"},
    ],
)
def test_what_a_list_may_not_hold_is_refused_though_well_signed(change, tmp_path):
    long_ago = change if "created" not in change else change | {"expires": "2034-01-01"}
    refused(MembershipList, tmp_path / "list", signed_list(**long_ago))


@pytest.mark.parametrize("how", [{"version": True}, {"drop": ["version"]}, {"drop": ["format"]}])
def test_what_would_be_written_otherwise_than_it_was_signed_is_refused(how, tmp_path):
    refused(MembershipList, tmp_path / "list", signed_list(**how))
    refused(JoinRequest, tmp_path / "request", signed_request(**how))


def test_a_list_that_another_signed_is_refused(tmp_path):
    error = refused(MembershipList, tmp_path / "list", signed_list(signer=OTHER))
    assert "its signature is not the server's" in error.message


def test_files_cut_short_anywhere_are_refused(tmp_path):
    listed, request = issue([NORTH.card]).to_bytes(), signed_request()
    for kind, whole in ((MembershipList, listed[:-1]), (JoinRequest, request)):
        for length in range(0, len(whole), 3):
            refused(kind, tmp_path / "file", whole[:length])
        for tail in (b"x", b" ", b"\x00", b"{}", b"\xff"):
            refused(kind, tmp_path / "file", whole + tail)
            refused(kind, tmp_path / "file", tail + whole)
    refused(MembershipList, tmp_path / "file", b"\n" * (MAX_LIST_BYTES + 1), InputFileError)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), kind=st.sampled_from([MembershipList, JoinRequest]))
def test_no_flipped_bit_passes_or_leaves_as_another_error(folder, data, kind):
    whole = bytearray(issue().to_bytes()[:-1] if kind is MembershipList else signed_request())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    refused(kind, folder / "flipped", bytes(whole))


def test_an_expired_server_issues_no_list():
    with pytest.raises(KeyFileError, match="signs nothing now"):
        issue(server=Identity.generate("server", PAST))


def test_a_list_that_nobody_could_load_is_not_signed():
    with pytest.raises(PPCMIError):
        issue([NORTH.card, NORTH.renew(PAST).card])


def test_the_newest_list_is_kept_and_an_older_one_refused_for_ever(memberships):
    assert memberships.newest(STUDY) is None
    for serial in (3, 4, 9):
        memberships.keep(issue(serial=serial), issued=False)
        assert memberships.newest(STUDY).serial == serial
    for serial in (1, 8):
        with pytest.raises(ContactError, match=f"number {serial}; number 9 was seen") as caught:
            memberships.keep(issue([NORTH.card], serial=serial), issued=False)
        assert "current list" in caught.value.hint
    assert memberships.newest(STUDY, SERVER.fingerprint) == issue(serial=9)


def test_the_same_list_may_come_again_but_not_another_of_its_number(memberships):
    memberships.keep(issue(serial=2), issued=False)
    memberships.keep(issue(serial=2), issued=False)
    with pytest.raises(ContactError, match="number 2 was seen before"):
        memberships.keep(issue([NORTH.card], serial=2), issued=False)
    assert memberships.newest(STUDY).fingerprints == issue().fingerprints


def test_the_number_is_remembered_over_a_renewed_server_card_and_a_restart(memberships, tmp_path):
    memberships.keep(issue(serial=5), issued=False)
    again = Memberships(Database(tmp_path / "registry.sqlite"))
    with pytest.raises(ContactError, match="number 5 was seen before"):
        again.keep(issue(serial=4, server=SERVER.renew()), issued=False)


def test_studies_and_servers_count_apart(memberships):
    memberships.keep(issue(serial=9), issued=False)
    memberships.keep(issue(serial=1, study=OTHER_STUDY), issued=False)
    memberships.keep(issue([NORTH.card], serial=1, server=OTHER), issued=False)
    assert memberships.newest(OTHER_STUDY).serial == 1
    assert memberships.newest(STUDY, SERVER.fingerprint).serial == 9
    assert memberships.newest(STUDY, OTHER.fingerprint).serial == 1
    assert memberships.newest(STUDY, NORTH.fingerprint) is None


@pytest.mark.parametrize(
    "validity", [PAST, Validity(utc_today() + timedelta(2), utc_today() + timedelta(9))]
)
def test_a_list_that_is_not_valid_today_is_refused(validity, memberships):
    with pytest.raises(ContactError, match="This membership list is valid from") as caught:
        memberships.keep(issue(validity=validity), issued=False)
    assert "date" in caught.value.hint
    assert memberships.newest(STUDY) is None


def test_a_list_of_the_first_day_of_the_calendar_leaves_as_an_error_of_this_program(memberships):
    with pytest.raises(ContactError):
        memberships.keep(issue(validity=Validity(date.min, date.min)), issued=False)


def test_keeping_a_list_is_in_the_log(memberships, tmp_path):
    memberships.keep(issue(), issued=False)
    memberships.keep(issue(serial=2), issued=True)
    entries = DisclosureLog(Database(tmp_path / "registry.sqlite")).entries()
    assert [entry.event for entry in entries] == ["membership accepted", "membership issued"]
    for entry in entries:
        assert (entry.study, entry.peers, entry.items) == (STUDY, (SERVER.fingerprint,), 3)


def test_a_sender_that_the_list_does_not_name_is_refused(memberships):
    arguments = STUDY, SERVER.fingerprint
    memberships.require_member(*arguments, WEST.fingerprint, "west")  # there is no list
    memberships.keep(issue(), issued=True)
    memberships.require_member(*arguments, WEST.fingerprint, "west")
    memberships.require_member(OTHER_STUDY, SERVER.fingerprint, OTHER.fingerprint, "other")
    memberships.keep(issue([NORTH.card, SOUTH.card], serial=2), issued=True)
    with pytest.raises(UntrustedSenderError, match="'west' does not take part") as caught:
        memberships.require_member(*arguments, WEST.fingerprint, "west")
    assert "ppcmi join approve" in caught.value.hint


def test_a_list_that_was_changed_in_the_registry_is_told(memberships, tmp_path):
    memberships.keep(issue(), issued=False)
    with Database(tmp_path / "registry.sqlite").transaction() as connection:
        connection.execute("UPDATE memberships SET list = replace(list, 'west', 'east')")
    with pytest.raises(ResourceError, match="a membership list in the registry is damaged"):
        memberships.newest(STUDY)
