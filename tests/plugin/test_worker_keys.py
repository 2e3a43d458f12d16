"""Identities, keys, sites and partners as the worker sees them, without a worker process."""

from __future__ import annotations

import os
import shutil
import stat
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr

from napari_ppcmi._protocol.keys import (
    AddContact,
    CreateIdentity,
    CreateKey,
    ExportCard,
    Lock,
    LookAtHome,
    LookAtKey,
    LookAtStudy,
    PrepareDemo,
    ReadCard,
    RemoveContact,
    RevokeContact,
    RotateKey,
    Unlock,
)
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.tasks import contacts, keys
from ppcmi_sf.dates import valid_from_today
from ppcmi_sf.errors import ContactError, InputFileError, KeyFileError
from ppcmi_sf.home import Home
from ppcmi_sf.identity import Identity
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.secretfile import KdfCost
from ppcmi_sf.study import StudySpec, make_classes

WORDS = SecretStr("four random words")
OTHER = SecretStr("five other random words")


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    monkeypatch.setattr("ppcmi_sf.secretfile.DEFAULT_COST", KdfCost(memory_kib=8192, iterations=1))


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def demo(desk, tmp_path):
    return keys.prepare_demo(desk, PrepareDemo(folder=tmp_path / "demo"))


@pytest.fixture
def study_file(tmp_path):
    study = StudySpec(name="hearts", modality="MR", classes=make_classes(["heart"]))
    study.save(tmp_path / "hearts.yaml")
    return tmp_path / "hearts.yaml"


def unlock_demo(demo, **changed) -> Unlock:
    fields = {
        "home": demo.home,
        "key_file": demo.key_file,
        "key_passphrase": demo.passphrase,
        "site_folder": demo.site_folder,
        "identity_passphrase": demo.passphrase,
    }
    return Unlock(**(fields | changed))


def new_key(tmp_path: Path, study_file: Path, name: str = "a.ppcmikey", site: str = "north"):
    return CreateKey(
        home=tmp_path / "home",
        file=tmp_path / name,
        study_file=study_file,
        site=site,
        passphrase=WORDS,
    )


def partner_card(folder: Path, name: str = "server") -> Path:
    file = folder / f"{name}.ppcmicard"
    Identity.generate(name).card.save(file)
    return file


def test_the_demo_is_unlocked(desk, demo):
    opened = keys.unlock(desk, unlock_demo(demo))
    assert opened.key.site == opened.site.name == opened.identity.name == "north"
    assert opened.site.can_segment and opened.site.study.name == "Phantoms"
    assert len(opened.identity.words.replace("-", " ").split()) == 12
    assert opened.warnings == ()
    assert desk.require_key().site == "north"
    assert desk.require_party().identity.fingerprint == opened.identity.fingerprint
    assert desk.require_site() == demo.site_folder
    assert demo.passphrase.get_secret_value() not in f"{opened!r} {demo!r} {desk!r}"
    keys.lock(desk, Lock())
    assert (desk.home, desk.key, desk.party, desk.site_folder) == (None,) * 4


def test_the_demo_is_made_once_and_mended(desk, demo, tmp_path):
    assert demo.outbox.is_dir() and demo.inbox.is_dir()
    assert stat.S_IMODE(demo.key_file.stat().st_mode) == 0o600
    identity = (demo.home / "identity.ppcmiid").read_bytes()
    (demo.site_folder / "image_autoencoder.safetensors").unlink()
    shutil.rmtree(demo.inbox)
    again = keys.prepare_demo(desk, PrepareDemo(folder=tmp_path / "demo"))
    assert again == demo
    assert (demo.home / "identity.ppcmiid").read_bytes() == identity
    assert (demo.site_folder / "image_autoencoder.safetensors").is_file() and demo.inbox.is_dir()


@pytest.mark.parametrize("wrong", ["key_passphrase", "identity_passphrase", "site_folder"])
def test_what_was_open_stays_when_something_does_not_open(desk, demo, tmp_path, wrong):
    keys.unlock(desk, unlock_demo(demo))
    before = (desk.home, desk.key, desk.party, desk.site_folder)
    value = tmp_path / "nothing" if wrong == "site_folder" else OTHER
    with pytest.raises(InputFileError if wrong == "site_folder" else KeyFileError):
        keys.unlock(desk, unlock_demo(demo, **{wrong: value}))
    assert (desk.home, desk.key, desk.party, desk.site_folder) == before


def test_only_what_is_asked_for_is_opened(desk, demo, tmp_path):
    opened = keys.unlock(desk, unlock_demo(demo, key_passphrase=None, site_folder=None))
    assert opened.key is None and opened.site is None and opened.identity.name == "north"
    opened = keys.unlock(desk, unlock_demo(demo, home=tmp_path / "no-identity"))
    assert opened.identity is None and desk.party is None and desk.key is not None


def test_a_key_that_others_can_read_is_told(desk, demo):
    if os.name != "posix":
        pytest.skip("file modes are of POSIX systems")
    demo.key_file.chmod(0o644)
    (warning,) = keys.unlock(desk, unlock_demo(demo)).warnings
    assert "other users of this computer can read" in warning


@pytest.mark.parametrize("other", ["study", "site"])
def test_key_and_site_folder_have_to_fit(desk, demo, tmp_path, study_file, other):
    study = study_file if other == "study" else demo.site_folder / "study.yaml"
    name = "north" if other == "study" else "south"
    made = keys.create_key(desk, new_key(tmp_path, study, site=name))
    request = unlock_demo(demo, key_file=made.file, key_passphrase=WORDS)
    with pytest.raises(KeyFileError, match="another study" if other == "study" else "'south'"):
        keys.unlock(desk, request)
    assert desk.key is None


