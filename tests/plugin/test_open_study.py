"""The widget "Open study…", with a real worker and no window."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import QMimeData, QPointF, Qt, QUrl
from qtpy.QtGui import QDropEvent
from qtpy.QtWidgets import QPushButton

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._layers import METADATA_KEY
from napari_ppcmi._protocol.images import Mask, Provenance
from napari_ppcmi._protocol.keys import ClassInfo, KeyInfo, SiteInfo, StudyInfo, Unlocked
from napari_ppcmi._widgets.open_study import OpenStudy
from napari_ppcmi._worker.tasks.kept import keep_mask
from ppcmi_sf.data.sample import sample_data_folder
from ppcmi_sf.imaging import read_image

PICTURE = sample_data_folder() / "ultrasound" / "images" / "north_000.png"
VOLUME = sample_data_folder() / "volume" / "image.nii.gz"
WAIT_MS = 60_000


@pytest.fixture
def widget(qtbot, viewer_model):
    made = OpenStudy(viewer_model)
    qtbot.addWidget(made)
    return made


def wait_for_layers(qtbot, viewer, count):
    qtbot.waitUntil(lambda: len(viewer.layers) == count, timeout=WAIT_MS)


def wait_until_idle(qtbot, widget):
    qtbot.waitUntil(lambda: widget.panel.job is None, timeout=WAIT_MS)


def write_series(write_slice: Callable[..., Path], folder: Path, uid: str, slices: int) -> None:
    for number in range(slices):
        write_slice(
            folder / f"{uid}-{number}.dcm",
            np.full((4, 5), number, np.int16),
            (0, 0, 2 * number),
            uid=uid,
            spacing=(0.5, 0.5),
        )


def test_a_file_becomes_a_layer_in_its_place(qtbot, viewer_model, widget):
    widget.open([VOLUME])
    assert not widget.file_button.isEnabled()
    wait_for_layers(qtbot, viewer_model, 1)
    wait_until_idle(qtbot, widget)
    assert widget.file_button.isEnabled()
    layer, image = viewer_model.layers[0], read_image(VOLUME)
    np.testing.assert_array_equal(layer.data, image.data[..., 0])
    kept = layer.metadata[METADATA_KEY]
    assert (kept["path"], kept["geometry"], kept["axes"]) == (
        str(VOLUME),
        image.geometry,
        (0, 1, 2),
    )
    middle = (np.array(layer.data.shape) - 1) / 2
    in_scanner = image.geometry.affine_array() @ [*middle, 1]
    np.testing.assert_allclose(layer.data_to_world(middle), in_scanner[:3])
    assert "oblique" in widget.note.text()


def test_the_first_volume_is_shown_in_its_plane_and_nothing_is_turned_later(
    qtbot, viewer_model, widget, tmp_path
):
    widget.open([VOLUME])
    wait_for_layers(qtbot, viewer_model, 1)
    wait_until_idle(qtbot, widget)
    assert viewer_model.dims.order == (2, 1, 0)
    seen = viewer_model.layers[0]._slice.image.view
    np.testing.assert_array_equal(seen, viewer_model.layers[0].data[:, :, 5].T)
    viewer_model.dims.order = (0, 2, 1)
    viewer_model.dims.set_current_step(0, 3)
    widget.open([PICTURE, VOLUME])
    wait_for_layers(qtbot, viewer_model, 3)
    assert viewer_model.dims.order == (0, 2, 1) and viewer_model.dims.current_step[0] == 3


def write_cine(path: Path) -> np.ndarray:
    values = np.random.default_rng(0).random((6, 5, 4, 3)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, np.diag([1, 1, 5, 1.0])), path)
    return values


def test_of_several_frames_the_user_chooses_one(qtbot, viewer_model, widget, tmp_path):
    cine = tmp_path / "cine.nii.gz"
    values = write_cine(cine)
    widget.open([cine, PICTURE])
    wait_for_layers(qtbot, viewer_model, 1)  # the picture does not wait for the choice
    wait_until_idle(qtbot, widget)
    parts = widget.parts
    assert "cine.nii.gz holds 3 images" in parts.question.text() and not parts.isHidden()
    assert (parts.frame.minimum(), parts.frame.maximum()) == (1, 3) and parts.series.isHidden()
    parts.frame.setValue(2)
    parts.findChild(QPushButton, "open_part").click()
    wait_for_layers(qtbot, viewer_model, 2)
    wait_until_idle(qtbot, widget)
    layer = viewer_model.layers[1]
    np.testing.assert_array_equal(layer.data, values[..., 1])
    assert layer.name == "cine, frame 2" and layer.metadata[METADATA_KEY]["frame"] == 1
    assert widget.note.text() == "This is frame 2 of the 3 in cine.nii.gz."
    assert parts.isHidden() and widget.panel.error.text() == ""


def test_dropped_files_are_opened_one_after_another(qtbot, viewer_model, widget):
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in (PICTURE, VOLUME)])
    event = QDropEvent(
        QPointF(1, 1),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    widget.dropEvent(event)
    wait_for_layers(qtbot, viewer_model, 2)
    assert [layer.name for layer in viewer_model.layers] == ["north_000", "image"]


def test_a_damaged_file_is_told_and_the_next_one_opens(qtbot, viewer_model, widget, tmp_path):
    torn = tmp_path / "torn.png"
    torn.write_bytes(PICTURE.read_bytes()[:200])
    widget.open([torn])
    wait_until_idle(qtbot, widget)
    assert "torn.png" in widget.panel.error.text()
    widget.open([PICTURE])
    wait_for_layers(qtbot, viewer_model, 1)
    assert widget.panel.error.text() == ""


def test_a_damaged_file_does_not_keep_the_others_from_being_opened(
    qtbot, viewer_model, widget, tmp_path
):
    torn, gone = tmp_path / "torn.png", tmp_path / "gone.nii.gz"
    torn.write_bytes(PICTURE.read_bytes()[:200])
    widget.open([torn, PICTURE, gone, VOLUME])
    wait_for_layers(qtbot, viewer_model, 2)
    wait_until_idle(qtbot, widget)
    told = widget.panel.error.text()
    assert told.startswith("2 of 4 could not be opened; the others were.")
    assert "torn.png:" in told and "gone.nii.gz:" in told
    assert [layer.name for layer in viewer_model.layers] == ["north_000", "image"]
    widget.open([torn])
    wait_until_idle(qtbot, widget)
    assert " of " not in widget.panel.error.text().split("torn.png")[0]


def test_the_only_series_of_a_folder_is_opened(qtbot, viewer_model, widget, tmp_path, write_slice):
    write_series(write_slice, tmp_path, "1.2.4.1", 3)
    widget.open([tmp_path])
    wait_for_layers(qtbot, viewer_model, 1)
    wait_until_idle(qtbot, widget)
    assert viewer_model.layers[0].data.shape == (5, 4, 3)
    assert widget.parts.isHidden()
    told = f"This is 'series 1' (3 files), the only series in {tmp_path.name}."
    assert widget.note.text() == told


def test_of_several_series_the_user_chooses_one(qtbot, viewer_model, widget, tmp_path, write_slice):
    write_series(write_slice, tmp_path, "1.2.4.1", 3)
    write_series(write_slice, tmp_path, "1.2.4.2", 2)
    widget.open([tmp_path, PICTURE])
    wait_for_layers(qtbot, viewer_model, 1)  # the picture does not wait for the choice
    wait_until_idle(qtbot, widget)
    parts = widget.parts
    assert parts.series.count() == 2 and not parts.isHidden() and parts.frame.isHidden()
    assert "series 2 (2 files)" in parts.series.item(1).text()
    parts.series.setCurrentRow(1)
    parts.findChild(QPushButton, "open_part").click()
    wait_for_layers(qtbot, viewer_model, 2)
    wait_until_idle(qtbot, widget)
    layer = viewer_model.layers[1]
    assert layer.data.shape == (5, 4, 2)
    assert layer.name == f"{tmp_path.name}, series 2"
    assert layer.metadata[METADATA_KEY]["series_uid"] == "1.2.4.2"
    assert "'series 2' (2 files), one of the 2 series" in widget.note.text()


def test_a_folder_without_images_is_told(qtbot, viewer_model, widget, tmp_path):
    (tmp_path / "empty").mkdir()
    widget.open([tmp_path / "empty"])
    wait_until_idle(qtbot, widget)
    assert "empty" in widget.panel.error.text()


def unlock(viewer, folder: Path) -> None:
    study = StudyInfo(
        file=folder / "study.yaml", name="test", fingerprint="0" * 64, modality="US",
        arrangement="blind", mapping="unet", image_size=(64, 64), channels=1, classes=(),
    )  # fmt: skip
    site = SiteInfo(folder=folder, name="north", study=study, slice_axis=None, can_segment=True)
    key = KeyInfo(
        file=folder / "key", site="north", study="0" * 64, epoch=1, key_id="k", created="",
        expires="",
    )  # fmt: skip
    jobs_for(viewer).session.set_unlocked(Unlocked(key=key, identity=None, site=site))


@pytest.mark.parametrize("is_open", [True, False])
def test_a_kept_mask_is_laid_over_its_image(qtbot, viewer_model, widget, tmp_path, is_open):
    geometry = read_image(VOLUME).geometry
    labels = np.random.default_rng(0).integers(0, 2, geometry.shape, dtype=np.uint8)
    classes = (
        ClassInfo(name="background", color="#000000"),
        ClassInfo(name="organ", color="#ff0000"),
    )
    made = Provenance(made="2026-01-01T10:20:30Z", study="0" * 64, study_name="t", site="north")
    mask = Mask(
        arrays=(labels,), name="case", geometry=geometry, classes=classes, provenance=made,
        source=str(VOLUME),
    )  # fmt: skip
    keep_mask(tmp_path / "masks", mask)
    assert widget.kept.isHidden()
    unlock(viewer_model, tmp_path)
    qtbot.waitUntil(lambda: widget.kept.count() == 1, timeout=WAIT_MS)
    assert widget.kept.item(0).text() == "case — 2026-01-01 10:20"
    assert len(viewer_model.layers) == 0
    if is_open:
        widget.open([VOLUME])
        wait_for_layers(qtbot, viewer_model, 1)
        wait_until_idle(qtbot, widget)
    widget.kept.setCurrentRow(0)
    widget.kept_button.click()
    wait_for_layers(qtbot, viewer_model, 1 + is_open)
    overlay = viewer_model.layers[-1]
    np.testing.assert_array_equal(overlay.data, labels)
    middle = (np.array(labels.shape) - 1) / 2
    in_scanner = geometry.affine_array() @ [*middle, 1]
    np.testing.assert_allclose(overlay.data_to_world(middle), in_scanner[:3])
    if is_open:
        np.testing.assert_array_equal(
            overlay.affine.affine_matrix, viewer_model.layers[0].affine.affine_matrix
        )
    assert overlay.name == ("image: mask" if is_open else "case: mask")
    jobs_for(viewer_model).session.set_locked()
    assert widget.kept.isHidden()
