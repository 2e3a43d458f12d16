"""The Exchange page: files that were used before are used again by those who say so."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QMessageBox

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.bundles import CaseInfo, ReviewExport, WriteBundles
from napari_ppcmi._protocol.keys import LookAtHome
from napari_ppcmi._widgets.decode_page import DecodePage
from napari_ppcmi._widgets.exchange_page import ExchangePage
from ppcmi_sf.data.sample import sample_data_folder

JOB_MS = 60_000
WIDTH = 320


@pytest.fixture
def page(qtbot, viewer_model):
    made = ExchangePage(viewer_model)
    qtbot.addWidget(made)
    made.resize(WIDTH, 900)
    made.show()
    return made


@pytest.fixture
def asked(ask, page, unlock_demo, viewer_model):
    """The demo site, with a question in its outbox."""
    demo, jobs = unlock_demo(viewer_model), jobs_for(viewer_model)
    image = sample_data_folder() / "ultrasound" / "images" / "north_000.png"
    wanted = ReviewExport(
        purpose="query",
        cases=(CaseInfo(name="north_000", image=image),),
        recipients=(jobs.session.identity.fingerprint,),
    )
    assert len(ask(jobs, WriteBundles(reviewed=wanted, out=demo.outbox)).written) == 1
    jobs.session.arrived.emit("outbox")
    return demo


def answer_box(qtbot, page, button) -> str:
    """What the page asks, after it was answered by a click."""
    qtbot.waitUntil(lambda: page.findChild(QMessageBox) is not None, timeout=JOB_MS)
    box = page.findChild(QMessageBox)
    text = box.text()
    box.button(button).click()
    return text


def map_here(qtbot, page) -> None:
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        page.map_here.click()


def test_a_question_is_answered_again_by_who_says_so(qtbot, page, asked):
    qtbot.waitUntil(lambda: page.sent.table.rowCount() == 1, timeout=JOB_MS)
    map_here(qtbot, page)
    (reply,) = asked.inbox.glob("*.ppcmi")
    map_here(qtbot, page)  # its answer is there
    assert not page.panel.error.isVisible() and page.findChild(QMessageBox) is None
    reply.unlink()
    map_here(qtbot, page)
    assert "say so when you are asked" in page.panel.error.text()
    told = answer_box(qtbot, page, QMessageBox.StandardButton.No)
    assert "used before: 1" in told
    qtbot.waitUntil(lambda: page.findChild(QMessageBox) is None)
    assert page.panel.job is None and not list(asked.inbox.glob("*.ppcmi"))
    map_here(qtbot, page)
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        answer_box(qtbot, page, QMessageBox.StandardButton.Yes)
    assert not page.panel.error.isVisible(), page.panel.error.text()
    assert len(list(asked.inbox.glob("*.ppcmi"))) == 1


def test_what_came_of_it_stays_to_be_read(qtbot, page, asked, viewer_model, ask):
    qtbot.waitUntil(lambda: page.sent.table.rowCount() == 1, timeout=JOB_MS)
    with qtbot.waitSignal(page.came.listed, timeout=JOB_MS):
        map_here(qtbot, page)
    jobs = jobs_for(viewer_model)
    ask(jobs, LookAtHome(home=jobs.session.home))  # all that the page asked for has ended, too
    assert page.panel.status.text().startswith("1 reply file(s) are in the inbox: see Decode.")


def test_a_reply_is_decoded_again_by_who_says_so(qtbot, page, asked, viewer_model):
    qtbot.waitUntil(lambda: page.sent.table.rowCount() == 1, timeout=JOB_MS)
    map_here(qtbot, page)
    decode = DecodePage(viewer_model)
    qtbot.addWidget(decode)
    decode.show()
    qtbot.waitUntil(lambda: decode.replies.table.rowCount() == 1, timeout=JOB_MS)
    with qtbot.waitSignal(decode.finished, timeout=JOB_MS):
        decode.decode.click()
    (mask,) = jobs_for(viewer_model).session.replies_folder.rglob("*.png")
    mask.unlink()
    with qtbot.waitSignal(decode.finished, timeout=JOB_MS):
        decode.decode.click()
    assert "--again" not in decode.panel.error.text()
    count = len(viewer_model.layers)
    with qtbot.waitSignal(decode.finished, timeout=JOB_MS):
        answer_box(qtbot, decode, QMessageBox.StandardButton.Yes)
    assert not decode.panel.error.isVisible(), decode.panel.error.text()
    assert mask.is_file() and len(viewer_model.layers) == count + 1


def test_what_is_missing_is_told(page, unlock_demo, viewer_model):
    page.map_here.click()
    assert "No inbox is chosen" in page.panel.error.text()
    unlock_demo(viewer_model)
    page.map_here.click()
    assert "no question in the outbox" in page.panel.error.text()
    page.install.click()
    assert "Not one mapping network is selected" in page.panel.error.text()
    assert page.panel.job is None


def test_it_fits_a_narrow_dock(page, unlock_demo, viewer_model):
    unlock_demo(viewer_model)
    assert page.minimumSizeHint().width() <= WIDTH
