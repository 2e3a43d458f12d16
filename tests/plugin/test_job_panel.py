"""Two jobs of one panel: what one has disabled, and the row with Cancel, outlive the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from qtpy.QtWidgets import QPushButton, QScrollArea

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._overlay import read_layer
from napari_ppcmi._protocol.bundles import FindCases
from napari_ppcmi._protocol.images import MakeThumbnail, OpenImage, SaveMask
from napari_ppcmi._protocol.keys import LookAtHome
from napari_ppcmi._protocol.message import Step
from napari_ppcmi._widgets.encode_page import EncodePage
from napari_ppcmi._widgets.job_panel import JobPanel

JOB_MS = 60_000


@pytest.fixture
def panel(qtbot, viewer_model):
    made = JobPanel(jobs_for(viewer_model))
    qtbot.addWidget(made)
    made.show()
    return made


def find(folder: Path) -> FindCases:
    return FindCases(paths=(folder,))


def test_a_button_waits_for_all_jobs_that_disabled_it(qtbot, panel, tmp_path: Path):
    first, both = QPushButton(), QPushButton()
    for one in (first, both):
        qtbot.addWidget(one)
    one = panel.run(find(tmp_path), print, disable=[first, both])
    other = panel.run(find(tmp_path), print, disable=[both])
    seen = []
    one.finished.connect(lambda: seen.append((first.isEnabled(), both.isEnabled())))
    with qtbot.waitSignals([panel.idle, other.finished], timeout=JOB_MS):
        assert not first.isEnabled() and not both.isEnabled()
    assert seen == [(True, False)]
    assert first.isEnabled() and both.isEnabled()
    assert panel.job is None


def test_a_long_job_is_not_called_ready_by_a_quick_one(qtbot, panel, viewer_model, tmp_path: Path):
    jobs, told = jobs_for(viewer_model), []
    labels = np.random.default_rng(0).integers(0, 255, (128, 512, 512), np.uint8)
    geometry = read_layer(viewer_model.add_image(labels)).geometry
    path = tmp_path / "slow.nii.gz"  # noise is packed for seconds
    job = panel.run(SaveMask(arrays=(labels.T,), path=path, geometry=geometry), print)
    jobs.status_changed.connect(told.append)
    for submit in (jobs.submit, lambda request: panel.run(request, print)):
        with qtbot.waitSignal(submit(LookAtHome(home=tmp_path)).finished, timeout=JOB_MS):
            pass
    assert jobs.running is job and "Ready." not in told
    with qtbot.waitSignal(panel.idle, timeout=JOB_MS):
        job.cancel()


def test_what_failed_on_a_page_is_not_told_at_the_foot_of_others(
    qtbot, viewer_model, panel, tmp_path: Path
):
    other = JobPanel(jobs_for(viewer_model))
    qtbot.addWidget(other)
    with qtbot.waitSignal(panel.idle, timeout=JOB_MS):
        panel.run(OpenImage(path=tmp_path / "none.nii"), print)
    assert "no such file" in panel.error.text()
    for one in (panel, other):
        assert one.status.text().startswith("Ready.")


def test_cancel_stays_for_the_job_that_is_left(qtbot, panel, tmp_path: Path):
    one = panel.run(find(tmp_path), print)
    panel.run(LookAtHome(home=tmp_path), print)
    other = panel.run(find(tmp_path), print)
    assert panel.job is one and panel.cancel.isVisible()
    seen = []
    one.finished.connect(lambda: seen.append((panel.job, panel.cancel.isVisible())))
    with qtbot.waitSignal(panel.idle, timeout=JOB_MS):
        panel.cancel.click()
        assert one.is_cancelling and not panel.cancel.isEnabled()
    assert seen == [(other, True)]
    assert not other.is_cancelling and not panel.cancel.isVisible()


def test_layers_that_are_taken_twice_are_kept_one_after_another(qtbot, viewer_model, unlock_demo):
    page = EncodePage(viewer_model)
    qtbot.addWidget(page)
    page.show()
    unlock_demo(viewer_model)
    values = np.random.default_rng(0).random((2, 64, 64), dtype=np.float32)
    layers = [viewer_model.add_image(values, name=f"volume {at}") for at in range(3)]
    review = page.findChild(QPushButton, "review")
    for layer in layers:
        viewer_model.layers.selection = {layer}
        page.add_layers()
    assert len(page.panel._disabled) == 1 and not review.isEnabled()
    qtbot.waitUntil(lambda: page.cases.count() == 3, timeout=JOB_MS)
    qtbot.waitUntil(lambda: page.panel.job is None, timeout=JOB_MS)
    assert review.isEnabled()


def test_saving_while_the_next_image_is_segmented_leaves_the_button_usable(
    qtbot, viewer_model, unlock_demo, tmp_path: Path
):
    from napari_ppcmi._widgets.segment_widget import SegmentWidget

    widget = SegmentWidget(viewer_model)
    qtbot.addWidget(widget)
    unlock_demo(viewer_model)
    layer = viewer_model.add_image(np.random.default_rng(0).random((64, 64), dtype=np.float32))
    geometry = read_layer(layer).geometry
    widget.segment()
    request = SaveMask(
        arrays=(np.zeros((64, 64), np.uint8),), path=tmp_path / "mask.png", geometry=geometry
    )
    saved = widget.panel.run(request, print, disable=[widget.save])
    with qtbot.waitSignal(saved.finished, timeout=JOB_MS):
        pass
    assert (tmp_path / "mask.png").is_file()
    assert widget.button.isEnabled() and widget.save.isEnabled()


def test_what_a_page_tells_is_seen_in_a_low_window(qtbot, viewer_model, unlock_demo):
    page = EncodePage(viewer_model)
    qtbot.addWidget(page)
    page.resize(320, 400)
    page.show()
    unlock_demo(viewer_model)
    qtbot.waitUntil(lambda: page.recipients.count() == 1, timeout=JOB_MS)
    qtbot.wait(50)
    assert page.panel.visibleRegion().isEmpty()
    page.review.click()
    qtbot.waitUntil(lambda: is_seen(page.panel.error))
    viewer_model.add_image(np.random.default_rng(0).random((200, 96, 96), dtype=np.float32))
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        page.add_layers()
    page.findChild(QScrollArea).verticalScrollBar().setValue(0)
    page.review.click()
    qtbot.waitUntil(lambda: is_seen(page.panel.cancel))
    assert is_seen(page.panel.status) and page.panel.job is not None
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        page.panel.cancel.click()


def test_a_pause_and_its_end_are_told(qtbot, viewer_model, tmp_path: Path):
    panel = JobPanel(jobs_for(viewer_model), pausable=True)
    qtbot.addWidget(panel)
    jobs = jobs_for(viewer_model)
    job = panel.run(find(tmp_path), print)
    panel.pause.click()
    job.progressed.emit(Step(done=1, total=2, message="Epoch 1", seconds_left=9))
    assert jobs.status == "Paused." and panel.bar.value() == panel.bar.maximum() // 2
    panel.pause.click()
    assert jobs.status == "Going on…"
    job.progressed.emit(Step(done=1, total=2, message="Epoch 1", seconds_left=9))
    jobs.device = "Using the CPU."
    jobs.say(jobs.status)
    assert panel.status.text() == "Epoch 1 — 9 s left. Using the CPU."
    with qtbot.waitSignal(panel.idle, timeout=JOB_MS):
        job.cancel()


def is_seen(widget) -> bool:
    return widget.visibleRegion().boundingRect().height() == widget.height()


def test_a_page_does_not_ask_to_unlock_what_was_unlocked(
    qtbot, viewer_model, unlock_demo, panel, tmp_path: Path
):
    other = JobPanel(jobs_for(viewer_model))
    qtbot.addWidget(other)
    locked = panel.run(MakeThumbnail(image=tmp_path / "none.png"), print)
    other.refuse("No folder is chosen.", "Choose one.")
    with qtbot.waitSignal(locked.finished, timeout=JOB_MS):
        pass
    assert "unlock" in panel.error.text().lower() and panel.error.isVisible()
    unlock_demo(viewer_model)
    assert panel.error.isHidden() and not panel.error.text()
    assert other.error.text().startswith("No folder")  # which is as true as before
    panel.refuse("The key is locked.", "Unlock it.", is_locked=True)
    jobs_for(viewer_model).session.use(outbox=tmp_path)
    assert panel.error.isVisible()  # nothing was unlocked just now