def test_an_identity_is_never_overwritten(desk, tmp_path):
    request = CreateIdentity(home=tmp_path / "home", name="north", passphrase=WORDS)
    made = keys.create_identity(desk, request)
    assert keys.look_at_home(desk, LookAtHome(home=tmp_path / "home")).identity == made
    with pytest.raises(KeyFileError, match="ever overwritten"):
        keys.create_identity(desk, request)
    assert keys.look_at_home(desk, LookAtHome(home=tmp_path / "home")).identity == made


@pytest.mark.parametrize(
    ("name", "passphrase", "error"),
    [("north", SecretStr("short"), KeyFileError), ("no/name", WORDS, ContactError)],
)
def test_a_bad_name_or_a_short_passphrase_makes_nothing(desk, tmp_path, name, passphrase, error):
    with pytest.raises(error):
        keys.create_identity(
            desk, CreateIdentity(home=tmp_path / "home", name=name, passphrase=passphrase)
        )
    assert not (tmp_path / "home" / "identity.ppcmiid").exists()


def test_looking_at_a_home_that_is_not_there_makes_none(desk, tmp_path):
    looked = keys.look_at_home(desk, LookAtHome(home=tmp_path / "home"))
    assert looked.identity is None and looked.contacts == ()
    assert not (tmp_path / "home").exists()


def test_keys_of_one_site_and_study_count_their_epochs(desk, tmp_path, study_file):
    first = keys.create_key(desk, new_key(tmp_path, study_file))
    assert (first.epoch, first.note) == (1, "")
    assert keys.look_at_key(desk, LookAtKey(file=first.file)) == first
    with pytest.raises(KeyFileError, match="ever overwritten"):
        keys.create_key(desk, new_key(tmp_path, study_file))
    second = keys.create_key(desk, new_key(tmp_path, study_file, "b.ppcmikey"))
    assert second.epoch == 2 and "epoch 1 already" in second.note


def test_a_key_is_rotated_once(desk, tmp_path, study_file):
    first = keys.create_key(desk, new_key(tmp_path, study_file))
    request = RotateKey(
        home=tmp_path / "home", file=first.file, out=tmp_path / "2.ppcmikey", passphrase=WORDS
    )
    with pytest.raises(KeyFileError):
        keys.rotate_key(desk, request.model_copy(update={"passphrase": OTHER}))
    assert not request.out.exists()
    second = keys.rotate_key(desk, request)
    assert second.epoch == 2 and ClientKey.load(second.file, WORDS).site == "north"
    with pytest.raises(KeyFileError, match="overwritten"):
        keys.rotate_key(desk, request)
    with pytest.raises(KeyFileError, match="was rotated"):
        keys.rotate_key(desk, request.model_copy(update={"out": tmp_path / "3.ppcmikey"}))
    assert not (tmp_path / "3.ppcmikey").exists()


def test_an_expired_key_has_a_note(desk, tmp_path):
    key = ClientKey.generate("north", "0" * 64, validity=valid_from_today(date(2020, 1, 1)))
    key.save(tmp_path / "old.ppcmikey", WORDS)
    looked = keys.look_at_key(desk, LookAtKey(file=tmp_path / "old.ppcmikey"))
    assert "expired on 2021-12-31" in looked.note


def test_a_study_is_looked_at(desk, study_file):
    looked = keys.look_at_study(desk, LookAtStudy(file=study_file))
    assert looked.name == "hearts" and [one.name for one in looked.classes][1] == "heart"
    assert looked.fingerprint == StudySpec.load(study_file).fingerprint


def test_a_partner_comes_is_revoked_and_goes(desk, tmp_path):
    home, file = tmp_path / "home", partner_card(tmp_path)
    card = contacts.read_card(desk, ReadCard(file=file))
    request = AddContact(home=home, file=file, fingerprint=card.fingerprint)
    (contact,) = contacts.add_contact(desk, request).contacts
    assert (contact.name, contact.words, contact.state) == ("server", card.words, "valid")
    (contact,) = contacts.revoke_contact(desk, RevokeContact(home=home, name="server")).contacts
    assert contact.state == "revoked"
    with pytest.raises(ContactError, match="revoked"):
        contacts.add_contact(desk, request)
    assert contacts.remove_contact(desk, RemoveContact(home=home, name="server")).contacts == ()
    with pytest.raises(ContactError):
        contacts.remove_contact(desk, RemoveContact(home=home, name="server"))


def test_a_card_that_was_swapped_after_comparing_is_refused(desk, tmp_path):
    file = partner_card(tmp_path)
    compared = contacts.read_card(desk, ReadCard(file=file)).fingerprint
    partner_card(tmp_path)
    with pytest.raises(ContactError, match="changed since"):
        contacts.add_contact(
            desk, AddContact(home=tmp_path / "home", file=file, fingerprint=compared)
        )
    assert not (tmp_path / "home").exists()


def test_ones_own_card_is_exported(desk, demo, tmp_path):
    shown = contacts.export_card(
        desk, ExportCard(home=demo.home, file=tmp_path / "north.ppcmicard")
    )
    read = contacts.read_card(desk, ReadCard(file=tmp_path / "north.ppcmicard"))
    assert read.fingerprint == shown.fingerprint == Home(demo.home).card().fingerprint
    with pytest.raises(KeyFileError, match="no identity"):
        contacts.export_card(
            desk, ExportCard(home=tmp_path / "none", file=tmp_path / "none.ppcmicard")
        )
