"""Every page alone in a dock, as the Plugins menu opens it: it ends with the dock, and fits."""

from __future__ import annotations

import numpy as np
import psutil
import pytest
from qtpy.QtWidgets import QDialog, QLabel, QScrollArea

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._widgets.audit_widget import AuditWidget
from napari_ppcmi._widgets.decode_page import DecodePage
from napari_ppcmi._widgets.encode_page import EncodePage
from napari_ppcmi._widgets.exchange_page import ExchangePage
from napari_ppcmi._widgets.key_page import KeyPage
from napari_ppcmi._widgets.open_study import OpenStudy
from napari_ppcmi._widgets.parts import Section, open_at
from napari_ppcmi._widgets.segment_widget import SegmentWidget
from napari_ppcmi._widgets.server_widget import ServerWidget
from napari_ppcmi._widgets.train_widget import TrainWidget
from napari_ppcmi._widgets.workspace import Workspace

PAGES = (
    KeyPage, EncodePage, ExchangePage, DecodePage, SegmentWidget, OpenStudy, TrainWidget,
    ServerWidget, AuditWidget, Workspace,
)  # fmt: skip
LOW = 500  # what a window of 720 leaves for a dock, and more
JOB_MS = 60_000


def cut_labels(page):
    """Texts of a page that are not to be seen whole, however far it is scrolled."""
    labels = [one for one in page.findChildren(QLabel) if one.isVisible() and one.wordWrap()]
    return [one.text() for one in labels if one.height() < one.heightForWidth(one.width())]


@pytest.fixture(params=PAGES)
def unfolded(request, qtbot, viewer_model, unlock_demo):
    """Each page, unlocked, with all that can be unfolded; not shown yet."""
    page = request.param(viewer_model)
    qtbot.addWidget(page)
    unlock_demo(viewer_model)
    for section in page.findChildren(Section):
        section.expand(animate=False)
    return page


def test_a_page_does_not_make_a_low_window_higher(qtbot, unfolded):
    page = unfolded
    page.show()
    qtbot.wait(50)
    assert page.minimumSizeHint().height() <= LOW


def test_the_segment_page_does_not_grow_with_its_results(qtbot, viewer_model, unlock_demo):
    page = SegmentWidget(viewer_model)
    qtbot.addWidget(page)
    unlock_demo(viewer_model)
    viewer_model.add_image(np.random.default_rng(0).random((64, 64)))
    with qtbot.waitSignal(page.finished, timeout=JOB_MS):
        page.segment()
    page.alignment.expand(animate=False)
    page.alignment.start()  # no folder is chosen: that is told, too
    page.resize(page.minimumSizeHint().width(), LOW)
    page.show()
    qtbot.wait(50)
    assert page.results.isVisible() and page.panel.error.isVisible()
    assert page.minimumSizeHint().height() <= LOW and page.height() == LOW
    assert not cut_labels(page)


def test_open_study_cuts_off_nothing_of_what_could_not_be_opened(qtbot, viewer_model, tmp_path):
    page = OpenStudy(viewer_model)
    qtbot.addWidget(page)
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        page.open([tmp_path / f"scan_{number}.nii" for number in range(8)])
    qtbot.waitUntil(lambda: "8 of 8" in page.panel.error.text(), timeout=JOB_MS)
    page.resize(320, 150)
    page.show()
    qtbot.wait(50)
    assert page.height() == 150
    assert not cut_labels(page)


def test_a_large_font_cuts_nothing_off_at_the_side(qtbot, unfolded):
    page = unfolded
    page.setStyleSheet("QWidget { font-size: 16pt; }")
    page.show()
    qtbot.wait(50)
    page.resize(10, LOW)  # comes out as wide as it must be
    qtbot.wait(50)
    areas = [one for one in page.findChildren(QScrollArea) if one.isVisible()]
    assert all(one.horizontalScrollBar().maximum() == 0 for one in areas)


def test_each_page_of_the_workspace_has_room_for_its_width(qtbot, viewer_model, unlock_demo):
    page = Workspace(viewer_model)
    qtbot.addWidget(page)
    unlock_demo(viewer_model)
    page.resize(page.minimumSizeHint().width(), 640)
    page.show()
    for one in (page.key, page.encode, page.exchange, page.decode):
        page.tabs.setCurrentWidget(one)
        qtbot.wait(50)
        (area,) = [child for child in one.children() if hasattr(child, "horizontalScrollBar")]
        assert area.horizontalScrollBar().maximum() == 0, type(one).__name__


def test_pages_that_are_closed_one_by_one_end_the_worker(make_napari_viewer, qtbot, unlock_demo):
    viewer = make_napari_viewer()
    docks = [
        viewer.window.add_dock_widget(kind(viewer), name=kind.__name__)
        for kind in (KeyPage, EncodePage, ExchangePage, DecodePage)
    ]
    unlock_demo(viewer)
    jobs = jobs_for(viewer)
    worker = jobs.worker_pid
    for dock in docks:
        qtbot.wait(50)
        assert jobs.session.is_unlocked and jobs.worker_pid == worker
        dock.destroyOnClose()  # what its x does
    qtbot.waitUntil(lambda: not jobs.session.is_unlocked, timeout=5000)
    qtbot.waitUntil(lambda: not psutil.pid_exists(worker), timeout=5000)


def test_a_dialog_is_not_larger_than_its_screen(qtbot):
    dialog = QDialog()
    qtbot.addWidget(dialog)
    screen = dialog.screen().availableGeometry()
    open_at(dialog, 3000, 2000)
    assert dialog.width() < screen.width() and dialog.height() < screen.height()
    open_at(dialog, 400, 300)
    assert (dialog.width(), dialog.height()) == (400, 300)
