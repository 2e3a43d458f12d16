"""Joining a study as the worker sees it, without a worker process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from napari_ppcmi._protocol.joining import (
    LetIn,
    LookAtMembership,
    ReadJoinRequest,
    ReadMembershipList,
    RenewList,
    TakeOut,
    TakeOver,
    WriteJoinRequest,
)
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.tasks import joining
from ppcmi_sf.errors import ContactError, InputFileError, KeyFileError, StudyError
from ppcmi_sf.home import Home, Party
from ppcmi_sf.identity import Identity
from ppcmi_sf.membership import MembershipList
from ppcmi_sf.secretfile import KdfCost
from ppcmi_sf.study import StudySpec, make_classes

WORDS_COUNT = 12


@dataclass
class Place:
    """A party at its own desk."""

    desk: Desk
    party: Party

    @property
    def home(self) -> Path:
        return self.party.home.root

    @property
    def fingerprint(self) -> str:
        return self.party.identity.fingerprint


@pytest.fixture
def study(tmp_path) -> Path:
    spec = StudySpec(name="hearts", modality="MR", classes=make_classes(["heart"]))
    spec.save(tmp_path / "hearts.yaml")
    return tmp_path / "hearts.yaml"


@pytest.fixture
def sit(tmp_path, monkeypatch):
    monkeypatch.setattr("ppcmi_sf.secretfile.DEFAULT_COST", KdfCost(memory_kib=8192, iterations=1))

    def make(name: str, folder: str | None = None) -> Place:
        from pydantic import SecretStr

        identity, home = Identity.generate(name), Home(tmp_path / (folder or name))
        identity.save(home.identity_file, SecretStr("four random words"))
        party = Party(home, identity)
        return Place(Desk(home=home, party=party), party)

    return make


def ask(place: Place, study: Path, folder: Path, name: str = "r") -> Path:
    file = folder / f"{name}.ppcmijoin"
    told = joining.write_join_request(place.desk, WriteJoinRequest(study_file=study, file=file))
    assert told.fingerprint == place.fingerprint
    return file


def let_in(server: Place, site: Place, study: Path, file: Path, out: Path, fingerprint: str = ""):
    given = fingerprint or site.fingerprint
    return joining.let_in(
        server.desk, LetIn(study_file=study, file=file, fingerprint=given, out=out)
    )


def test_one_file_each_way(sit, study, tmp_path):
    server, north, out = sit("server"), sit("north"), tmp_path / "l.ppcmimembers"
    file = ask(north, study, tmp_path)
    read = joining.read_join_request(server.desk, ReadJoinRequest(study_file=study, file=file))
    assert not read.known and read.card.fingerprint == north.fingerprint
    assert len(read.card.words.replace("-", " ").split()) == WORDS_COUNT
    issued = let_in(server, north, study, file, out)
    assert (issued.serial, issued.is_ours, issued.is_member) == (1, True, False)
    assert [one.name for one in issued.members] == ["north"]
    again = joining.read_join_request(server.desk, ReadJoinRequest(study_file=study, file=file))
    assert again.known

    whose = joining.read_membership_list(
        north.desk, ReadMembershipList(home=north.home, study_file=study, file=out)
    )
    assert not whose.known and whose.card.fingerprint == server.fingerprint
    request = TakeOver(home=north.home, study_file=study, file=out, fingerprint=server.fingerprint)
    taken = joining.take_over(north.desk, request)
    assert (taken.serial, taken.is_ours, taken.is_member) == (1, False, True)
    looked = LookAtMembership(home=north.home, study_file=study)
    assert joining.look_at_membership(north.desk, looked) == taken
    assert north.party.home.contacts.find(server.fingerprint) is not None


def test_looking_makes_no_registry(sit, study, tmp_path):
    empty = tmp_path / "empty"
    looked = joining.look_at_membership(Desk(), LookAtMembership(home=empty, study_file=study))
    assert (looked.study, looked.serial, looked.members) == ("hearts", 0, ())
    assert not empty.exists()


def test_a_site_is_taken_out_and_the_list_renewed(sit, study, tmp_path):
    server, out = sit("server"), tmp_path / "l.ppcmimembers"
    for name in ("north", "south"):
        site = sit(name)
        let_in(server, site, study, ask(site, study, tmp_path, name), out)
    renewed = joining.renew_list(server.desk, RenewList(study_file=study, out=out, at_least=9))
    assert renewed.serial == 9 and len(renewed.members) == 2
    left = joining.take_out(server.desk, TakeOut(study_file=study, name="south", out=out))
    assert left.serial == 10 and [one.name for one in left.members] == ["north"]
    assert MembershipList.load(out).serial == 10
    with pytest.raises(ContactError) as caught:
        joining.take_out(server.desk, TakeOut(study_file=study, name="south", out=out))
    assert Failure.of(caught.value).hint == "See 'Joining a study' on the Key page."


def test_a_request_that_was_swapped_after_comparing_is_refused(sit, study, tmp_path):
    server, north, out = sit("server"), sit("north"), tmp_path / "l.ppcmimembers"
    file = ask(north, study, tmp_path)
    ask(sit("north", "another"), study, tmp_path)  # of the same name, in the same place
    with pytest.raises(ContactError, match="changed since"):
        let_in(server, north, study, file, out)
    assert not out.exists() and not server.party.home.contacts.all()


def test_a_list_of_a_server_that_nobody_compared_is_refused(sit, study, tmp_path):
    server, north, out = sit("server"), sit("north"), tmp_path / "l.ppcmimembers"
    let_in(server, north, study, ask(north, study, tmp_path), out)
    request = TakeOver(home=north.home, study_file=study, file=out, fingerprint="0" * 64)
    with pytest.raises(ContactError, match="changed since"):
        joining.take_over(north.desk, request)
    assert not (north.home / "registry.sqlite").exists()


def test_a_known_contact_does_not_become_the_server_of_a_study(sit, study, tmp_path):
    server, north, out = sit("server"), sit("north"), tmp_path / "l.ppcmimembers"
    let_in(server, north, study, ask(north, study, tmp_path), out)
    take = {"home": north.home, "study_file": study, "file": out}
    joining.take_over(north.desk, TakeOver(**take, fingerprint=server.fingerprint))
    other = sit("other")
    north.party.home.contacts.add(other.party.identity.card)
    let_in(other, north, study, ask(north, study, tmp_path), out)
    for task, request in (
        (joining.read_membership_list, ReadMembershipList(**take)),
        (joining.take_over, TakeOver(**take, fingerprint=other.fingerprint)),
    ):
        with pytest.raises(ContactError, match="came from 'server' so far") as caught:
            task(north.desk, request)
        assert "in a terminal" in Failure.of(caught.value).hint
    looked = joining.look_at_membership(
        north.desk, LookAtMembership(home=north.home, study_file=study)
    )
    assert looked.server.name == "server"


def test_files_of_other_kinds_and_studies_are_refused(sit, study, tmp_path):
    server, north = sit("server"), sit("north")
    file, key = ask(north, study, tmp_path), tmp_path / "north.ppcmikey"
    key.write_bytes(b"a key")
    for request in (
        WriteJoinRequest(study_file=study, file=key),
        RenewList(study_file=study, out=key),
    ):
        task = joining.renew_list if isinstance(request, RenewList) else joining.write_join_request
        with pytest.raises(InputFileError, match="another kind"):
            task(server.desk, request)
    assert key.read_bytes() == b"a key"
    with pytest.raises(ContactError, match="not a valid join request"):
        joining.read_join_request(server.desk, ReadJoinRequest(study_file=study, file=key))
    other = StudySpec(name="lungs", modality="MR", classes=make_classes(["lung"]))
    other.save(tmp_path / "lungs.yaml")
    asked = ReadJoinRequest(study_file=tmp_path / "lungs.yaml", file=file)
    with pytest.raises(StudyError, match="another study"):
        joining.read_join_request(server.desk, asked)


def test_a_locked_identity_writes_nothing(study, tmp_path):
    file = tmp_path / "r.ppcmijoin"
    with pytest.raises(KeyFileError, match="locked"):
        joining.write_join_request(Desk(), WriteJoinRequest(study_file=study, file=file))
    assert not file.exists()
