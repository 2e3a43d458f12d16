"""A worker that runs out of memory or is ended while it writes: plain words, and no litter."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._overlay import read_layer
from napari_ppcmi._protocol.images import SavedMask, SaveMask
from napari_ppcmi._widgets.segment_widget import SegmentWidget

MIB = 2**20
only_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux can limit the memory of a process that runs"
)


def leave_no_room(pid: int, room: int) -> None:
    """From now on the process gets so much more memory, and no more, as on a full machine."""
    worker = psutil.Process(pid)
    limit = worker.memory_info().vms + room
    worker.rlimit(psutil.RLIMIT_AS, (limit, limit))


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


@pytest.fixture
def widget(qtbot, viewer_model, unlock_demo):
    made = SegmentWidget(viewer_model)
    qtbot.addWidget(made)
    unlock_demo(viewer_model)
    return made


def check_that_it_was_told_and_that_the_next_one_works(qtbot, viewer, widget) -> None:
    told = widget.panel.error.text()
    assert "memory" in told, told
    assert "Close other" in told or "close other" in told
    for word in ("Traceback", "Error", "alloc", "bytes", ".py"):
        assert word not in told
    assert widget.panel._details_text.text() == ""
    assert not widget.panel.error.isHidden() and widget.button.isEnabled()
    count = len(viewer.layers)
    viewer.layers.selection = {viewer.add_image(noise(96, 96), name="next")}
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.segment()
    assert widget.panel.error.isHidden(), widget.panel.error.text()
    assert len(viewer.layers) == count + 2  # and the key was still unlocked


@only_linux
def test_memory_that_ends_during_a_segmentation(qtbot, viewer_model, widget):
    viewer_model.add_image(noise(400, 96, 96))
    worker = jobs_for(viewer_model).worker_pid
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.segment()
        with qtbot.waitSignal(widget.panel.progressed, timeout=60_000):
            pass
        leave_no_room(worker, 4 * MIB)
    assert len(viewer_model.layers) == 1
    check_that_it_was_told_and_that_the_next_one_works(qtbot, viewer_model, widget)
    assert not psutil.pid_exists(worker)  # what it held was given back


@only_linux
def test_an_image_that_does_not_fit(qtbot, viewer_model, widget):
    """It does not even get to the worker."""
    viewer_model.add_image(np.zeros((300, 512, 512), np.float32))
    leave_no_room(jobs_for(viewer_model).worker_pid, 100 * MIB)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.segment()
    check_that_it_was_told_and_that_the_next_one_works(qtbot, viewer_model, widget)


def parts_in(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*.part.*"))


def saving(viewer, folder: Path) -> SaveMask:
    """Slow to compress."""
    image = read_layer(viewer.add_image(noise(200, 256, 256)))
    mask = np.random.default_rng(0).integers(0, 200, image.data.shape[:3], np.uint8)
    return SaveMask(arrays=(mask,), path=folder / "mask.nii.gz", geometry=image.geometry)


def test_a_worker_that_is_killed_while_it_writes_leaves_nothing(qtbot, viewer_model, ask, tmp_path):
    jobs = jobs_for(viewer_model)
    folder = tmp_path / "out"
    folder.mkdir()
    other = folder / ".0123456789ab.part.of-somebody-else.nii.gz"
    other.write_bytes(b"a partner writes this now")
    request = saving(viewer_model, folder)
    job = jobs.submit(request)
    failures = []
    job.failed.connect(failures.append)
    qtbot.waitUntil(lambda: len(parts_in(folder)) == 2, timeout=30_000)
    with qtbot.waitSignal(job.finished, timeout=20_000):
        os.kill(jobs.worker_pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    assert [failure.kind for failure in failures] == ["Crash"]
    assert list(folder.iterdir()) == [other]
    assert isinstance(ask(jobs, request), SavedMask)
    assert sorted(folder.iterdir()) == [other, request.path]


def test_a_cancel_that_has_to_be_forced_leaves_nothing(qtbot, viewer_model, tmp_path):
    jobs = jobs_for(viewer_model)
    job = jobs.submit(saving(viewer_model, tmp_path / "out"))
    qtbot.waitUntil(lambda: bool(parts_in(tmp_path / "out")), timeout=30_000)
    with qtbot.waitSignals([job.cancelled, job.finished], timeout=2500):
        job.cancel()
    qtbot.waitUntil(lambda: not list((tmp_path / "out").iterdir()), timeout=2000)


def test_closing_the_viewer_while_the_worker_writes_leaves_nothing(qtbot, viewer_model, tmp_path):
    jobs = jobs_for(viewer_model)
    jobs.submit(saving(viewer_model, tmp_path / "out"))
    qtbot.waitUntil(lambda: bool(parts_in(tmp_path / "out")), timeout=30_000)
    jobs.close()
    assert not list((tmp_path / "out").iterdir())
