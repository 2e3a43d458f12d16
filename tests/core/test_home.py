"""A party's home folder: where it is, what it holds, and what is said when it is empty."""

import stat
from pathlib import Path

import appdirs
import pytest
from pydantic import SecretStr

from ppcmi_sf.errors import KeyFileError, ResourceError, UntrustedSenderError
from ppcmi_sf.home import VARIABLE, Home, Party, default_home
from ppcmi_sf.identity import Identity

PASSPHRASE = SecretStr("correct horse battery")


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home of north")


def test_the_home_is_the_folder_that_the_variable_names(monkeypatch, tmp_path):
    assert VARIABLE == "PPCMI_HOME"
    monkeypatch.setenv("PPCMI_HOME", str(tmp_path / "elsewhere"))
    assert default_home() == tmp_path / "elsewhere"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("value", [None, ""])
def test_without_the_variable_it_is_the_users_data_folder(value, monkeypatch):
    monkeypatch.delenv("PPCMI_HOME", raising=False)
    if value is not None:
        monkeypatch.setenv("PPCMI_HOME", value)
    assert default_home() == Path(appdirs.user_data_dir("napari-ppcmi", appauthor=False))


def test_the_data_folder_is_where_the_operating_system_says(monkeypatch, tmp_path):
    if not appdirs.system.startswith("linux"):
        pytest.skip("XDG_DATA_HOME is Linux's")
    monkeypatch.delenv("PPCMI_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_home() == tmp_path / "napari-ppcmi"


def test_no_folder_is_made_up_where_the_system_knows_no_user(monkeypatch):
    """Else an identity would be written to wherever the program happens to be started."""
    if not appdirs.system.startswith("linux"):
        pytest.skip("elsewhere the system is asked another way")
    for name in ("PPCMI_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "~")  # what Python leaves there for a user without a name
    with pytest.raises(ResourceError) as told:
        default_home()
    assert "PPCMI_HOME" in told.value.hint


def test_a_home_without_an_identity_says_how_to_make_one(home):
    for action in (home.card, lambda: home.identity(lambda *_: pytest.fail("asked"))):
        with pytest.raises(KeyFileError, match="no identity here yet") as caught:
            action()
        assert str(home.root) in caught.value.message
        assert "ppcmi identity new --name SITE" in caught.value.hint
        assert "--home" in caught.value.hint
    assert not home.root.exists()


def test_a_folder_in_the_identitys_place_is_no_identity(home):
    home.identity_file.mkdir(parents=True)
    with pytest.raises(KeyFileError, match="no identity here yet"):
        home.card()


def test_a_home_that_cannot_be_looked_into_is_told(tmp_path):
    with pytest.raises(KeyFileError):
        Home(tmp_path / ("x" * 300)).card()


def test_an_identity_opens_with_what_is_asked_for_by_name_and_fingerprint(home):
    north = Identity.generate("north")
    north.save(home.identity_file, PASSPHRASE)
    asked = []

    def ask(*what):
        asked.append(what)
        return PASSPHRASE

    assert home.card() == north.card
    assert home.identity(ask) == north
    assert asked == [("identity of 'north'", north.fingerprint)]
    with pytest.raises(KeyFileError, match="the passphrase does not open this identity"):
        home.identity(lambda *_: SecretStr("something else"))


def test_a_damaged_identity_is_told_before_anybody_is_asked(home):
    Identity.generate("north").save(home.identity_file, PASSPHRASE)
    home.identity_file.write_bytes(home.identity_file.read_bytes()[:-40])
    with pytest.raises(KeyFileError, match="damaged"):
        home.identity(lambda *_: pytest.fail("asked"))


def test_contacts_log_and_memberships_are_in_one_private_file(home):
    south = Identity.generate("south")
    home.contacts.add(south.card)
    assert [entry.event for entry in home.log.entries()] == ["contact added"]
    assert home.memberships.newest("ab" * 32) is None
    assert {
        item.name.removesuffix("-wal").removesuffix("-shm") for item in home.root.iterdir()
    } == {"registry.sqlite"}
    for item in home.root.iterdir():
        assert stat.S_IMODE(item.stat().st_mode) == 0o600
    assert [c.name for c in Home(home.root).contacts.all()] == ["south"]


def test_a_home_that_cannot_be_a_folder_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResourceError, match="registry cannot be used"):
        _ = Home(tmp_path / "file").contacts


def test_a_party_trusts_itself_and_its_contacts_alone(home):
    north, south, stranger = (Identity.generate(name) for name in ("north", "south", "east"))
    home.contacts.add(south.card)
    party = Party(home, north)
    assert party.sender(north.fingerprint) == north.card
    assert party.sender(south.fingerprint) == south.card
    with pytest.raises(UntrustedSenderError, match="unknown"):
        party.sender(stranger.fingerprint)
    assert north.sign_secret.hex()[:16] not in repr(party)
