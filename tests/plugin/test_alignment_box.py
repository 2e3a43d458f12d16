"""Fitting a site to its network on the Segment page, with the demo site and a real worker."""

from __future__ import annotations

import time

import numpy as np
import pytest

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._widgets.segment_widget import SegmentWidget
from ppcmi_sf.data import DEMO_SITES, write_phantom_folder
from ppcmi_sf.progress import run
from ppcmi_sf.workflows.folders import SiteFolder

TRAINING_MS = 90_000


@pytest.fixture
def site(viewer_model, unlock_demo):
    unlock_demo(viewer_model)
    return SiteFolder(jobs_for(viewer_model).session.site.folder)


@pytest.fixture
def widget(qtbot, viewer_model, site):
    made = SegmentWidget(viewer_model)
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.fixture
def data(tmp_path, site):
    style = next(one for one in DEMO_SITES if one.name == site.record().site)
    run(write_phantom_folder(tmp_path / "data", style, 6, 5, site.study().image_size))
    return tmp_path / "data"


def fit(qtbot, widget):
    with qtbot.waitSignal(widget.panel.idle, timeout=TRAINING_MS):
        widget.alignment.fit.click()


def test_fit_and_segment(qtbot, viewer_model, widget, data, site):
    widget.alignment.data.line.setText(str(data))
    fit(qtbot, widget)
    assert widget.panel.error.isHidden(), widget.panel.error.text()
    told = widget.alignment.summary.text()
    assert site.aligned_file.exists() == ("nothing has changed" not in told)
    assert "slices" in told
    viewer_model.add_image(np.random.default_rng(0).random((60, 80)).astype(np.float32))
    with qtbot.waitSignal(widget.finished, timeout=TRAINING_MS):
        widget.button.click()
    assert widget.panel.error.isHidden(), widget.panel.error.text()
    assert len(viewer_model.layers) == 2


def test_cancel_leaves_nothing_half_done(qtbot, widget, data, site):
    before = {path.name for path in site.root.iterdir()}
    widget.alignment.data.line.setText(str(data))
    epochs = []
    widget.panel.progressed.connect(lambda step: epochs.append(step.values.get("epoch", 0)))
    widget.alignment.fit.click()
    assert not widget.button.isEnabled()
    qtbot.waitUntil(lambda: max(epochs, default=0) >= 1, timeout=TRAINING_MS)
    begun = time.monotonic()
    with qtbot.waitSignal(widget.panel.idle, timeout=10_000):
        widget.panel.cancel.click()
    assert time.monotonic() - begun < 2
    assert "goes on" in widget.alignment.summary.text()
    left = {path.name for path in site.root.iterdir()} - before
    assert left <= {".ppcmi.lock", site.alignment_checkpoint.name}


def test_what_is_missing_is_told(widget):
    widget.alignment.fit.click()
    assert "No folder of images and masks" in widget.panel.error.text()
    assert widget.panel.job is None


def test_a_folder_without_masks_is_told(qtbot, widget, tmp_path):
    (tmp_path / "empty").mkdir()
    widget.alignment.data.line.setText(str(tmp_path / "empty"))
    fit(qtbot, widget)
    assert "empty" in widget.panel.error.text()
    assert widget.alignment.summary.isHidden()


def test_it_is_there_only_with_a_network(qtbot, viewer_model, widget, site):
    assert not widget.alignment.isHidden()
    jobs_for(viewer_model).lock()
    qtbot.waitUntil(lambda: jobs_for(viewer_model).session.site is None)
    assert widget.alignment.isHidden()
