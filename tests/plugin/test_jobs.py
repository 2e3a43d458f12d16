"""The worker process: jobs, cancel, crash, and that the next job works after each."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from qtpy.QtWidgets import QWidget

from napari_ppcmi._jobs import jobs_for, peek_jobs
from napari_ppcmi._jobs.jobs import CANCEL_MS
from napari_ppcmi._overlay import read_layer
from napari_ppcmi._protocol.bundles import FindCases, FolderListing, ScanFolder
from napari_ppcmi._protocol.images import Mask, OpenedImage, OpenImage, Segment
from napari_ppcmi._protocol.keys import DemoSite, HomeInfo, LookAtHome, Unlock
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._widgets.key_page import KeyPage
from ppcmi_sf.data.sample import sample_data_folder

IMAGE = sample_data_folder() / "ultrasound" / "images" / "north_000.png"


def big_volume(viewer, slices: int = 400):
    layer = viewer.add_image(np.random.default_rng(0).random((slices, 96, 96), dtype=np.float32))
    image = read_layer(layer)
    return Segment(arrays=(image.data,), name="volume", geometry=image.geometry)


def unlocking(demo: DemoSite) -> Unlock:
    return Unlock(
        home=demo.home,
        key_file=demo.key_file,
        key_passphrase=demo.passphrase,
        site_folder=demo.site_folder,
        identity_passphrase=demo.passphrase,
    )


def test_a_quick_request_does_not_wait_for_a_long_job(qtbot, viewer_model, unlock_demo, ask):
    demo = unlock_demo(viewer_model)
    jobs = jobs_for(viewer_model)
    long = jobs.submit(big_volume(viewer_model))
    home = ask(jobs, LookAtHome(home=demo.home))
    assert isinstance(home, HomeInfo)
    assert home.identity is not None and home.identity.name == "north"
    assert jobs.running is long


def test_a_job_tells_how_far_it_is_and_can_be_cancelled_in_two_seconds(
    qtbot, viewer_model, unlock_demo, ask
):
    unlock_demo(viewer_model)
    jobs = jobs_for(viewer_model)
    job = jobs.submit(big_volume(viewer_model))
    worker = jobs.worker_pid
    steps = []
    job.progressed.connect(steps.append)
    qtbot.waitUntil(lambda: len(steps) > 2, timeout=60_000)
    assert steps[-1].seconds_left is not None
    assert 0 < steps[-1].fraction < 1
    asked = time.monotonic()
    with qtbot.waitSignals([job.cancelled, job.finished], timeout=2000):
        job.cancel()
    assert time.monotonic() - asked < 2
    qtbot.waitUntil(lambda: not psutil.pid_exists(worker), timeout=5000)  # its memory, too
    opened = ask(jobs, OpenImage(path=IMAGE))
    assert isinstance(opened, OpenedImage)
    assert jobs.session.is_unlocked


def test_a_quick_request_beside_a_job_that_is_cancelled_gets_its_answer(
    qtbot, viewer_model, unlock_demo, tmp_path: Path
):
    demo = unlock_demo(viewer_model)
    jobs = jobs_for(viewer_model)
    worker = jobs.worker_pid
    for number in range(3000):  # so that it takes longer than the cancel
        (tmp_path / f"{number}.ppcmi").write_bytes(b"no bundle")
    long = jobs.submit(big_volume(viewer_model))
    with qtbot.waitSignal(long.progressed, timeout=60_000):
        pass
    scan, got = jobs.submit(ScanFolder(folder=tmp_path)), []
    scan.succeeded.connect(got.append)
    with qtbot.waitSignal(long.finished, timeout=2000):
        long.cancel()
    assert not got, "the scan was too quick to prove anything"
    qtbot.waitUntil(lambda: bool(got), timeout=60_000)
    assert isinstance(got[0], FolderListing) and demo.home.is_dir()
    qtbot.waitUntil(lambda: not psutil.pid_exists(worker), timeout=5000)
    assert not jobs._jobs and jobs.session.is_unlocked


def test_a_job_that_waits_is_cancelled_without_the_one_that_runs(qtbot, viewer_model, unlock_demo):
    unlock_demo(viewer_model)
    jobs = jobs_for(viewer_model)
    runs, waits = jobs.submit(big_volume(viewer_model)), jobs.submit(big_volume(viewer_model))
    with qtbot.waitSignal(runs.progressed, timeout=60_000):
        pass
    worker = jobs.worker_pid
    with qtbot.waitSignals([waits.cancelled, waits.finished], timeout=2000):
        waits.cancel()
    qtbot.wait(CANCEL_MS + 500)  # by then a worker that does not answer is ended by force
    assert jobs.running is runs and jobs.worker_pid == worker
    runs.cancel()
    qtbot.waitUntil(lambda: jobs.running is None, timeout=2000)


def test_locking_stops_what_works_with_the_key_and_nothing_else(
    qtbot, viewer_model, unlock_demo, tmp_path: Path
):
    unlock_demo(viewer_model)
    jobs = jobs_for(viewer_model)
    secret = jobs.submit(big_volume(viewer_model))
    plain, found = jobs.submit(FindCases(paths=(IMAGE,))), []
    plain.succeeded.connect(found.append)
    with qtbot.waitSignal(secret.progressed, timeout=60_000):
        pass
    with qtbot.waitSignals([secret.cancelled, plain.finished], timeout=10_000):
        jobs.lock()
    assert not jobs.session.is_unlocked
    assert [case.name for case in found[0].cases] == [IMAGE.stem]


def test_jobs_end_with_the_last_widget_and_the_key_is_locked_in_time_when_one_is_opened_again(
    qtbot, viewer_model, unlock_demo
):
    jobs = jobs_for(viewer_model)
    dock = QWidget()
    jobs.attach(dock)
    unlock_demo(viewer_model)
    job = jobs.submit(big_volume(viewer_model))
    with qtbot.waitSignals([job.cancelled, job.finished], timeout=5000):
        dock.deleteLater()
    again = QWidget()
    jobs.attach(again)
    unlock_demo(viewer_model)
    jobs._last_use -= 60 * 24
    jobs._lock_when_idle()
    qtbot.waitUntil(lambda: not jobs.session.is_unlocked, timeout=5000)


def test_after_a_crash_the_next_job_works_and_the_key_is_still_unlocked(
    qtbot, viewer_model, unlock_demo, ask
):
    unlock_demo(viewer_model)
    jobs = jobs_for(viewer_model)
    job = jobs.submit(big_volume(viewer_model))
    failures = []
    job.failed.connect(failures.append)
    with qtbot.waitSignal(job.finished, timeout=20_000):
        os.kill(jobs.worker_pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    assert [failure.kind for failure in failures] == ["Crash"]
    assert "Try again" in failures[0].hint
    mask = ask(jobs, big_volume(viewer_model, slices=2))
    assert isinstance(mask, Mask)
    assert mask.arrays[0].shape == mask.geometry.shape


def test_a_key_that_a_fresh_worker_cannot_open_is_locked_and_the_reason_told(
    qtbot, viewer_model, unlock_demo
):
    demo = unlock_demo(viewer_model)
    jobs, page = jobs_for(viewer_model), KeyPage(viewer_model)
    qtbot.addWidget(page)
    demo.key_file.unlink()
    job = jobs.submit(big_volume(viewer_model))
    with qtbot.waitSignal(job.finished, timeout=20_000):
        os.kill(jobs.worker_pid, getattr(signal, "SIGKILL", signal.SIGTERM))
    assert jobs.session.is_unlocked
    jobs.submit(LookAtHome(home=demo.home))
    qtbot.waitUntil(lambda: not jobs.session.is_unlocked, timeout=20_000)
    told = page.panel.error.text()
    assert "Locked, since" in told and demo.key_file.name in told
    assert jobs._unlock is None


@pytest.mark.parametrize(
    ("error", "told"), [(OSError("gone"), "could not be read"), (MemoryError(), "enough memory")]
)
def test_a_layer_that_cannot_be_read_ends_its_job_and_no_other(
    qtbot, viewer_model, ask, tmp_path: Path, error, told
):
    class Lazy:
        """As dask's: its values come from a file when they are wanted."""

        def __array__(self, *_given, **_named):
            raise error

    jobs = jobs_for(viewer_model)
    request = big_volume(viewer_model, slices=1)
    failure = ask(jobs, request.model_copy(update={"arrays": (Lazy(),)}))
    assert isinstance(failure, Failure)
    assert told in failure.message and "'volume'" in failure.message and failure.hint
    assert isinstance(ask(jobs, LookAtHome(home=tmp_path)), HomeInfo)


