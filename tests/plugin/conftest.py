"""A home away from the user's own, viewers without a window, and a demo site that is unlocked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from napari.components import ViewerModel
from PIL import Image as Picture

from napari_ppcmi._jobs import Job, Jobs, jobs_for
from napari_ppcmi._protocol.keys import DemoSite, PrepareDemo, Unlock
from napari_ppcmi._protocol.message import Answer, Failure, Request

JOB_MS = 60_000


@pytest.fixture(autouse=True)
def away_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing of the user is read or written, by this process or its workers."""
    for name in ("CONFIG", "DATA", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / "xdg" / name.lower()))
    monkeypatch.setenv("PPCMI_HOME", str(tmp_path / "ppcmi-home"))
    return tmp_path


@pytest.fixture(autouse=True)
def no_worker_is_left() -> Iterator[None]:
    """Each test ends the workers that it started."""
    before = {child.pid for child in psutil.Process().children()}
    yield
    left = [child for child in psutil.Process().children() if child.pid not in before]
    workers = [c for c in left if any("napari_ppcmi._worker" in part for part in _command(c))]
    for worker in workers:
        worker.kill()
    assert not workers, "a worker outlived its test"


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture
def viewer_model() -> Iterator[ViewerModel]:
    """A viewer without a window: milliseconds instead of seconds, and no GL."""
    viewer = ViewerModel()
    yield viewer
    jobs_for(viewer).close()


@pytest.fixture
def ask(qtbot: Any) -> Callable[[Jobs, Request], Answer]:
    """Hand over a request and wait for its answer."""

    def wait(jobs: Jobs, request: Request) -> Answer:
        job = jobs.submit(request)
        return answer_of(qtbot, job)

    return wait


def answer_of(qtbot: Any, job: Job) -> Answer:
    """Wait until a job has ended; its answer or failure."""
    got: list[Answer] = []
    job.succeeded.connect(got.append)
    job.failed.connect(got.append)
    with qtbot.waitSignal(job.finished, timeout=JOB_MS):
        pass
    assert got, "the job was cancelled"
    return got[0]


@pytest.fixture
def unlock_demo(
    ask: Callable[[Jobs, Request], Answer], away_from_home: Path
) -> Callable[[Any], DemoSite]:
    """Set up the demo site for a viewer, and unlock it."""

    def unlock(viewer: Any) -> DemoSite:
        jobs = jobs_for(viewer)
        demo = ask(jobs, PrepareDemo(folder=away_from_home / "demo"))
        assert isinstance(demo, DemoSite), demo
        jobs.session.use_demo(demo)
        opened = ask(
            jobs,
            Unlock(
                home=demo.home,
                key_file=demo.key_file,
                key_passphrase=demo.passphrase,
                site_folder=demo.site_folder,
                identity_passphrase=demo.passphrase,
            ),
        )
        assert not isinstance(opened, Failure), opened
        return demo

    return unlock


@pytest.fixture
def write_ellipses() -> Callable[[Path], None]:
    """Eight noisy pictures of an ellipse each, and their masks, in ``images`` and ``masks``."""

    def write(folder: Path) -> None:
        rng = np.random.default_rng(0)
        rows, columns = np.mgrid[:64, :64] / 64
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True)
        for number in range(8):
            (cy, cx), (ry, rx) = rng.uniform(0.35, 0.65, 2), rng.uniform(0.18, 0.3, 2)
            mask = ((((rows - cy) / ry) ** 2 + ((columns - cx) / rx) ** 2) < 1).astype(np.uint8)
            noisy = 60 + 120 * mask + rng.normal(0, 12, mask.shape)
            image = np.clip(noisy, 0, 255).astype(np.uint8)
            Picture.fromarray(image).save(folder / "images" / f"case_{number}.png")
            Picture.fromarray(mask).save(folder / "masks" / f"case_{number}.png")

    return write
