"""Joining a study by clicks, at the site and at the mapping server, with a real worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QPushButton

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.keys import Unlock
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._widgets.key_page import KeyPage
from napari_ppcmi._widgets.membership_dialog import MembershipDialog
from ppcmi_sf import secretfile
from ppcmi_sf.home import Home
from ppcmi_sf.identity import Identity
from ppcmi_sf.membership import MembershipList
from ppcmi_sf.secretfile import KdfCost
from ppcmi_sf.study import StudySpec, make_classes

PASSPHRASE = SecretStr("four random words")
JOB_MS = 30_000


@pytest.fixture
def study(tmp_path) -> Path:
    spec = StudySpec(name="hearts", modality="MR", classes=make_classes(["heart"]))
    spec.save(tmp_path / "hearts.yaml")
    return tmp_path / "hearts.yaml"


@pytest.fixture
def homes(tmp_path, monkeypatch) -> dict[str, Home]:
    monkeypatch.setattr(secretfile, "DEFAULT_COST", KdfCost(memory_kib=8192, iterations=1))
    made = {name: Home(tmp_path / "homes" / name) for name in ("server", "north")}
    for name, home in made.items():
        Identity.generate(name).save(home.identity_file, PASSPHRASE)
    return made


@pytest.fixture
def sit(qtbot, viewer_model, ask, homes, study):
    """Be somebody, and open the dialog with the study chosen."""
    jobs = jobs_for(viewer_model)

    def be(name: str) -> MembershipDialog:
        home = homes[name].root
        jobs.session.use(home=home)
        opened = ask(jobs, Unlock(home=home, identity_passphrase=PASSPHRASE))
        assert not isinstance(opened, Failure), opened
        dialog = MembershipDialog(jobs)
        dialog.show()
        with qtbot.waitSignal(dialog.panel.idle, timeout=JOB_MS):
            dialog.study.choose(study)
        return dialog

    return be


def answer(dialog: MembershipDialog, *, read: Path | None = None, write: Path | None = None):
    dialog._ask_file = lambda *_: read
    dialog._ask_new_file = lambda *_: write


def click(qtbot, dialog: MembershipDialog, name: str) -> None:
    with qtbot.waitSignal(dialog.panel.idle, timeout=JOB_MS):
        qtbot.mouseClick(dialog.findChild(QPushButton, name), Qt.MouseButton.LeftButton)


def say_the_words_are_the_same(qtbot, dialog: MembershipDialog) -> None:
    qtbot.waitUntil(lambda: dialog.compare is not None, timeout=JOB_MS)
    assert not dialog.compare.add.isEnabled()
    dialog.compare.findChild(QCheckBox, "same_words").click()
    with qtbot.waitSignal(dialog.panel.idle, timeout=JOB_MS):
        dialog.compare.add.click()


def members(dialog: MembershipDialog) -> list[str]:
    table = dialog.members
    return [table.item(row, 0).text() for row in range(table.rowCount())]


def test_one_file_each_way(qtbot, sit, homes, tmp_path):
    request, listed = tmp_path / "north.ppcmijoin", tmp_path / "hearts.ppcmimembers"
    site = sit("north")
    assert "no list of this study here yet" in site.state.text()
    answer(site, write=request)
    click(qtbot, site, "ask_to_join")
    words = homes["north"].card().words
    assert words in site.told.text() and str(request) in site.told.text()
    site.close()

    server = sit("server")
    answer(server, read=request, write=listed)
    click(qtbot, server, "let_in")
    assert not listed.exists(), "nobody has compared the words yet"
    assert server.compare is None or server.compare.isVisible()
    say_the_words_are_the_same(qtbot, server)
    assert members(server) == ["north"] and "List 1, yours" in server.state.text()
    assert homes["server"].card().words in server.told.text()
    server.at_least.setValue(7)
    click(qtbot, server, "renew_list")
    assert MembershipList.load(listed).serial == 7
    server.close()

    site = sit("north")
    answer(site, read=listed)
    click(qtbot, site, "take_over")
    say_the_words_are_the_same(qtbot, site)
    assert members(site) == ["north"]
    assert "of 'server'" in site.state.text() and "You are in it" in site.state.text()
    assert homes["north"].contacts.find(homes["server"].card().fingerprint) is not None
    # The very same once more needs no comparing, and is no harm.
    site.compare = None
    with qtbot.waitSignals([site.panel.idle] * 2, timeout=JOB_MS):
        site.findChild(QPushButton, "take_over").click()
    assert site.compare is None and not site.panel.error.isVisible()
    site.close()

    server = sit("server")
    answer(server, write=listed)
    click_refused(server, "take_out", "No site is chosen")
    server.members.selectRow(0)
    server._sure = lambda _question: False
    server.findChild(QPushButton, "take_out").click()
    assert server.panel.job is None and members(server) == ["north"]
    server._sure = lambda _question: True
    click(qtbot, server, "take_out")
    assert members(server) == [] and MembershipList.load(listed).serial == 8
    server.close()

    site = sit("north")
    answer(site, read=listed)
    with qtbot.waitSignals([site.panel.idle] * 2, timeout=JOB_MS):
        site.findChild(QPushButton, "take_over").click()
    assert "You are not in it" in site.told.text()
    site.close()


def click_refused(dialog: MembershipDialog, name: str, told: str) -> None:
    dialog.findChild(QPushButton, name).click()
    assert dialog.panel.job is None
    assert told in dialog.panel.error.text()


def test_what_is_wrong_is_told(qtbot, sit, viewer_model, tmp_path, study):
    dialog = MembershipDialog(jobs_for(viewer_model))
    for name in ("ask_to_join", "take_over", "let_in", "take_out", "renew_list"):
        dialog.panel.clear()
        click_refused(dialog, name, "No study file is chosen")
    dialog.close()
    dialog = sit("server")
    answer(dialog, write=tmp_path / "l.ppcmimembers")
    click(qtbot, dialog, "renew_list")
    assert "'Let a site in…'" in dialog.panel.error.text()
    answer(dialog, read=study)
    click(qtbot, dialog, "let_in")
    assert "not a valid join request" in dialog.panel.error.text()
    assert dialog.compare is None
    with qtbot.waitSignal(dialog.panel.idle, timeout=JOB_MS):
        dialog.study.choose(tmp_path / "nothing.yaml")
    assert "nothing.yaml" in dialog.panel.error.text()
    dialog.close()


def test_a_locked_identity_asks_nobody(qtbot, viewer_model, study, tmp_path):
    dialog = MembershipDialog(jobs_for(viewer_model))
    dialog.show()
    with qtbot.waitSignal(dialog.panel.idle, timeout=JOB_MS):
        dialog.study.choose(study)
    answer(dialog, write=tmp_path / "r.ppcmijoin")
    click(qtbot, dialog, "ask_to_join")
    assert "identity is locked" in dialog.panel.error.text()
    assert not (tmp_path / "r.ppcmijoin").exists()
    dialog.close()


def test_it_is_opened_from_the_key_page_and_partners_are_shown_after(
    qtbot, sit, viewer_model, homes
):
    sit("north").close()
    page = KeyPage(viewer_model)
    qtbot.addWidget(page)
    page.show()
    page.join.click()
    dialog = page.findChild(MembershipDialog)
    assert dialog.isVisible()
    homes["north"].contacts.add(homes["server"].card())
    dialog.close()
    table = page.partners.table
    qtbot.waitUntil(lambda: table.rowCount() == 1, timeout=JOB_MS)
    assert table.item(0, 0).text() == "server"
