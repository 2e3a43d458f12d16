"""The Segment button on every kind of layer, without a window."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from PIL import Image as Picture
from qtpy.QtWidgets import QFileDialog

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._overlay import read_layer
from napari_ppcmi._widgets.open_study import OpenStudy
from napari_ppcmi._widgets.segment_widget import SegmentWidget
from ppcmi_sf.imaging import read_image


@pytest.fixture
def widget(qtbot, viewer_model, unlock_demo):
    made = SegmentWidget(viewer_model)
    unlock_demo(viewer_model)
    yield made
    made.deleteLater()


def press(qtbot, widget):
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.button.click()
    assert widget.panel.error.isHidden(), widget.panel.error.text()


def noise(*shape, dtype=np.float32):
    return (np.random.default_rng(0).random(shape) * 200).astype(dtype)


@pytest.mark.parametrize(
    ("data", "options", "shape"),
    [
        (noise(60, 80, dtype=np.uint16), {}, (60, 80)),
        (noise(60, 80, 3, dtype=np.uint8), {"rgb": True}, (60, 80)),
        (noise(60, 80, 4, dtype=np.uint8), {"rgb": True}, (60, 80)),
        (noise(3, 60, 80), {"scale": (4, 1, 1), "units": "mm"}, (3, 60, 80)),
        ([noise(60, 80), noise(30, 40)], {"multiscale": True}, (60, 80)),
    ],
)
def test_every_kind_of_image(qtbot, viewer_model, widget, data, options, shape):
    viewer_model.add_image(data, **options)
    press(qtbot, widget)
    assert viewer_model.layers[-1].data.shape == shape
    assert set(np.unique(viewer_model.layers[-1].data)) <= {0, 1, 2}


def test_all_selected_images_are_segmented_one_after_another(qtbot, viewer_model, widget):
    for name in ("a", "b", "c"):
        viewer_model.add_image(noise(40, 50), name=name)
    viewer_model.layers.selection = {viewer_model.layers["a"], viewer_model.layers["c"]}
    press(qtbot, widget)
    assert {layer.name for layer in viewer_model.layers} == {"a", "b", "c", "a: mask", "c: mask"}
    rows = list(csv.DictReader(io.StringIO(widget.results.text())))
    assert {row["mask"] for row in rows} == {"a: mask", "c: mask"}
    assert {row["unit"] for row in rows} == {"pixels"}


def test_the_axis_that_is_chosen_is_the_layers_own(qtbot, viewer_model, widget):
    viewer_model.add_image(noise(3, 60, 80))
    widget.axis.setCurrentIndex(1)  # first axis of the layer, the last one of the engine
    steps = []
    widget.panel.progressed.connect(steps.append)
    press(qtbot, widget)
    assert {step.total for step in steps} <= {3}
    assert viewer_model.layers[-1].data.shape == (3, 60, 80)


def test_values_that_are_no_numbers_are_told(qtbot, viewer_model, widget):
    data = noise(40, 50)
    data[3, 4] = np.nan
    viewer_model.add_image(data, name="holes")
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.button.click()
    assert "not finite" in widget.panel.error.text()
    assert len(viewer_model.layers) == 1


def test_one_that_fails_does_not_keep_the_others_from_being_segmented(qtbot, viewer_model, widget):
    for name in ("a", "b", "c"):
        viewer_model.add_image(noise(40, 50), name=name)
    viewer_model.layers["b"].data[3, 4] = np.nan
    viewer_model.layers.selection = set(viewer_model.layers)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.button.click()
    assert {layer.name for layer in viewer_model.layers} == {"a", "b", "c", "a: mask", "c: mask"}
    told = widget.panel.error.text()
    assert told.startswith("1 of 3 could not be segmented; the others were. b: ")
    assert "not finite" in told and not widget.panel.error.isHidden()


def test_all_are_segmented_as_it_was_chosen_when_the_button_was_pressed(
    qtbot, viewer_model, widget, monkeypatch
):
    for name in ("a", "b"):
        viewer_model.add_image(noise(3, 32, 32), name=name)
    viewer_model.layers.selection = set(viewer_model.layers)
    widget.axis.setCurrentIndex(1)
    folder = jobs_for(viewer_model).session.masks_folder
    asked, run = [], widget.panel.run

    def watched(request, *args, **options):
        asked.append(request)
        return run(request, *args, **options)

    monkeypatch.setattr(widget.panel, "run", watched)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.button.click()
        widget.axis.setCurrentIndex(2)
        session = jobs_for(viewer_model).session
        session.site = session.site.model_copy(update={"folder": folder.parent / "another"})
    assert [(one.slice_axis, one.keep_in) for one in asked] == [(2, folder)] * 2


def test_a_widget_that_is_gone_listens_to_nothing(qtbot, viewer_model, unlock_demo):
    keeper, gone = SegmentWidget(viewer_model), SegmentWidget(viewer_model)
    qtbot.addWidget(keeper)
    with qtbot.waitSignal(gone.destroyed, timeout=5000):
        gone.deleteLater()
    viewer_model.add_image(noise(4, 5), name="later")
    unlock_demo(viewer_model)
    jobs_for(viewer_model).lock()
    assert keeper.image.currentText() == "later"
    assert jobs_for(viewer_model).worker_pid is not None


def test_the_list_follows_the_active_layer(qtbot, viewer_model, widget):
    for name in ("a", "b"):
        viewer_model.add_image(noise(4, 5), name=name)
    viewer_model.layers.selection.active = viewer_model.layers["a"]
    assert widget.image.currentText() == "a"
    viewer_model.layers.remove("a")
    assert widget.image.currentText() == "b"
    assert [widget.image.itemText(at) for at in range(widget.image.count())] == ["b"]


def test_the_chosen_image_stays_chosen_under_another_name(qtbot, viewer_model, widget):
    first, _ = (viewer_model.add_image(noise(4, 5), name=name) for name in ("a", "b"))
    widget.image.setCurrentIndex(0)
    first.name = "patient A"
    assert widget.image.currentText() == "patient A"
    viewer_model.add_labels(np.zeros((4, 5), int), name="drawn")
    viewer_model.layers.move(0, 3)
    assert widget.image.currentText() == "patient A" and widget._chosen() == [first]
    assert [widget.image.itemText(at) for at in range(2)] == ["b", "patient A"]


def test_amounts_follow_the_brush(qtbot, viewer_model, widget):
    viewer_model.add_image(noise(40, 50), name="a")
    press(qtbot, widget)
    mask = viewer_model.layers[-1]

    def told():
        rows = csv.DictReader(io.StringIO(widget.results.text()))
        return [row["amount"] for row in rows]

    before = told()
    with qtbot.waitSignal(widget.results.counted, timeout=30_000):
        for label in (1, 2, 3):  # the last one is no class of the study
            mask.paint((10 * label, 20), label)
        assert told() == ["…", "…"]
    assert told() == [str((mask.data == label).sum()) for label in (1, 2)] != before
    with qtbot.waitSignal(widget.results.counted, timeout=30_000):
        for _ in range(3):
            mask.undo()
    assert told() == before


def test_amounts_of_a_mask_that_was_renamed_stay_under_its_new_name(qtbot, viewer_model, widget):
    viewer_model.add_image(noise(40, 50), name="scan")
    press(qtbot, widget)
    viewer_model.layers["scan: mask"].name = "corrected"
    for names in ({"corrected"}, {"corrected", "scan: mask"}):
        rows = list(csv.DictReader(io.StringIO(widget.results.text())))
        assert {row["mask"] for row in rows} == names
        press(qtbot, widget)


def test_a_mask_that_cannot_be_kept_is_shown_all_the_same(qtbot, viewer_model, widget):
    folder = jobs_for(viewer_model).session.masks_folder
    folder.symlink_to(folder / "a share that is not there")
    viewer_model.add_image(noise(40, 50), name="a")
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.button.click()
    assert [layer.name for layer in viewer_model.layers] == ["a", "a: mask"]
    told = widget.panel.error.text()
    assert not widget.panel.error.isHidden()
    assert "not kept by itself: a: mask" in told and "Save mask" in told
    folder.unlink()
    press(qtbot, widget)
    assert len(list(folder.glob("*.png"))) == 1


@pytest.mark.parametrize("options", [{}, {"multiscale": True}])
def test_a_mask_lies_on_an_image_that_was_moved_meanwhile(qtbot, viewer_model, widget, options):
    data = [noise(40, 60), noise(20, 30)] if options else noise(5, 40, 60)
    layer = viewer_model.add_image(data, name="a", **options)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.button.click()
        layer.translate = [7.0] * layer.ndim
        layer.name = "patient A"
    mask = viewer_model.layers[-1]
    corner = [3] * layer.ndim
    np.testing.assert_allclose(mask.data_to_world(corner), layer.data_to_world(corner))
    assert mask.name == "patient A: mask"


def test_a_mask_does_not_follow_a_layer_that_shows_another_image(qtbot, viewer_model, widget):
    layer = viewer_model.add_image(noise(40, 60), name="a")
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.button.click()
        layer.data, layer.name, layer.translate = noise(40, 60), "b", (7, 7)
    mask = viewer_model.layers[-1]
    assert mask.name == "a: mask" and tuple(mask.translate) == (0, 0)


def test_the_table_is_safe_for_spreadsheets_and_is_saved(qtbot, viewer_model, widget, tmp_path):
    viewer_model.add_image(noise(40, 50), name="=1+1")
    press(qtbot, widget)
    widget.results.save(tmp_path / "amounts.csv")
    text = (tmp_path / "amounts.csv").read_text()
    assert "\n=1+1" not in text and "'=1+1: mask" in text


def test_a_table_that_cannot_be_saved_is_told(qtbot, viewer_model, widget, tmp_path, monkeypatch):
    viewer_model.add_image(noise(40, 50), name="a")
    press(qtbot, widget)
    nowhere = tmp_path / "is a file"
    nowhere.write_text("")
    chosen = str(nowhere / "amounts.csv")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (chosen, ""))
    widget.results.save_csv.click()
    told = widget.panel.error.text()
    assert "amounts.csv" in told and "folder" in told and not widget.panel.error.isHidden()


def test_of_a_stack_the_frame_that_is_shown_is_segmented(qtbot, viewer_model, widget, tmp_path):
    stack = noise(4, 3, 60, 80)
    layer = viewer_model.add_image(
        stack, name="cine", scale=(2, 8, 1, 1), units=("s", "mm", "mm", "mm")
    )
    viewer_model.dims.set_current_step(0, 2)
    press(qtbot, widget)
    overlay = viewer_model.layers[-1]
    assert overlay.name == "cine, frame 3: mask" and overlay.data.shape == (1, 3, 60, 80)
    np.testing.assert_allclose(
        overlay.data_to_world((0, 1, 2, 3)), layer.data_to_world((2, 1, 2, 3))
    )
    assert overlay.units == layer.units
    alone = viewer_model.add_image(stack[2], name="alone", scale=(8, 1, 1), units="mm")
    viewer_model.layers.selection = {alone}
    press(qtbot, widget)
    np.testing.assert_array_equal(viewer_model.layers[-1].data, overlay.data[0])
    with qtbot.waitSignal(widget.panel.idle, timeout=30_000):
        widget.save_to(overlay, tmp_path / "m.nii.gz")
    stored = read_image(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(stored.data[..., 0], overlay.data[0].T)
    assert stored.geometry.spacing == pytest.approx((1, 1, 8))


def test_a_stack_whose_frames_have_no_slider_is_refused_in_words(viewer_model, widget):
    viewer_model.add_image(noise(4, 3, 60, 80), name="cine")
    viewer_model.dims.order = (1, 2, 0, 3)
    widget.button.click()
    assert "none of its frames" in widget.panel.error.text()
    assert "slider" in widget.panel.error.text()


def test_a_colour_file_is_segmented_in_all_its_colours(qtbot, viewer_model, widget, tmp_path):
    source = tmp_path / "colours.png"
    Picture.fromarray(noise(60, 80, 3, dtype=np.uint8)).save(source)
    page = OpenStudy(viewer_model)
    qtbot.addWidget(page)
    page.open([source])
    qtbot.waitUntil(lambda: len(viewer_model.layers) > 0, timeout=30_000)
    assert [layer.name for layer in viewer_model.layers] == ["colours"]
    (request,) = [widget._request(read_layer(layer)) for layer in viewer_model.layers]
    np.testing.assert_array_equal(request.arrays[0], read_image(source).data)
    press(qtbot, widget)
    assert viewer_model.layers[-1].name == "colours: mask"


def test_a_mask_of_one_frame_is_laid_on_that_frame_again(qtbot, viewer_model, widget):
    viewer_model.add_image(noise(4, 3, 60, 80), name="cine")
    viewer_model.dims.set_current_step(0, 1)
    press(qtbot, widget)
    first = viewer_model.layers.pop()
    page = OpenStudy(viewer_model)
    qtbot.addWidget(page)
    qtbot.waitUntil(lambda: page.kept.count() == 1, timeout=30_000)
    viewer_model.dims.set_current_step(0, 3)
    page.kept.setCurrentRow(0)
    page.kept_button.click()
    qtbot.waitUntil(lambda: len(viewer_model.layers) == 2, timeout=30_000)
    again = viewer_model.layers[-1]
    np.testing.assert_array_equal(again.data, first.data)
    np.testing.assert_allclose(again.translate, first.translate)
