"""The way of a mask, by clicks: unlock, encode, review, confirm, map, decode, save, read back."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QPushButton, QWidget

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._layers import image_layers
from napari_ppcmi._widgets.segment_widget import SegmentWidget
from napari_ppcmi._widgets.workspace import Workspace
from ppcmi_sf.data.sample import sample_data_folder
from ppcmi_sf.imaging import read_image

SAMPLE = sample_data_folder()


def click(qtbot, page: QWidget, name: str) -> None:
    found = page.findChild(QPushButton, name)
    assert found is not None and found.isEnabled(), name
    qtbot.mouseClick(found, Qt.MouseButton.LeftButton)


@pytest.fixture
def workspace(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    widget = Workspace(viewer)
    viewer.window.add_dock_widget(widget, name="PPCMI-SF")
    yield viewer, widget
    jobs_for(viewer).close()


def unlock(qtbot, viewer, widget: Workspace) -> None:
    click(qtbot, widget.key, "demo")
    qtbot.waitUntil(lambda: jobs_for(viewer).session.is_unlocked, timeout=60_000)


def walk(qtbot, viewer, widget: Workspace) -> None:
    """From the active layer to its mask, through files."""
    widget.tabs.setCurrentIndex(1)
    click(qtbot, widget.encode, "add_layers")
    qtbot.waitUntil(
        lambda: widget.encode.cases.count() == 1 and widget.encode.recipients.count() > 0,
        timeout=30_000,
    )
    click(qtbot, widget.encode, "review")
    qtbot.waitUntil(lambda: widget.encode.dialog is not None, timeout=60_000)
    assert not list(jobs_for(viewer).session.outbox.glob("*")), "nothing is written before a yes"
    assert not widget.encode.dialog.write.isEnabled()
    widget.encode.dialog.agree.setChecked(True)
    with qtbot.waitSignal(widget.encode.written, timeout=60_000):
        qtbot.mouseClick(widget.encode.dialog.write, Qt.MouseButton.LeftButton)
    widget.tabs.setCurrentIndex(2)
    qtbot.waitUntil(lambda: widget.exchange.sent.table.rowCount() == 1, timeout=30_000)
    with qtbot.waitSignal(widget.exchange.mapped, timeout=60_000) as told:
        click(qtbot, widget.exchange, "map_here")
    assert len(told.args[0].written) == 1, told.args[0].problems
    widget.tabs.setCurrentIndex(3)
    qtbot.waitUntil(lambda: widget.decode.replies.table.rowCount() == 1, timeout=30_000)
    with qtbot.waitSignal(widget.decode.finished, timeout=60_000):
        click(qtbot, widget.decode, "decode")


def test_the_oblique_sample_volume_gets_its_mask_through_files(workspace, qtbot, tmp_path):
    viewer, widget = workspace
    viewer.open_sample("napari-ppcmi", "volume")
    truth = viewer.layers.pop()
    image = viewer.layers[0]
    viewer.layers.selection.active = image
    unlock(qtbot, viewer, widget)
    walk(qtbot, viewer, widget)

    assert len(viewer.layers) == 2, widget.decode.panel.error.text()
    overlay = viewer.layers[1]
    assert overlay.data.shape == truth.data.shape
    assert overlay.data.any()
    for corner in (np.zeros(3), np.array(image.data.shape) - 1):
        np.testing.assert_array_equal(overlay.data_to_world(corner), image.data_to_world(corner))
    assert overlay.units == image.units

    segment = SegmentWidget(viewer)
    qtbot.addWidget(segment)
    saved = tmp_path / "mask.nii.gz"
    with qtbot.waitSignal(segment.panel.idle, timeout=30_000):
        segment.save_to(overlay, saved)
    stored, original = nib.load(saved), nib.load(SAMPLE / "volume" / "image.nii.gz")
    np.testing.assert_array_equal(stored.affine, original.affine)
    np.testing.assert_array_equal(stored.get_fdata(), overlay.data)


def test_a_layer_that_was_never_a_file_gets_its_mask_on_itself(workspace, qtbot):
    viewer, widget = workspace
    pixels = read_image(SAMPLE / "ultrasound" / "images" / "north_000.png").data[..., 0]
    layer = viewer.add_image(pixels, name="from the scanner", scale=(2, 2), translate=(5, 7))
    unlock(qtbot, viewer, widget)
    walk(qtbot, viewer, widget)
    assert len(viewer.layers) == 2, widget.decode.panel.error.text()
    overlay = viewer.layers[1]
    np.testing.assert_array_equal(overlay.scale, layer.scale)
    np.testing.assert_array_equal(overlay.translate, layer.translate)
    assert len(np.unique(overlay.data)) == 3


def test_the_frame_of_a_stack_that_is_shown_gets_its_mask_on_itself(workspace, qtbot):
    viewer, widget = workspace
    pixels = read_image(SAMPLE / "ultrasound" / "images" / "north_000.png").data[..., 0]
    stack = np.zeros((3, 2, *pixels.shape), np.float32)
    stack[1] = pixels
    layer = viewer.add_image(stack, name="cine", scale=(1, 5, 1, 1))
    viewer.dims.set_current_step(0, 1)
    unlock(qtbot, viewer, widget)
    walk(qtbot, viewer, widget)
    assert len(viewer.layers) == 2, widget.decode.panel.error.text()
    overlay = viewer.layers[1]
    assert overlay.data.shape == (1, *stack.shape[1:]) and overlay.data.any()
    np.testing.assert_allclose(
        overlay.data_to_world((0, 1, 2, 3)), layer.data_to_world((1, 1, 2, 3))
    )


def test_one_button_segments_and_a_second_run_keeps_what_was_drawn(workspace, qtbot):
    viewer, widget = workspace
    unlock(qtbot, viewer, widget)
    path = SAMPLE / "ultrasound" / "images" / "north_000.png"
    image = read_image(path)
    for data in image_layers(image, "phantom", path):
        viewer._add_layer_from_data(*data)
    segment = SegmentWidget(viewer)
    viewer.window.add_dock_widget(segment, name="Segment")
    for count in (2, 3):
        with qtbot.waitSignal(segment.finished, timeout=60_000):
            click(qtbot, segment, "segment")
        assert len(viewer.layers) == count, segment.panel.error.text()
        viewer.layers[-1].fill((0, 0), 2)
    first, second = viewer.layers[1], viewer.layers[2]
    assert first.data[0, 0] == 2 and first is not second
    kept = sorted(jobs_for(viewer).session.masks_folder.glob("phantom*.png"))
    assert len(kept) == 2
    rows = segment.results.text().splitlines()
    assert rows[0] == "mask,structure,amount,unit"
    assert {row.split(",")[1] for row in rows[1:]} == {"head", "cavity"}


def test_noise_is_asked_for_in_the_settings_and_told_in_the_review(workspace, qtbot):
    viewer, widget = workspace
    unlock(qtbot, viewer, widget)
    viewer.open(SAMPLE / "ultrasound" / "images" / "north_000.png")
    widget.tabs.setCurrentIndex(1)
    assert widget.encode.noise.level == 0 and widget.encode.noise.text() == "None"
    widget.findChild(QWidget, "more_settings").toggleButton().click()
    assert widget.encode.noise.isVisible()
    widget.encode.noise.setValue(0.5)
    click(qtbot, widget.encode, "add_layers")
    qtbot.waitUntil(
        lambda: widget.encode.cases.count() == 1 and widget.encode.recipients.count() > 0,
        timeout=30_000,
    )
    click(qtbot, widget.encode, "review")
    qtbot.waitUntil(lambda: widget.encode.dialog is not None, timeout=60_000)
    told = widget.encode.dialog.findChild(QLabel, "noise").text()
    assert told.startswith("With noise of 0.5") and "no protection" in told
    widget.encode.dialog.reject()


def test_an_image_that_is_removed_meanwhile_still_gets_its_mask(workspace, qtbot):
    viewer, widget = workspace
    unlock(qtbot, viewer, widget)
    layer = viewer.add_image(np.random.default_rng(0).random((96, 128)), name="gone")
    segment = SegmentWidget(viewer)
    viewer.window.add_dock_widget(segment, name="Segment")
    with qtbot.waitSignal(segment.finished, timeout=60_000):
        click(qtbot, segment, "segment")
        layer.name = "renamed"
        viewer.layers.remove(layer)
    assert [one.name for one in viewer.layers] == ["gone: mask"]


def test_nothing_to_segment_is_said_in_words(workspace, qtbot):
    viewer, _widget = workspace
    segment = SegmentWidget(viewer)
    viewer.window.add_dock_widget(segment, name="Segment")
    click(qtbot, segment, "segment")
    assert "no image" in segment.panel.error.text()
    viewer.add_image(np.zeros((8, 8)))
    with qtbot.waitSignal(segment.finished, timeout=60_000):
        click(qtbot, segment, "segment")
    assert "locked" in segment.panel.error.text()


def test_a_bundle_that_was_changed_is_dropped_in_and_told(workspace, qtbot, tmp_path: Path):
    viewer, widget = workspace
    viewer.open_sample("napari-ppcmi", "ultrasound")
    viewer.layers.pop()
    viewer.layers.selection.active = viewer.layers[0]
    unlock(qtbot, viewer, widget)
    walk(qtbot, viewer, widget)
    (reply,) = jobs_for(viewer).session.inbox.glob("*.ppcmi")
    data = bytearray(reply.read_bytes())
    data[-100] ^= 1
    changed = tmp_path / ("ab" * 16 + ".ppcmi")
    changed.write_bytes(data)
    with qtbot.waitSignal(widget.exchange.panel.idle, timeout=30_000):
        widget.exchange.take_in([changed])
    qtbot.waitUntil(lambda: widget.exchange.came.table.rowCount() == 2, timeout=30_000)
    states = {bundle.file.name: bundle.state for bundle in widget.exchange.came.bundles}
    assert states[changed.name] == "changed"
    assert states[reply.name] == "already used"


def test_a_reply_opens_as_labels_where_the_key_is_unlocked(workspace, qtbot):
    viewer, widget = workspace
    viewer.open_sample("napari-ppcmi", "ultrasound")
    viewer.layers.pop()
    viewer.layers.selection.active = viewer.layers[0]
    unlock(qtbot, viewer, widget)
    walk(qtbot, viewer, widget)
    decoded = viewer.layers[1].data.copy()
    (reply,) = jobs_for(viewer).session.inbox.glob("*.ppcmi")
    (opened,) = viewer.open(reply, plugin="napari-ppcmi")
    np.testing.assert_array_equal(opened.data, decoded)
    jobs_for(viewer).lock()
    assert viewer.open(reply, plugin="napari-ppcmi") == []


def test_two_patients_images_of_one_name_get_a_mask_each(workspace, qtbot, tmp_path):
    viewer, widget = workspace
    unlock(qtbot, viewer, widget)
    for number in (0, 1):
        folder = tmp_path / f"patient{number}"
        folder.mkdir()
        source = SAMPLE / "ultrasound" / "images" / f"north_00{number}.png"
        (folder / "image.png").write_bytes(source.read_bytes())
        with qtbot.waitSignal(widget.encode.panel.idle, timeout=30_000):
            widget.encode.add_paths([folder / "image.png"])
    qtbot.waitUntil(lambda: widget.encode.recipients.count() > 0, timeout=30_000)
    click(qtbot, widget.encode, "review")
    qtbot.waitUntil(lambda: widget.encode.dialog is not None, timeout=60_000)
    widget.encode.dialog.agree.setChecked(True)
    with qtbot.waitSignal(widget.encode.written, timeout=60_000):
        widget.encode.dialog.write.click()
    qtbot.waitUntil(lambda: widget.exchange.sent.table.rowCount() == 2, timeout=30_000)
    with qtbot.waitSignal(widget.exchange.mapped, timeout=60_000):
        widget.exchange.ask_here()
    qtbot.waitUntil(lambda: widget.decode.replies.table.rowCount() == 2, timeout=30_000)
    with qtbot.waitSignal(widget.decode.finished, timeout=60_000):
        widget.decode.show_masks()
    assert len(viewer.layers) == 4, widget.decode.panel.error.text()
    images, masks = viewer.layers[::2], viewer.layers[1::2]
    assert {Path(one.metadata["ppcmi"]["path"]).parent.name for one in images} == {
        "patient0",
        "patient1",
    }
    for image, mask in zip(images, masks, strict=True):
        assert mask.metadata["ppcmi"]["source"] == image.metadata["ppcmi"]["path"]
    assert not np.array_equal(masks[0].data, masks[1].data)
