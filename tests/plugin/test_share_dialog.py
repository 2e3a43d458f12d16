"""The transform share of an escrow study, from the Exchange page, with a real worker."""

from __future__ import annotations

import shutil

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._widgets.exchange_page import ExchangePage
from napari_ppcmi._widgets.share_dialog import ShareDialog
from ppcmi_sf.home import Home, Party
from ppcmi_sf.identity import Identity
from ppcmi_sf.membership import MembershipList
from ppcmi_sf.share import read_share
from ppcmi_sf.workflows.folders import SiteFolder

JOB_MS = 30_000
WIDTH = 320


@pytest.fixture
def page(qtbot, viewer_model):
    made = ExchangePage(viewer_model)
    qtbot.addWidget(made)
    made.resize(WIDTH, 900)
    made.show()
    return made


@pytest.fixture
def server(tmp_path) -> Party:
    return Party(Home(tmp_path / "server"), Identity.generate("server"))


def open_dialog(qtbot, page) -> ShareDialog:
    qtbot.mouseClick(page.share, Qt.MouseButton.LeftButton)
    dialog = page.findChild(ShareDialog)
    qtbot.waitUntil(lambda: dialog.panel.job is None, timeout=JOB_MS)
    return dialog


def press(qtbot, dialog: ShareDialog) -> None:
    with qtbot.waitSignal(dialog.panel.idle, timeout=JOB_MS):
        qtbot.mouseClick(dialog.findChild(QPushButton, "write_share"), Qt.MouseButton.LeftButton)


def test_the_server_alone_can_open_it(qtbot, page, unlock_demo, viewer_model, server):
    demo = unlock_demo(viewer_model)
    north = Home(demo.home)
    for card in (Identity.generate("another").card, server.identity.card):
        north.contacts.add(card)
    study = SiteFolder(demo.site_folder).study()
    listed = MembershipList.make(server.identity, study.fingerprint, [north.card()], 1)
    north.memberships.keep(listed, issued=False)
    assert page.share.isVisible() and not page.share_note.isVisible()
    dialog = open_dialog(qtbot, page)
    qtbot.waitUntil(lambda: dialog.server.currentText() == "server", timeout=JOB_MS)
    assert dialog.file.path == demo.outbox / "north-epoch1.ppcmishare"
    dialog.file.line.setText(str(demo.outbox / "mine"))  # the ending is added
    press(qtbot, dialog)
    file = demo.outbox / "mine.ppcmishare"
    assert not dialog.panel.error.isVisible(), dialog.panel.error.text()
    assert str(file) in dialog.written.text() and dialog.written.isVisible()
    assert server.identity.card.words in dialog.written.text()
    server.home.contacts.add(north.card())
    share, sender = read_share(file, server.identity, server.sender)
    assert (share.site, share.epoch, sender.name) == ("north", 1, "north")
    assert share.key_id in dialog.written.text()
    assert [entry.event for entry in north.log.entries()].count("share sent") == 1
    assert share.secret.hex() not in dialog.written.text()


def test_what_is_missing_is_told(qtbot, page, unlock_demo, viewer_model, server):
    page.share.click()
    assert "not both open" in page.panel.error.text()
    demo = unlock_demo(viewer_model)
    dialog = open_dialog(qtbot, page)
    dialog.write.click()
    assert "No mapping server is chosen" in dialog.panel.error.text()
    dialog.close()
    Home(demo.home).contacts.add(server.identity.card)
    dialog = page.share_dialog = ShareDialog(jobs_for(viewer_model), page)
    dialog.open()
    qtbot.waitUntil(lambda: dialog.server.currentText() == "server", timeout=JOB_MS)
    dialog.file.line.clear()
    dialog.write.click()
    assert "No file is chosen" in dialog.panel.error.text()
    other = demo.outbox / "key.ppcmishare"
    shutil.copy(demo.key_file, other)  # whatever it is called, a key is not replaced
    dialog.file.choose(other)
    press(qtbot, dialog)
    assert "no transform share" in dialog.panel.error.text()
    assert not dialog.written.isVisible()
    assert other.read_bytes() == demo.key_file.read_bytes()


def test_a_blind_study_needs_none(page, unlock_demo, viewer_model):
    unlock_demo(viewer_model)
    session = jobs_for(viewer_model).session
    blind = session.site.study.model_copy(update={"arrangement": "blind"})
    session.site = session.site.model_copy(update={"study": blind})
    session.changed.emit()
    assert not page.share.isVisible()
    assert "blind" in page.share_note.text() and page.share_note.isVisible()