def test_an_error_is_a_sentence_with_a_hint_and_no_traceback(viewer_model, ask, tmp_path: Path):
    torn = tmp_path / "torn.png"
    torn.write_bytes(IMAGE.read_bytes()[:200])
    failure = ask(jobs_for(viewer_model), OpenImage(path=torn))
    assert isinstance(failure, Failure)
    assert "torn.png" in failure.message and failure.hint
    assert "Traceback" not in str(failure)


def test_what_is_locked_while_it_is_unlocked_stays_locked(qtbot, viewer_model, unlock_demo, ask):
    demo, jobs = unlock_demo(viewer_model), jobs_for(viewer_model)
    job = jobs.submit(unlocking(demo))
    with qtbot.waitSignals([job.cancelled, job.finished, jobs.lock().finished], timeout=20_000):
        pass
    ask(jobs, LookAtHome(home=demo.home))  # by now an answer to the first would have come
    assert not jobs.session.is_unlocked and jobs._unlock is None
    assert isinstance(ask(jobs, big_volume(viewer_model, slices=1)), Failure)


def test_without_a_key_nothing_is_segmented(viewer_model, ask):
    failure = ask(jobs_for(viewer_model), big_volume(viewer_model, slices=1))
    assert isinstance(failure, Failure)
    assert "locked" in failure.message


