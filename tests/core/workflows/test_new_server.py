"""A study's list comes from one server, until a person says that the study has another."""

import pytest
from pydantic import SecretStr

from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.errors import ContactError
from ppcmi_sf.home import Home, Party
from ppcmi_sf.identity import Identity
from ppcmi_sf.membership import MembershipList
from ppcmi_sf.secretfile import KdfCost
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.workflows.joining import let_in, renew_list, take_over

STUDY = "ab" * 32
FIRST, SECOND, NORTH = (Identity.generate(name) for name in ("first", "second", "north"))


def issue(server, serial=1):
    return MembershipList.make(server, STUDY, [NORTH.card], serial)


@pytest.fixture
def north(tmp_path, monkeypatch):
    """A site that knows both, and has the list of the first."""
    monkeypatch.setattr("ppcmi_sf.secretfile.DEFAULT_COST", KdfCost(memory_kib=8192, iterations=1))
    home = Home(tmp_path / "north")
    NORTH.save(home.identity_file, SecretStr("four random words"))
    home.contacts.add(SECOND.card)
    take_over(home, issue(FIRST, 3))
    return home


def recipients(home):
    return [card.name for card in Credentials(home.root, None).recipients([], STUDY)]


@pytest.mark.parametrize("serial", [1, 3, 9])
def test_any_contact_could_sign_a_list_and_is_refused(north, serial):
    words = r"came from 'first' so far.*another identity, 'second'"
    with pytest.raises(ContactError, match=words) as caught:
        take_over(north, issue(SECOND, serial))
    assert "--new-server" in caught.value.hint
    assert recipients(north) == ["first"]
    assert take_over(north, issue(FIRST, 4))


def test_a_list_of_a_stranger_is_refused_and_the_stranger_no_contact(north):
    with pytest.raises(ContactError, match="so far"):
        take_over(north, issue(Identity.generate("stranger")))
    assert [contact.name for contact in north.contacts.all()] == ["first", "second"]


def test_who_says_so_changes_the_server_and_the_old_one_does_not_come_back_by_itself(north):
    take_over(north, issue(SECOND), new_server=True)
    assert recipients(north) == ["second"]
    for serial in (3, 9):
        with pytest.raises(ContactError, match="came from 'second' so far"):
            take_over(north, issue(FIRST, serial))
    assert recipients(north) == ["second"]
    with pytest.raises(ContactError, match="number 2; number 3 was seen"):
        take_over(north, issue(FIRST, 2), new_server=True)
    assert recipients(north) == ["second"]


def test_a_number_that_would_end_the_list_for_good_is_refused(tmp_path):
    study = StudySpec(name="s", modality="MR", classes=make_classes(["heart"]))
    server, out = Party(Home(tmp_path / "first"), FIRST), tmp_path / "list"
    let_in(server, study, NORTH.card, out)
    with pytest.raises(ContactError, match="too high") as caught:
        renew_list(server, study, out, at_least=10**9)
    assert caught.value.hint
    assert renew_list(server, study, out, at_least=10**6).serial == 10**6
    assert renew_list(server, study, out).serial == 10**6 + 1
