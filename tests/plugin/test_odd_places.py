"""The worker where something around it is not as it should be, and what stays in memory."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

import napari_ppcmi
from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._overlay import read_layer
from napari_ppcmi._protocol.images import OpenedImage, OpenImage, Segment
from napari_ppcmi._protocol.keys import HomeInfo, LookAtHome, PrepareDemo, Unlock
from napari_ppcmi._protocol.message import Failure
from ppcmi_sf.data.sample import sample_data_folder

IMAGE = sample_data_folder() / "ultrasound" / "images" / "north_000.png"
PACKAGE = Path(napari_ppcmi.__file__).parent


def take_first(monkeypatch, folder: Path) -> None:
    """Workers that start from now on find modules in a folder before all others."""
    before = os.environ.get("PYTHONPATH")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(folder), before))))


def picture(viewer) -> Segment:
    image = read_layer(viewer.add_image(np.zeros((64, 64), np.float32)))
    return Segment(arrays=(image.data,), name="picture", geometry=image.geometry)


def test_no_module_is_taken_from_the_folder_that_napari_was_started_in(
    viewer_model, ask, tmp_path: Path, monkeypatch
):
    """Such as a shared one, with a file from somebody else."""
    started = tmp_path / "shared"
    started.mkdir()
    for name in ("numpy", "nibabel", "sitecustomize"):
        (started / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", "utf-8")
    monkeypatch.chdir(started)
    assert isinstance(ask(jobs_for(viewer_model), OpenImage(path=IMAGE)), OpenedImage)
    assert not (tmp_path / "ran").exists()


def test_a_library_that_cannot_be_loaded_is_told_by_what_needs_it(
    viewer_model, ask, tmp_path: Path, monkeypatch
):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "torch.py").write_text("raise ImportError('DLL load failed')", "utf-8")
    take_first(monkeypatch, broken)
    jobs = jobs_for(viewer_model)
    demo = ask(jobs, PrepareDemo(folder=tmp_path / "demo"))
    worker = jobs.worker_pid
    failure = ask(jobs, Unlock(home=demo.home, site_folder=demo.site_folder))
    assert isinstance(failure, Failure)
    assert "cannot be loaded" in failure.message and "ppcmi doctor" in failure.hint
    assert "torch.py" in failure.details and "DLL" not in failure.details
    assert isinstance(ask(jobs, OpenImage(path=IMAGE)), OpenedImage)
    assert jobs.worker_pid == worker


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("class HomeInfo(Answer):", "class HomeInfo(Answer):\n    more: int = 1"),
        ("class LookAtHome(Request):", "class LookAtHome(Request):\n    more: int"),
    ],
    ids=["its answer", "the question"],
)
def test_an_update_while_napari_is_open_is_told(
    viewer_model, ask, tmp_path: Path, monkeypatch, before, after
):
    shutil.copytree(PACKAGE, tmp_path / "updated" / PACKAGE.name)
    keys = tmp_path / "updated" / PACKAGE.name / "_protocol" / "keys.py"
    keys.write_text(keys.read_text("utf-8").replace(before, after), "utf-8")
    take_first(monkeypatch, tmp_path / "updated")
    failure = ask(jobs_for(viewer_model), LookAtHome(home=tmp_path))
    assert isinstance(failure, Failure)
    assert "updated" in failure.hint and "start napari again" in failure.hint


@pytest.mark.skipif(sys.platform == "win32", reason="has no such limit")
def test_a_worker_that_cannot_be_started_is_told_and_the_next_one_works(
    qtbot, viewer_model, ask, tmp_path: Path
):
    import resource

    jobs = jobs_for(viewer_model)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        job = jobs.submit(LookAtHome(home=tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    with qtbot.waitSignals([job.failed, job.finished], timeout=5_000):
        pass
    assert isinstance(ask(jobs, LookAtHome(home=tmp_path)), HomeInfo)


def test_values_that_were_sent_are_not_kept(qtbot, viewer_model, ask):
    class Lazy:
        """As dask's: its values come into being when they are wanted."""

        made: weakref.ref[np.ndarray]

        def __array__(self, *_given, **_named):
            values = np.zeros((64, 64), np.float32)
            self.made = weakref.ref(values)
            return values

    lazy = Lazy()
    ask(jobs_for(viewer_model), picture(viewer_model).model_copy(update={"arrays": (lazy,)}))

    def is_gone() -> bool:
        gc.collect()
        return lazy.made() is None

    qtbot.waitUntil(is_gone, timeout=5_000)
