"""Every page alone in a dock, as the Plugins menu opens it: it ends with the dock, and fits."""

from __future__ import annotations

import psutil
import pytest
from qtpy.QtWidgets import QDialog

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


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_does_not_make_a_low_window_higher(qtbot, viewer_model, unlock_demo, kind):
    page = kind(viewer_model)
    qtbot.addWidget(page)
    unlock_demo(viewer_model)
    for section in page.findChildren(Section):
        section.expand(animate=False)
    page.show()
    qtbot.wait(50)
    assert page.minimumSizeHint().height() <= LOW


def test_each_page_of_the_workspace_has_room_for_its_width(qtbot, viewer_model, unlock_demo):
    page = Workspace(viewer_model)
    qtbot.addWidget(page)
    unlock_demo(viewer_model)
    page.resize(page.minimumWidth(), 640)
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
