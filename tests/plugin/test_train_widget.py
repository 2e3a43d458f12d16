"""Training a site by clicks, with a real worker and real, tiny trainings."""

from __future__ import annotations

import time

import numpy as np
import pytest
from napari.layers import Image, Labels
from PIL import Image as Picture
from qtpy.QtWidgets import QScrollArea

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._widgets import training_parts
from napari_ppcmi._widgets.train_widget import TrainWidget
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.workflows.folders import SiteFolder

TRAINING_MS = 90_000
LONG = 5000  # epochs: longer than anybody waits


@pytest.fixture
def study_file(tmp_path):
    study = StudySpec(
        name="ellipses",
        modality="US",
        classes=make_classes(["ellipse"]),
        image_size=(64, 64),
        autoencoder="small",
    )
    study.save(tmp_path / "study.yaml")
    return tmp_path / "study.yaml"


@pytest.fixture
def widget(qtbot, viewer_model, tmp_path, study_file, write_ellipses):
    """Filled in, but for the button."""
    write_ellipses(tmp_path / "data")
    made = TrainWidget(viewer_model)
    qtbot.addWidget(made)
    made.show()
    made.study.line.setText(str(study_file))
    made.name.setText("north")
    made.data.line.setText(str(tmp_path / "data"))
    made.site_folder.line.setText(str(tmp_path / "site"))
    made.settings.epochs.setValue(2)
    made.settings.batch_size.setValue(4)
    return made


def train(qtbot, widget) -> None:
    with qtbot.waitSignal(widget.panel.idle, timeout=TRAINING_MS):
        widget.train.click()


def wait_for_epoch(qtbot, widget) -> None:
    qtbot.waitUntil(
        lambda: any(len(s.training) > 1 for s in widget.curve.series), timeout=TRAINING_MS
    )


def test_train_and_use_the_site(qtbot, widget, tmp_path):
    widget.settings.epochs.setValue(4)
    train(qtbot, widget)
    assert not widget.panel.error.isVisible(), widget.panel.error.text()
    site = SiteFolder(tmp_path / "site")
    assert site.study().name == "ellipses"
    assert site.record().site == "north"
    assert all(site.model_file(role).is_file() for role in ("image", "mask"))
    assert [series.name for series in widget.curve.series] == [
        "Image autoencoder",
        "Mask autoencoder",
    ]
    assert all(list(series.training) == [1, 2, 3, 4] for series in widget.curve.series)
    assert "The site is trained on" in widget.summary.text()
    assert "Masks that come back" in widget.summary.text()
    widget.use.click()
    assert widget._jobs.session.site_folder == tmp_path / "site"


def test_a_training_that_was_too_short_is_told(qtbot, widget):
    widget.settings.epochs.setValue(1)
    train(qtbot, widget)
    assert "Too little comes back of ellipse" in widget.summary.text()
    assert "with more epochs" in widget.summary.text()
    assert "--" not in widget.summary.text()


def test_pause_and_resume(qtbot, widget):
    widget.settings.epochs.setValue(LONG)
    steps = []
    widget.panel.progressed.connect(steps.append)
    widget.train.click()
    qtbot.waitUntil(lambda: len(steps) > 3, timeout=TRAINING_MS)
    widget.panel.pause.click()
    qtbot.wait(500)
    paused = len(steps)
    qtbot.wait(1000)
    assert len(steps) == paused
    widget.panel.pause.click()
    qtbot.waitUntil(lambda: len(steps) > paused + 2, timeout=TRAINING_MS)
    with qtbot.waitSignal(widget.panel.idle, timeout=5000):
        widget.panel.cancel.click()


def test_cancel_and_go_on(qtbot, widget, tmp_path):
    widget.settings.epochs.setValue(60)
    widget.train.click()
    wait_for_epoch(qtbot, widget)
    worker, begun = widget._jobs.worker_pid, time.monotonic()
    with qtbot.waitSignal(widget.panel.idle, timeout=10_000):
        widget.panel.cancel.click()
    assert time.monotonic() - begun < 2
    assert "goes on" in widget.summary.text()
    assert widget._jobs.worker_pid not in (None, worker)
    left = {path.name for path in (tmp_path / "site").iterdir()}
    assert left <= {".ppcmi.lock", ".image_autoencoder.checkpoint.safetensors"}
    assert len(left) == 2
    first = []
    widget.panel.progressed.connect(first.append)
    train(qtbot, widget)
    started = next(step for step in first if "epoch" in step.values)
    assert started.values["epoch"] > 1
    assert SiteFolder(tmp_path / "site").record().site == "north"


def test_a_missing_mask_is_told(qtbot, widget, tmp_path):
    (tmp_path / "data" / "masks" / "case_3.png").unlink()
    train(qtbot, widget)
    assert "Left out: 1." in widget.summary.text()
    assert "there is no mask for this image" in widget.summary.text()


def test_no_mask_at_all_is_a_failure(qtbot, widget, tmp_path):
    for mask in (tmp_path / "data" / "masks").iterdir():
        mask.unlink()
    train(qtbot, widget)
    assert "there is no mask for this image" in widget.panel.error.text()
    assert not (tmp_path / "site").exists()


