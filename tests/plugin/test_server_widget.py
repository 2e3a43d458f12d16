"""A mapping server by clicks: a small escrow collaboration of one site, with a real worker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from pydantic import SecretStr
from qtpy.QtWidgets import QLineEdit, QMessageBox, QScrollArea

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.keys import Unlock
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._widgets.server_widget import ServerWidget
from ppcmi_sf import secretfile
from ppcmi_sf.data import find_cases
from ppcmi_sf.home import Home, Party
from ppcmi_sf.identity import Identity
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.progress import run
from ppcmi_sf.secretfile import KdfCost
from ppcmi_sf.share import write_share
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.training.autoencoders import AutoencoderOptions
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.workflows.outgoing import Addressed
from ppcmi_sf.workflows.protect import protect_queries, protect_training_pairs
from ppcmi_sf.workflows.train_site import train_site

CPU = torch.device("cpu")
PASSPHRASE = SecretStr("correct horse battery")
TRAINING_MS = 90_000


@dataclass
class Given:
    """What a server has before it starts."""

    study: Path
    home: Path
    bundles: Path
    parts: Path
    twice: Path
    shares: Path
    queries: Path


def introduce(root: Path) -> dict[str, Party]:
    parties = {}
    for name in ("server", "north"):
        identity, home = Identity.generate(name), Home(root / "homes" / name)
        identity.save(home.identity_file, PASSPHRASE)
        parties[name] = Party(home, identity)
    parties["server"].home.contacts.add(parties["north"].identity.card)
    parties["north"].home.contacts.add(parties["server"].identity.card)
    return parties


@pytest.fixture
def given(tmp_path, monkeypatch, write_ellipses) -> Given:
    monkeypatch.setattr(secretfile, "DEFAULT_COST", KdfCost(memory_kib=8192, iterations=1))
    study = StudySpec(
        name="ellipses",
        modality="US",
        classes=make_classes(["ellipse"]),
        image_size=(64, 64),
        autoencoder="small",
        arrangement="escrow",
    )
    study.save(tmp_path / "study.yaml")
    parties = introduce(tmp_path)
    write_ellipses(tmp_path / "data")
    cases, site = find_cases(tmp_path / "data", need_masks=True), tmp_path / "site"
    key = ClientKey.generate("north", study.fingerprint)
    card = parties["server"].identity.card
    options = AutoencoderOptions(fit=FitOptions(epochs=1, batch_size=4), augment=False)
    run(train_site(site, study, "north", cases[:6], options, device=CPU))
    to = Addressed(parties["north"], [card])
    for folder, parts in (("pairs", 1), ("parts", 3)):
        out = tmp_path / folder
        run(protect_training_pairs(
            site, key, cases[:6], out, to, device=CPU, copies=1, parts=parts
        ))  # fmt: skip
    for parts in (1, 2):  # exact: so short a training leaves latents that int8 would drown
        run(protect_training_pairs(
            site, key, cases[:6], tmp_path / "twice", to, device=CPU, copies=1, parts=parts,
            precision="float32",
        ))  # fmt: skip
    run(protect_queries(site, key, cases[6:], tmp_path / "queries", to, device=CPU))
    share = tmp_path / "shares" / "north.ppcmishare"
    write_share(share, key.transform_share(), parties["north"].identity, card)
    return Given(
        tmp_path / "study.yaml",
        parties["server"].home.root,
        tmp_path / "pairs",
        tmp_path / "parts",
        tmp_path / "twice",
        tmp_path / "shares",
        tmp_path / "queries",
    )


@pytest.fixture
def widget(qtbot, viewer_model):
    made = ServerWidget(viewer_model)
    qtbot.addWidget(made)
    made.show()
    return made


def click(qtbot, widget, button) -> None:
    with qtbot.waitSignal(widget.panel.idle, timeout=TRAINING_MS):
        button.click()


@pytest.fixture
def ready(ask, widget, viewer_model, given, tmp_path):
    """The page, unlocked and filled in."""
    jobs = jobs_for(viewer_model)
    jobs.session.home = given.home
    opened = ask(jobs, Unlock(home=given.home, identity_passphrase=PASSPHRASE))
    assert not isinstance(opened, Failure), opened
    assert "server" in widget.state.text()
    widget.study.line.setText(str(given.study))
    widget.bundles.line.setText(str(given.bundles))
    widget.shares.line.setText(str(given.shares))
    widget.server_folder.line.setText(str(tmp_path / "server"))
    widget.settings.epochs.setValue(4)
    return widget


def test_harder_to_tell_who_took_part(qtbot, ready, given):
    ready.cross_fit.setChecked(True)
    click(qtbot, ready, ready.train)
    told = ready.panel.error.text()
    assert "came in one bundle" in told and "'Patients in separate files'" in told
    assert "--" not in told
    ready.bundles.line.setText(str(given.parts))
    said = []
    ready.panel.progressed.connect(lambda step: said.append(step.message))
    click(qtbot, ready, ready.train)
    assert "The mapping network is trained" in ready.summary.text(), ready.panel.error.text()
    assert any("Without part 3 of 3" in text for text in said)


def test_train_answer_and_give_away(qtbot, ready, given, tmp_path):
    widget = ready
    click(qtbot, widget, widget.train)
    assert "The mapping network is trained" in widget.summary.text(), widget.panel.error.text()
    assert "of north" in widget.summary.text()
    assert widget.curve.series[0].training
    widget.queries.line.setText(str(given.queries))
    widget.replies.line.setText(str(tmp_path / "replies"))
    click(qtbot, widget, widget.answer)
    assert widget.summary.text() == "Answers written: 2.", widget.panel.error.text()
    assert len(list((tmp_path / "replies").glob("*.ppcmi"))) == 2
    qtbot.waitUntil(lambda: widget.contact.currentText() == "north", timeout=TRAINING_MS)
    widget.network.line.setText(str(tmp_path / "network"))
    click(qtbot, widget, widget.publish)
    assert "Send it to the site" in widget.summary.text(), widget.panel.error.text()
    assert len(list((tmp_path / "network").glob("*.ppcmi"))) == 1


def test_suspicious_pairs_are_told(qtbot, ready, given):
    ready.bundles.line.setText(str(given.twice))
    ready.settings.epochs.setValue(1)
    click(qtbot, ready, ready.train)
    told = ready.summary.text()
    assert "The mapping network is trained" in told, ready.panel.error.text()
    assert "Look at site 'north': " in told and "of 12 items repeat an earlier one" in told
    assert "Ask these sites before you use the network." in told


def test_bundles_that_were_used_before_are_not_miscounted(qtbot, ready, given, tmp_path):
    ready.bundles.line.setText(str(given.parts))
    ready.settings.epochs.setValue(1)
    click(qtbot, ready, ready.train)
    ready.server_folder.line.setText(str(tmp_path / "another"))
    click(qtbot, ready, ready.train)  # the first of three ends it
    (box,) = ready.findChildren(QMessageBox)
    assert "used before, at least one" in box.text()
    with qtbot.waitSignal(ready.panel.idle, timeout=TRAINING_MS):
        box.button(QMessageBox.StandardButton.Yes).click()
    assert "The mapping network is trained" in ready.summary.text(), ready.panel.error.text()


def test_a_locked_identity_is_told(widget):
    assert "identity is locked" in widget.state.text()
    assert not widget.train.isEnabled()
    assert not widget.join.isEnabled()
    assert not widget.answer.isEnabled()
    assert not widget.publish.isEnabled()


@pytest.mark.parametrize(
    ("verb", "told"),
    [
        ("start", "No study file"),
        ("let_join", "A folder is missing"),
        ("answer_queries", "A folder is missing"),
        ("publish_model", "Something is missing"),
    ],
)
def test_what_is_missing_is_told(widget, verb, told):
    getattr(widget, verb)()
    assert told in widget.panel.error.text()
    assert widget.panel.job is None


def test_it_fits_into_a_narrow_dock(qtbot, widget):
    widget.resize(320, 900)
    qtbot.wait(50)
    assert widget.width() == 320
    assert widget.findChild(QScrollArea).horizontalScrollBar().maximum() == 0


def test_screen_readers_are_told_what_a_field_is(widget):
    fields = [one for one in widget.findChildren(QLineEdit) if one.objectName()]
    pickers = [one for one in fields if not one.objectName().startswith("qt_")]
    assert len(pickers) >= 7
    assert all(one.accessibleName() for one in pickers)
