"""What ends when: a viewer's worker with the viewer, its key after a while, its threads at once."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import psutil
from qtpy.compat import isalive

from napari_ppcmi import _preferences
from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._overlay import read_layer
from napari_ppcmi._protocol.images import Segment
from napari_ppcmi._widgets.membership_dialog import MembershipDialog
from napari_ppcmi._widgets.segment_widget import SegmentWidget
from napari_ppcmi._widgets.train_widget import TrainWidget
from napari_ppcmi._widgets.workspace import Workspace
from ppcmi_sf.data.sample import sample_data_folder

PAGES = 4  # of the workspace


def long_job(viewer):
    layer = viewer.add_image(np.random.default_rng(0).random((400, 96, 96), dtype=np.float32))
    image = read_layer(layer)
    return Segment(arrays=(image.data,), name="volume", geometry=image.geometry)


def test_a_viewer_that_is_closed_during_a_job_takes_its_worker_along(
    make_napari_viewer, qtbot, unlock_demo
):
    viewer = make_napari_viewer(show=True)
    viewer.window.add_dock_widget(SegmentWidget(viewer), name="Segment")
    unlock_demo(viewer)
    jobs = jobs_for(viewer)
    job = jobs.submit(long_job(viewer))
    with qtbot.waitSignal(job.progressed, timeout=60_000):
        pass
    worker = jobs.worker_pid
    viewer.close()
    qtbot.waitUntil(lambda: not psutil.pid_exists(worker), timeout=5000)
    qtbot.waitUntil(lambda: not _our_threads(), timeout=5000)


def test_two_windows_work_side_by_side(make_napari_viewer, qtbot, unlock_demo):
    viewers = [make_napari_viewer(show=True) for _ in range(2)]
    widgets = [SegmentWidget(viewer) for viewer in viewers]
    for viewer, widget in zip(viewers, widgets, strict=True):
        viewer.window.add_dock_widget(widget, name="Segment")
    unlock_demo(viewers[0])
    viewers[0].add_image(np.random.default_rng(0).random((96, 96)))
    viewers[1].add_image(np.random.default_rng(0).random((96, 96)))
    for widget in widgets:
        with qtbot.waitSignal(widget.finished, timeout=60_000):
            widget.segment()
    assert [len(viewer.layers) for viewer in viewers] == [2, 1]
    assert "locked" in widgets[1].panel.error.text()
    for viewer in viewers:
        jobs_for(viewer).close()


def test_the_key_is_locked_when_nothing_was_done_for_a_while(
    qtbot, viewer_model, unlock_demo, monkeypatch
):
    unlock_demo(viewer_model)
    jobs = jobs_for(viewer_model)
    assert jobs.session.is_unlocked
    monkeypatch.setattr(_preferences, "_from_napari", lambda: {"lock_minutes": 1 / 60_000})
    qtbot.waitUntil(lambda: "Locked" in jobs.status, timeout=20_000)
    assert not jobs.session.is_unlocked and jobs.session.key is None
    assert jobs._unlock is None
    assert "Locked" in jobs.status


def _our_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("ppcmi-")]


def test_a_dock_that_is_closed_ends_its_job_and_the_last_one_the_key(
    make_napari_viewer, qtbot, unlock_demo
):
    viewer = make_napari_viewer()
    train, workspace = TrainWidget(viewer), Workspace(viewer)
    docks = [viewer.window.add_dock_widget(one) for one in (train, workspace)]
    unlock_demo(viewer)
    jobs, told = jobs_for(viewer), []
    worker = jobs.worker_pid
    job = train.panel.run(
        long_job(viewer), told.append, cancelled=lambda: train.summary.tell("over")
    )
    with qtbot.waitSignal(job.progressed, timeout=60_000):
        pass
    with qtbot.waitSignals([job.cancelled, job.finished], timeout=2000):
        docks[0].destroyOnClose()  # what its x does
    assert not told and jobs.session.is_unlocked and jobs._widgets == PAGES
    docks[1].setFloating(True)
    docks[1].setFloating(False)
    qtbot.wait(50)
    assert jobs._widgets == PAGES  # it has a dock all the time
    docks[1].destroyOnClose()
    qtbot.waitUntil(lambda: not jobs.session.is_unlocked, timeout=2000)
    qtbot.waitUntil(lambda: jobs.worker_pid is None and not psutil.pid_exists(worker), timeout=5000)


def test_a_dialog_that_is_closed_at_once_is_told_nothing_more(qtbot, viewer_model, tmp_path: Path):
    jobs = jobs_for(viewer_model)
    page = SegmentWidget(viewer_model)
    qtbot.addWidget(page)
    for study in (sample_data_folder() / "site" / "study.yaml", tmp_path / "none.yaml"):
        dialog = MembershipDialog(jobs, page)
        dialog.open()
        dialog.study.choose(study)
        assert len(jobs._jobs) == 2
        dialog.close()
        qtbot.waitUntil(lambda: not jobs._jobs, timeout=30_000)
        assert not isalive(dialog)