def test_two_viewers_have_two_sessions_and_two_workers(viewer_model, unlock_demo, ask):
    from napari.components import ViewerModel

    other = ViewerModel()
    try:
        assert peek_jobs(other) is None
        unlock_demo(viewer_model)
        assert not jobs_for(other).session.is_unlocked
        failure = ask(jobs_for(other), big_volume(other, slices=1))
        assert isinstance(failure, Failure)
        assert jobs_for(other).worker_pid != jobs_for(viewer_model).worker_pid
    finally:
        jobs_for(other).close()


def test_no_passphrase_in_what_the_session_or_the_jobs_show(viewer_model, unlock_demo):
    demo = unlock_demo(viewer_model)
    jobs = jobs_for(viewer_model)
    secret = demo.passphrase.get_secret_value()
    shown = repr(jobs._unlock) + repr(vars(jobs.session)) + repr(vars(jobs)) + str(demo)
    assert secret not in shown
    assert secret not in " ".join(psutil.Process(jobs.worker_pid).cmdline())


def test_opening_the_widgets_imports_neither_torch_nor_monai(tmp_path: Path):
    import subprocess
    import sys

    code = (
        "import sys, napari_ppcmi._widgets.workspace, napari_ppcmi._widgets.segment_widget;"
        "print([m for m in ('torch', 'monai', 'SimpleITK', 'nibabel') if m in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_pictures_of_any_number_type_are_segmented(viewer_model, unlock_demo, ask, dtype):
    unlock_demo(viewer_model)
    values = (np.random.default_rng(0).random((70, 50)) * 200).astype(dtype)
    image = read_layer(viewer_model.add_image(values))
    mask = ask(
        jobs_for(viewer_model),
        Segment(arrays=(image.data,), name="picture", geometry=image.geometry),
    )
    assert isinstance(mask, Mask), mask
    assert mask.arrays[0].shape == (70, 50) and mask.arrays[0].dtype == np.uint8
