"""A server's membership lists, when two windows are at it, or the disk is not."""

import threading

import pytest

from ppcmi_sf.errors import ContactError, ResourceError
from ppcmi_sf.home import Home, Party
from ppcmi_sf.identity import Identity
from ppcmi_sf.membership import MembershipList
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.workflows.joining import let_in, remove_member, renew_list

SPEC = StudySpec(name="lists", modality="US", classes=make_classes(["head"]))


@pytest.fixture
def party(tmp_path):
    return Party(Home(tmp_path / "home"), Identity.generate("server"))


def members(party):
    listed = party.home.memberships.newest(SPEC.fingerprint)
    return [card.name for card in listed.cards]


def test_two_windows_that_let_sites_in_at_once_lose_none(party, tmp_path):
    cards = [Identity.generate(f"site{number:02d}").card for number in range(24)]
    gate, errors = threading.Barrier(2), []

    def let_in_every_second(first):
        gate.wait()
        for card in cards[first::2]:
            try:
                let_in(party, SPEC, card, tmp_path / f"{first}.ppcmimembers")
            except ContactError as error:
                errors.append(error)

    windows = [threading.Thread(target=let_in_every_second, args=(first,)) for first in (0, 1)]
    for window in windows:
        window.start()
    for window in windows:
        window.join()
    assert not errors
    assert members(party) == [card.name for card in cards]
    assert party.home.memberships.newest(SPEC.fingerprint).serial == len(cards)


def test_a_site_that_is_taken_out_does_not_come_back_while_others_are_let_in(party, tmp_path):
    north, *others = [Identity.generate(name).card for name in ("north", *"abcdefgh")]
    let_in(party, SPEC, north, tmp_path / "list")
    gate = threading.Barrier(2)

    def take_out():
        gate.wait()
        remove_member(party, SPEC, "north", tmp_path / "removed")

    window = threading.Thread(target=take_out)
    window.start()
    gate.wait()
    for card in others:
        let_in(party, SPEC, card, tmp_path / "list")
    window.join()
    assert members(party) == list("abcdefgh")


@pytest.mark.parametrize("change", ["let_in", "remove", "renew"])
def test_a_list_that_cannot_be_written_is_not_issued_and_the_same_command_works_later(
    party, tmp_path, change
):
    north, south = (Identity.generate(name).card for name in ("north", "south"))
    let_in(party, SPEC, north, tmp_path / "list")
    again = {
        "let_in": lambda out: let_in(party, SPEC, south, out),
        "remove": lambda out: remove_member(party, SPEC, "north", out),
        "renew": lambda out: renew_list(party, SPEC, out),
    }[change]
    folder = tmp_path / "in the way"
    folder.mkdir()
    with pytest.raises(ResourceError, match="in the way: the file could not be written"):
        again(folder)
    assert members(party) == ["north"]
    assert [entry.event for entry in party.home.log.entries()].count("membership issued") == 1
    out = tmp_path / "list"
    assert again(out).serial == 2
    assert MembershipList.load(out) == party.home.memberships.newest(SPEC.fingerprint)
    now = {"let_in": ["north", "south"], "remove": [], "renew": ["north"]}
    assert members(party) == now[change]
