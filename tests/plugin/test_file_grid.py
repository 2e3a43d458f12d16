"""Labels drawn by hand over one of our images are saved in that image's grid."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image, Labels, Layer

from napari_ppcmi._file_grid import on_file_grid
from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._layers import layers_of
from napari_ppcmi._overlay import read_layer
from napari_ppcmi._widgets.open_study import OpenStudy
from napari_ppcmi._widgets.segment_widget import SegmentWidget
from ppcmi_sf.data.sample import sample_data_folder
from ppcmi_sf.imaging import read_image, read_mask

VOLUME = sample_data_folder() / "volume" / "image.nii.gz"
WAIT_MS = 30_000
DRAWN = [(0, 0, 0), (1, 2, 3), (5, 4, 2)]


def draw_over(viewer, image) -> Labels:
    """As a user does: napari's own button, then the brush."""
    viewer.layers.selection = {image}
    viewer._new_labels()
    layer = viewer.layers[-1]
    assert isinstance(layer, Labels) and "ppcmi" not in layer.metadata
    for at in DRAWN:
        layer.data_setitem(tuple(np.array([one]) for one in at), 1)
    return layer


def assert_is_in_the_grid_of(image: Path, mask: Path, axes=(0, 1, 2)) -> None:
    np.testing.assert_array_equal(nib.load(mask).affine, nib.load(image).affine)
    grid = read_image(image).geometry
    back = read_mask(mask, 2, image_geometry=grid)
    assert read_image(mask).geometry.affine == grid.affine
    drawn = np.argwhere(back.transpose(axes))
    assert [tuple(at) for at in drawn.tolist()] == sorted(DRAWN)


def test_from_open_study_to_the_file_and_nothing_is_lost(make_napari_viewer, qtbot, tmp_path):
    viewer = make_napari_viewer()
    page = OpenStudy(viewer)
    qtbot.addWidget(page)
    page.open([VOLUME])
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=WAIT_MS)
    layer = draw_over(viewer, viewer.layers[0])
    path = tmp_path / "drawn.nii.gz"
    assert layer.save(str(path), plugin="napari-ppcmi") == [str(path)]
    jobs_for(viewer).close()
    assert_is_in_the_grid_of(VOLUME, path)


@pytest.mark.parametrize("straight", [True, False])
@pytest.mark.parametrize("sagittal", [True, False])
def test_save_mask_takes_what_was_drawn_by_hand(qtbot, viewer_model, tmp_path, straight, sagittal):
    source = VOLUME
    if sagittal:
        source = tmp_path / "sagittal.nii.gz"
        stored = nib.load(VOLUME)
        values = np.asarray(stored.dataobj).transpose(1, 2, 0)
        nib.save(nib.Nifti1Image(values, stored.affine[:, [1, 2, 0, 3]]), source)
    image = read_image(source)
    (made,) = layers_of(image.data, image.geometry, "v", source, straight=straight)
    below = viewer_model.add_layer(Layer.create(*made))
    axes = read_layer(below).axes
    assert (axes == (0, 1, 2)) != sagittal
    page = SegmentWidget(viewer_model)
    qtbot.addWidget(page)
    layer, path = draw_over(viewer_model, below), tmp_path / "m.nii.gz"
    viewer_model.layers.selection = {layer}
    assert page._mask_to_save() is layer
    with qtbot.waitSignal(page.panel.idle, timeout=WAIT_MS):
        page.save_to(layer, path)
    assert page.panel.error.text() == ""
    assert_is_in_the_grid_of(source, path, axes)
    own = layer.metadata["ppcmi"]
    assert (own["path"], own["axes"], own["geometry"]) == (str(path), axes, image.geometry)


def test_without_its_image_what_is_called_x_y_z_is_not_turned():
    image = read_image(VOLUME)
    (made,) = layers_of(image.data, image.geometry, "v", VOLUME)
    data, keywords, _ = made
    del keywords["metadata"]
    labels = np.zeros(data.shape, np.uint8)
    labels[1, 2, 3] = 1
    found, geometry, axes = on_file_grid(None, labels, keywords)
    assert axes == (0, 1, 2) and found[1, 2, 3] == 1
    np.testing.assert_allclose(geometry.affine, image.geometry.affine, atol=1e-9)
    smoothed = read_layer(Image(data, **keywords))
    np.testing.assert_array_equal(smoothed.data[..., 0], data)
    np.testing.assert_allclose(smoothed.geometry.affine, image.geometry.affine, atol=1e-9)


def test_images_of_one_place_that_differ_decide_nothing(viewer_model):
    image = read_image(VOLUME)
    other = image.geometry.model_copy(update={"slice_axis": 0})
    for geometry in (image.geometry, other):
        (made,) = layers_of(image.data, geometry, "v", VOLUME, straight=True)
        viewer_model.add_layer(Layer.create(*made))
    layer = draw_over(viewer_model, viewer_model.layers[0])
    data, meta, _ = layer.as_layer_data_tuple()
    _, geometry, _ = on_file_grid(viewer_model, data, meta)
    assert geometry not in (image.geometry, other)
    viewer_model.layers.pop(1)
    _, geometry, _ = on_file_grid(viewer_model, data, meta)
    assert geometry == image.geometry
