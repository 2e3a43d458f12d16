"""What a person agreed to is what is written."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from napari_ppcmi._protocol.bundles import CaseInfo
from napari_ppcmi._widgets.encode_page import EncodePage
from ppcmi_sf.data.sample import sample_data_folder

JOB_MS = 60_000
IMAGES = sample_data_folder() / "ultrasound" / "images"


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