def test_a_training_that_was_finished_is_replaced_by_who_says_so_twice(
    qtbot, widget, tmp_path, monkeypatch
):
    train(qtbot, widget)
    record = (tmp_path / "site" / "training.json").stat().st_mtime_ns
    train(qtbot, widget)
    assert "'Replace what is there' under 'More settings'" in widget.panel.error.text()
    widget.settings.retrain.setChecked(True)
    answers = [False, True]
    monkeypatch.setattr(training_parts, "sure", lambda *_: answers.pop(0))
    widget.train.click()
    assert widget.panel.job is None
    train(qtbot, widget)
    assert "The site is trained on" in widget.summary.text(), widget.panel.error.text()
    assert (tmp_path / "site" / "training.json").stat().st_mtime_ns > record


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("study", "No study file"),
        ("name", "no name"),
        ("data", "No folder of images"),
        ("site_folder", "No site folder"),
    ],
)
def test_what_is_missing_is_told(widget, field, told):
    line = getattr(widget, field)
    getattr(line, "line", line).clear()
    widget.train.click()
    assert told in widget.panel.error.text()
    assert widget.panel.job is None


def test_layers_with_files_can_be_paired(qtbot, widget, viewer_model, tmp_path):
    widget.from_layers.click()
    pairs = widget.pairs
    assert pairs.isVisible() and not widget.data.isVisible()
    pixels = np.zeros((64, 64), np.uint8)
    viewer_model.add_layer(Image(pixels, name="drawn here"))
    viewer_model.add_layer(Labels(pixels, name="painted here"))
    assert "'drawn here' has no file behind it" in pairs.problem.text()
    assert not pairs.add.isEnabled()
    for number in range(4):
        for kind, of in (("images", Image), ("masks", Labels)):
            path = tmp_path / "data" / kind / f"case_{number}.png"
            layer = of(np.array(Picture.open(path)), metadata={"ppcmi": {"path": str(path)}})
            layer.name = f"{kind} {number}"
            viewer_model.add_layer(layer)
        pairs.image.setCurrentText(f"images {number}")
        pairs.labels.setCurrentText(f"masks {number}")
        pairs.add.click()
        qtbot.waitUntil(lambda n=number: len(pairs.cases) == n + 1, timeout=TRAINING_MS)
    assert [case.name for case in pairs.cases] == [f"case_{number}" for number in range(4)]
    pairs.list.setCurrentRow(0)
    pairs.remove.click()
    assert len(pairs.cases) == 3
    labels = viewer_model.layers["masks 3"]
    labels.data_setitem((np.array([0]), np.array([0])), 1)
    widget.train.click()
    qtbot.waitUntil(lambda: "'masks 3' has changes" in widget.panel.error.text(), timeout=5000)
    assert widget.panel.job is None and widget.train.isEnabled()
    labels.undo()
    train(qtbot, widget)
    assert "The site is trained on" in widget.summary.text(), widget.panel.error.text()


def test_a_frame_of_a_file_cannot_be_paired_by_its_path(widget, viewer_model, tmp_path):
    pixels, path = np.zeros((64, 64), np.uint8), tmp_path / "data" / "images" / "case_0.png"
    own = {"path": str(path), "frame": 2}
    viewer_model.add_layer(Labels(pixels, metadata={"ppcmi": {"path": str(path)}}))
    viewer_model.add_layer(Image(pixels, name="frame 3", metadata={"ppcmi": own}))
    told = widget.pairs.problem.text()
    assert told.startswith("'frame 3' is one of several images in its file")
    assert not widget.pairs.add.isEnabled()


def test_a_new_study(qtbot, widget, tmp_path):
    widget.new_study.click()
    dialog = widget.dialog
    dialog.save()
    assert "at least one structure" in dialog.error.text()
    dialog.name.setText("Left ventricle")
    dialog.structures.setPlainText("left ventricle\n\nmyocardium\n")
    dialog.file.choose(tmp_path / "lv")
    dialog.rows.setValue(100)
    dialog.save()
    qtbot.waitUntil(lambda: "multiple of 32" in dialog.error.text(), timeout=TRAINING_MS)
    dialog.rows.setValue(128)
    dialog.arrangement.button(1).click()
    with qtbot.waitSignal(dialog.accepted, timeout=TRAINING_MS):
        dialog.save()
    study = StudySpec.load(tmp_path / "lv.yaml")
    assert widget.study.line.text() == str(tmp_path / "lv.yaml")
    assert (study.image_size, study.arrangement, study.class_count) == ((128, 256), "blind", 3)


def test_it_fits_into_a_narrow_dock(qtbot, widget):
    widget.resize(320, 1000)
    qtbot.wait(50)
    assert widget.width() == 320
    assert widget.findChild(QScrollArea).horizontalScrollBar().maximum() == 0


def test_jobs_end(viewer_model, widget):
    jobs = jobs_for(viewer_model)
    assert jobs.worker_pid is not None
    jobs.close()
    assert jobs.worker_pid is None
