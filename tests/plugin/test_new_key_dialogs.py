"""Dialogs that make identities and keys: typed twice, forgotten at once, refused in words."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from qtpy.QtWidgets import QDialogButtonBox

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._preferences import Preferences
from napari_ppcmi._protocol.keys import LookAtHome, LookAtKey
from napari_ppcmi._widgets.new_key_dialogs import (
    NewIdentityDialog,
    NewKeyDialog,
    RenewIdentityDialog,
    RotateKeyDialog,
)
from napari_ppcmi._widgets.parts import PathPicker
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.data.sample import sample_data_folder
from ppcmi_sf.dates import valid_from_today
from ppcmi_sf.home import Home
from ppcmi_sf.identity import Identity

PASSPHRASE = "four words are best"


def fill(dialog, passphrase=PASSPHRASE, again=PASSPHRASE, **fields):
    for name, text in fields.items():
        field = getattr(dialog, name)
        field.choose(Path(text)) if isinstance(field, PathPicker) else field.setText(text)
    dialog.passphrase.setText(passphrase)
    if dialog.again is not None:
        dialog.again.setText(again)


def press_ok(qtbot, dialog):
    with qtbot.waitSignal(dialog.accepted, timeout=30_000):
        dialog.buttons.button(QDialogButtonBox.StandardButton.Ok).click()


@pytest.fixture
def study(tmp_path):
    return shutil.copy(sample_data_folder() / "site" / "study.yaml", tmp_path / "study.yaml")


def test_identity_and_key_are_made_and_the_key_is_rotated(
    qtbot, viewer_model, ask, study, tmp_path
):
    jobs = jobs_for(viewer_model)
    identity = NewIdentityDialog(jobs)
    fill(identity, name="west")
    press_ok(qtbot, identity)
    assert ask(jobs, LookAtHome(home=jobs.session.home)).identity.name == "west"

    key = NewKeyDialog(jobs)
    key.buttons.button(QDialogButtonBox.StandardButton.Ok).click()
    assert "not filled in yet" in key.panel.error.text()
    fill(key, study=study, site="west", file=tmp_path / "west.ppcmikey")
    press_ok(qtbot, key)
    assert jobs.session.key_file == tmp_path / "west.ppcmikey"
    assert Preferences.load().key_file == tmp_path / "west.ppcmikey"

    rotated = RotateKeyDialog(jobs)
    assert rotated.old.path == tmp_path / "west.ppcmikey"
    qtbot.waitUntil(lambda: "Site west, epoch 1" in rotated.old.about.text(), timeout=30_000)
    fill(rotated, file=tmp_path / "west-2.ppcmikey")
    press_ok(qtbot, rotated)
    assert ask(jobs, LookAtKey(file=tmp_path / "west-2.ppcmikey")).epoch == 2


def test_an_identity_is_renewed_and_stays_the_same(qtbot, viewer_model, away_from_home):
    session = jobs_for(viewer_model).session
    before = valid_from_today(date.today() - timedelta(700))
    identity = Identity.generate("west", validity=before)
    identity.save(Home(session.home).identity_file, SecretStr(PASSPHRASE))
    dialog = RenewIdentityDialog(jobs_for(viewer_model))
    fill(dialog, "another thing")
    dialog.buttons.button(QDialogButtonBox.StandardButton.Ok).click()
    qtbot.waitUntil(lambda: "does not open" in dialog.panel.error.text(), timeout=30_000)
    qtbot.waitUntil(lambda: dialog.panel.job is None)
    fill(dialog)
    press_ok(qtbot, dialog)
    card: ContactCard = Home(session.home).card()
    assert card.fingerprint == identity.fingerprint and card.expires > identity.card.expires


@pytest.mark.parametrize(
    ("passphrase", "again", "told"),
    [("one thing here", "another thing", "differ"), ("short", "short", "at least 8")],
)
def test_a_bad_passphrase_is_refused_and_forgotten(qtbot, viewer_model, passphrase, again, told):
    dialog = NewIdentityDialog(jobs_for(viewer_model))
    qtbot.addWidget(dialog)
    fill(dialog, passphrase, again, name="west")
    dialog.buttons.button(QDialogButtonBox.StandardButton.Ok).click()
    assert dialog.passphrase.text() == "" and dialog.again.text() == ""
    qtbot.waitUntil(lambda: told in dialog.panel.error.text(), timeout=30_000)


def test_after_the_demo_the_users_own_places_are_back(viewer_model, unlock_demo, tmp_path):
    jobs = jobs_for(viewer_model)
    jobs.session.use(outbox=tmp_path / "mine")
    demo = unlock_demo(viewer_model)
    assert jobs.session.is_demo and jobs.session.outbox == demo.outbox
    jobs.lock()
    assert not jobs.session.is_demo
    assert jobs.session.outbox == tmp_path / "mine"
    assert jobs.session.home != demo.home
