"""Several replies at once: each mask on its image, what failed told, and a stop is a stop."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import psutil
import pytest
from napari.layers import Labels

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.bundles import (
    BatchResult,
    CaseInfo,
    MapHere,
    OpenRevealed,
    ReviewExport,
    WriteBundles,
)
from napari_ppcmi._widgets.decode_page import DecodePage
from ppcmi_sf.data.sample import sample_data_folder

SAMPLES = sample_data_folder() / "ultrasound" / "images"
COUNT = 4


@pytest.fixture
def page(qtbot, viewer_model, unlock_demo, ask, tmp_path: Path):
    """A page with as many replies as there are images, none of them decoded yet."""
    demo, jobs = unlock_demo(viewer_model), jobs_for(viewer_model)
    cases = []
    for number in range(COUNT):
        image = tmp_path / f"case_{number}.png"
        shutil.copyfile(SAMPLES / f"north_00{number % 2}.png", image)
        cases.append(CaseInfo(name=image.stem, image=image))
    wanted = ReviewExport(
        purpose="query",
        cases=tuple(cases),
        recipients=(jobs.session.identity.fingerprint,),
    )
    sent = ask(jobs, WriteBundles(reviewed=wanted, out=demo.outbox))
    assert isinstance(sent, BatchResult) and len(sent.written) == COUNT, sent
    came = ask(jobs, MapHere(queries=sent.written, out=demo.inbox))
    assert isinstance(came, BatchResult) and len(came.written) == COUNT, came
    made = DecodePage(viewer_model)
    qtbot.addWidget(made)
    qtbot.waitUntil(lambda: made.replies.table.rowCount() == COUNT, timeout=20_000)
    return made


def open_one_of_them(qtbot, page, viewer) -> psutil.Process:
    """Press *Show masks*, and come back when one is there and the worker, held, does the next."""
    jobs, worker = jobs_for(viewer), psutil.Process(jobs_for(viewer).worker_pid)

    def hold(event) -> None:  # before the next one is asked for
        if isinstance(event.value, Labels):
            worker.suspend()

    viewer.layers.events.inserted.connect(hold)
    page.decode.click()
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=60_000)
    qtbot.waitUntil(lambda: jobs.running is not None, timeout=5_000)
    assert isinstance(jobs.running.request, OpenRevealed)
    viewer.layers.events.inserted.disconnect(hold)
    return worker


def test_locking_leaves_the_masks_that_are_not_open_yet_for_good(
    qtbot, viewer_model, page, unlock_demo
):
    open_one_of_them(qtbot, page, viewer_model)
    with qtbot.waitSignal(page.finished, timeout=20_000):
        jobs_for(viewer_model).lock()
    shown = len(viewer_model.layers)
    assert shown < 2 * COUNT
    unlock_demo(viewer_model)
    viewer_model.layers.clear()
    qtbot.waitUntil(lambda: page.replies.table.rowCount() == COUNT, timeout=20_000)
    page.replies.table.selectRow(0)
    with qtbot.waitSignal(page.finished, timeout=60_000):
        page.decode.click()
    assert len(viewer_model.layers) == 2  # the one that was asked for, and no old ones


def test_opening_the_masks_can_be_cancelled_and_not_be_asked_for_twice(qtbot, viewer_model, page):
    open_one_of_them(qtbot, page, viewer_model)
    assert not page.decode.isEnabled()
    assert not page.panel.cancel.isHidden() and page.panel.cancel.isEnabled()
    with qtbot.waitSignal(page.finished, timeout=5_000):
        page.panel.cancel.click()
    assert len(viewer_model.layers) < 2 * COUNT
    assert page.panel.error.isHidden() and page.decode.isEnabled()


def test_a_cancel_that_comes_when_one_is_done_stops_the_rest(qtbot, viewer_model, page):
    worker = open_one_of_them(qtbot, page, viewer_model)
    with qtbot.waitSignal(page.finished, timeout=5_000):
        worker.resume()
        time.sleep(1)  # it is done by now, and its answer on the way
        page.panel.cancel.click()
    assert len(viewer_model.layers) < 2 * COUNT


def test_damaged_masks_are_all_told_and_the_others_are_shown(qtbot, viewer_model, page):
    with qtbot.waitSignal(page.finished, timeout=60_000):
        page.decode.click()
    assert len(viewer_model.layers) == 2 * COUNT and page.panel.error.isHidden()
    masks = sorted(jobs_for(viewer_model).session.replies_folder.rglob("*.png"))
    for mask in masks[:2]:
        mask.write_bytes(b"")
    viewer_model.layers.clear()
    with qtbot.waitSignal(page.finished, timeout=60_000):
        page.decode.click()
    assert len(viewer_model.layers) == 2 * (COUNT - 2)
    told = page.panel.error.text()
    assert told.startswith(f"2 of {COUNT} could not be laid over its image; the others were.")
    assert all(str(mask) in told for mask in masks[:2])


def test_a_worker_that_is_killed_costs_one_mask(qtbot, viewer_model, page):
    worker = open_one_of_them(qtbot, page, viewer_model)
    with qtbot.waitSignal(page.finished, timeout=60_000):
        worker.kill()
    assert len(viewer_model.layers) >= 2 * (COUNT - 1)
    assert page.panel.error.text().startswith(f"1 of {COUNT} ")
