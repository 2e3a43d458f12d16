"""What a person agreed to is what is written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.bundles import CaseInfo
from napari_ppcmi._protocol.keys import RotateKey, Unlock
from napari_ppcmi._widgets.encode_page import EncodePage
from napari_ppcmi._widgets.server_widget import ServerWidget
from ppcmi_sf.data.sample import sample_data_folder
from ppcmi_sf.home import Home
from ppcmi_sf.identity import Identity

JOB_MS = 60_000
IMAGES = sample_data_folder() / "ultrasound" / "images"

_TICKED = Qt.CheckState.Checked


def ticked(page) -> list[str]:
    items = [page.recipients.item(at) for at in range(page.recipients.count())]
    return [item.text() for item in items if item.checkState() == _TICKED]


def test_what_is_changed_while_a_review_is_made_is_not_written(qtbot, viewer_model, unlock_demo):
    page = EncodePage(viewer_model)
    qtbot.addWidget(page)
    page.show()
    demo = unlock_demo(viewer_model)
    qtbot.waitUntil(lambda: page.recipients.count() > 0, timeout=JOB_MS)
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        page.add_paths([IMAGES / "north_000.png"])
    page.findChild(QPushButton, "review").click()
    page.cases.add([CaseInfo(name="north_001", image=IMAGES / "north_001.png")])
    page.outbox.show_path(demo.outbox / "elsewhere")
    qtbot.waitUntil(lambda: page.dialog is not None and page.dialog.isVisible(), timeout=JOB_MS)
    assert page.cases.count() == 2

    page.dialog.agree.setChecked(True)
    with qtbot.waitSignal(page.written, timeout=JOB_MS) as told:
        qtbot.mouseClick(page.dialog.write, Qt.MouseButton.LeftButton)
    (written,) = told.args[0].written
    assert written.parent == demo.outbox and not (demo.outbox / "elsewhere").exists()


def review_one(qtbot, page, demo) -> None:
    qtbot.waitUntil(lambda: page.recipients.count() > 0, timeout=JOB_MS)
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        page.add_paths([IMAGES / "north_000.png"])
    page.findChild(QPushButton, "review").click()


def test_a_review_that_comes_when_the_site_is_locked_is_not_shown(qtbot, viewer_model, unlock_demo):
    page = EncodePage(viewer_model)
    qtbot.addWidget(page)
    demo = unlock_demo(viewer_model)
    review_one(qtbot, page, demo)
    jobs_for(viewer_model).session.set_locked()
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        pass
    assert page.dialog is None and "nothing was written" in page.panel.error.text()


def test_what_was_reviewed_with_one_key_is_not_written_with_another(
    qtbot, viewer_model, unlock_demo, ask
):
    page = EncodePage(viewer_model)
    qtbot.addWidget(page)
    page.show()
    demo, jobs = unlock_demo(viewer_model), jobs_for(viewer_model)
    review_one(qtbot, page, demo)
    qtbot.waitUntil(lambda: page.dialog is not None and page.dialog.isVisible(), timeout=JOB_MS)
    rotated = demo.home / "next.ppcmikey"
    ask(
        jobs,
        RotateKey(home=demo.home, file=demo.key_file, out=rotated, passphrase=demo.passphrase),
    )
    jobs.lock()
    opened = ask(
        jobs,
        Unlock(
            home=demo.home,
            key_file=rotated,
            key_passphrase=demo.passphrase,
            site_folder=demo.site_folder,
            identity_passphrase=demo.passphrase,
        ),
    )
    assert opened.key.epoch == 2
    page.dialog.agree.setChecked(True)
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        qtbot.mouseClick(page.dialog.write, Qt.MouseButton.LeftButton)
    assert "was unlocked meanwhile" in page.panel.error.text()
    assert not list(demo.outbox.iterdir())


def test_who_is_chosen_stays_chosen_when_something_else_changes(
    qtbot, viewer_model, unlock_demo, tmp_path: Path
):
    page, server = EncodePage(viewer_model), ServerWidget(viewer_model)
    for widget in (page, server):
        qtbot.addWidget(widget)
    demo, jobs = unlock_demo(viewer_model), jobs_for(viewer_model)
    contacts = Home(demo.home).contacts
    for name in ("south", "west"):
        contacts.add(Identity.generate(name).card)
    jobs.session.changed.emit()
    qtbot.waitUntil(
        lambda: page.recipients.count() == 3 and server.contact.count() == 2, timeout=JOB_MS
    )
    page.recipients.item(2).setCheckState(Qt.CheckState.Unchecked)
    page.recipients.findItems("west", Qt.MatchFlag.MatchExactly)[0].setCheckState(_TICKED)
    server.contact.setCurrentText("west")

    contacts.add(Identity.generate("east").card)
    page.outbox.choose(tmp_path / "elsewhere")
    qtbot.waitUntil(
        lambda: page.recipients.count() == 4 and server.contact.count() == 3, timeout=JOB_MS
    )
    assert ticked(page) == ["west"]
    assert server.contact.currentText() == "west"

    contacts.remove("west")
    page.outbox.choose(tmp_path / "outbox")
    qtbot.waitUntil(
        lambda: page.recipients.count() == 3 and server.contact.count() == 2, timeout=JOB_MS
    )
    assert not ticked(page) and not server.contact.currentText()


def test_a_layer_that_cannot_be_taken_is_told_when_others_follow_it(
    qtbot, viewer_model, unlock_demo
):
    page = EncodePage(viewer_model)
    qtbot.addWidget(page)
    unlock_demo(viewer_model)
    bad, good = np.full((32, 32), np.nan, np.float32), np.zeros((32, 32), np.float32)
    viewer_model.add_image(bad, name="bad", contrast_limits=(0, 1))
    viewer_model.add_image(good, name="good", contrast_limits=(0, 1))
    viewer_model.layers.selection = set(viewer_model.layers)
    page.add_layers()
    qtbot.waitUntil(lambda: page.cases.count() == 1 and page.panel.job is None, timeout=JOB_MS)
    told = page.panel.error.text()
    assert told.startswith("1 of 2 could not be taken; the others were. bad:"), told
