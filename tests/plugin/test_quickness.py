"""napari's window stays quick: measured in a real viewer.

How: a timer in the GUI thread is due every 5 ms; the longest time between two of its calls,
minus 5 ms, is how long the thread was kept from answering a click.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from napari.layers import Labels
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QPushButton

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._overlay import read_layer
from napari_ppcmi._protocol.images import Mask, Provenance
from napari_ppcmi._protocol.keys import ClassInfo
from napari_ppcmi._protocol.training import NewStudy, TrainSite
from napari_ppcmi._widgets.segment_widget import SegmentWidget, _Asked
from napari_ppcmi._widgets.train_widget import TrainWidget
from napari_ppcmi._worker.outcomes import class_counts
from ppcmi_sf.data.sample import sample_data_folder

TICK = 0.005
LIMIT = 0.1
CLASSES = (
    ClassInfo(name="background", color="#000000"),
    ClassInfo(name="ventricle", color="#ff0000"),
    ClassInfo(name="wall", color="#00ff00"),
)


class Stalls:
    """Longest time that the GUI thread did not come round."""

    def __init__(self, parent) -> None:
        self.longest, self._last = 0.0, time.perf_counter()
        self._timer = QTimer(parent)
        self._timer.timeout.connect(self._tick)
        self._timer.start(int(TICK * 1000))

    def _tick(self) -> None:
        now = time.perf_counter()
        self.longest = max(self.longest, now - self._last - TICK)
        self._last = now

    def start(self) -> None:
        self.longest, self._last = 0.0, time.perf_counter()


class Timed:
    """How long the GUI thread works to show a mask, without napari's own adding of the layer.

    In time of the thread, so that other programs do not count; and not with what napari loads
    for the first labels layer of any kind, which is pandas and a part of scikit-image.
    """

    def __init__(self, viewer, widget) -> None:
        Labels(np.zeros((2, 2), np.uint8), features={"index": [0]})
        self.ours, self._show = 0.0, widget._show
        events = viewer.layers.events
        events.inserting.connect(lambda _: self._add(1))
        events.inserted.connect(lambda _: self._add(-1), position="last")
        widget._show = self._timed

    def _add(self, sign: int) -> None:
        self.ours += sign * time.thread_time()

    def _timed(self, image, mask) -> None:
        self._add(-1)
        self._show(image, mask)
        self._add(1)


@pytest.fixture
def desk(make_napari_viewer, qtbot, unlock_demo):
    viewer = make_napari_viewer(show=True)
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment")
    unlock_demo(viewer)
    yield viewer, widget
    jobs_for(viewer).close()


def test_the_window_answers_during_the_segmentation_of_a_volume(desk, qtbot):
    viewer, widget = desk
    volume = np.random.default_rng(0).random((120, 256, 256), dtype=np.float32)
    viewer.add_image(volume, scale=(3, 1, 1), units="mm")
    qtbot.wait(500)  # napari draws the volume: that is not ours
    stalls, timed = Stalls(widget), Timed(viewer, widget)
    shown = []
    viewer.layers.events.inserted.connect(lambda _: shown.append(stalls.longest))
    with qtbot.waitSignal(widget.finished, timeout=120_000):
        stalls.start()
        qtbot.mouseClick(widget.findChild(QPushButton, "segment"), _left())
    assert len(viewer.layers) == 2, widget.panel.error.text()
    print(f"longest stall of the GUI thread until the mask came: {shown[0] * 1000:.0f} ms")
    assert shown[0] < LIMIT
    print(f"from the mask to its layer and table: {timed.ours * 1000:.0f} ms")
    assert timed.ours < LIMIT
    found = [row.split(",")[2] for row in widget.results.text().splitlines()[1:]]
    counted = np.bincount(viewer.layers[-1].data.ravel(), minlength=3)[1:] * 0.003
    assert [float(amount) for amount in found] == pytest.approx(counted, abs=0.01)


def test_a_large_mask_is_shown_at_once_when_it_has_arrived(desk):
    viewer, widget = desk
    layer = viewer.add_image(np.zeros((80, 512, 512), np.uint8), scale=(3, 1, 1), units="mm")
    image, timed = read_layer(layer), Timed(viewer, widget)
    labels = np.random.default_rng(0).integers(0, 3, layer.data.shape, dtype=np.uint8)
    mask = Mask(
        arrays=(labels,), axes=image.axes, counts=class_counts(labels, 3), name="large",
        geometry=image.geometry, classes=CLASSES,
        provenance=Provenance(made="now", study="0" * 64, study_name="test", site="north"),
    )  # fmt: skip
    widget._show(_Asked(layer, layer.data, image), mask)
    print(f"from a mask of 21 million voxels to its layer and table: {timed.ours * 1000:.0f} ms")
    assert timed.ours < LIMIT
    shown = viewer.layers[-1].data
    np.testing.assert_array_equal(shown, labels)
    assert shown.flags.c_contiguous  # napari cuts slices from it


def test_the_window_answers_during_a_training(make_napari_viewer, qtbot, tmp_path, ask):
    viewer = make_napari_viewer(show=True)
    widget = TrainWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Train")
    viewer.add_image(np.random.default_rng(0).random((512, 512)))
    jobs = jobs_for(viewer)
    study = tmp_path / "study.yaml"
    ask(
        jobs,
        NewStudy(
            file=study,
            name="quick",
            modality="US",
            class_names=("head", "cavity"),
            image_size=(128, 128),
            autoencoder="small",
        ),
    )
    request = TrainSite(
        study_file=study,
        name="north",
        site_folder=tmp_path / "site",
        data=sample_data_folder() / "ultrasound",
        epochs=12,
    )
    qtbot.wait(500)
    stalls = Stalls(widget)
    failures: list[object] = []
    with qtbot.waitSignal(widget.panel.idle, timeout=120_000):
        stalls.start()
        widget.panel.run(request, lambda _: None, failed=failures.append)
    print(f"longest stall of the GUI thread during a training: {stalls.longest * 1000:.0f} ms")
    jobs.close()
    assert not failures
    assert stalls.longest < LIMIT


def test_a_slice_has_its_mask_within_a_second_once_warm(desk, qtbot):
    from PIL import Image as Picture

    viewer, widget = desk
    with Picture.open(sample_data_folder() / "ultrasound" / "images" / "north_000.png") as stored:
        pixels = np.asarray(stored.resize((256, 256)))
    viewer.add_image(pixels, name="slice")
    times = []
    for count in range(2, 5):
        started = time.perf_counter()
        with qtbot.waitSignal(widget.finished, timeout=60_000):
            qtbot.mouseClick(widget.findChild(QPushButton, "segment"), _left())
        times.append(time.perf_counter() - started)
        assert len(viewer.layers) == count, widget.panel.error.text()
    print(f"click to mask: {', '.join(f'{t:.2f} s' for t in times)}")
    assert min(times[1:]) < 1


def test_the_workspace_opens_within_a_second(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    started = time.perf_counter()
    viewer.window.add_plugin_dock_widget("napari-ppcmi", "PPCMI-SF workspace")
    qtbot.wait(1)
    taken = time.perf_counter() - started
    print(f"workspace open after {taken:.2f} s")
    jobs_for(viewer).close()
    assert taken < 1


def _left():
    from qtpy.QtCore import Qt

    return Qt.MouseButton.LeftButton
