"""File > Save for Labels: in the grid of the image, whoever made the layer."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager

from napari_ppcmi._layers import METADATA_KEY, labels_layer
from napari_ppcmi._overlay import read_layer
from napari_ppcmi._writer import write_labels
from ppcmi_sf.data.sample import sample_data_folder
from ppcmi_sf.imaging import read_image

SUFFIXES = [".nii.gz", ".nii", ".mha", ".nrrd"]
VOLUME = sample_data_folder() / "volume" / "image.nii.gz"


def save(layer: Labels, path) -> list[str]:
    data, meta, _ = layer.as_layer_data_tuple()
    return write_labels(str(path), data, meta)


def some_labels(shape) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4, shape, dtype=np.uint8)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mask_of_ours_is_saved_in_the_grid_of_its_file(tmp_path, suffix):
    geometry = read_image(VOLUME).geometry
    data, keywords, _ = labels_layer(some_labels(geometry.shape), geometry, "m", VOLUME, ("a",))
    path = tmp_path / f"m{suffix}"
    assert save(Labels(data, **keywords), path) == [str(path)]
    back = read_image(path)
    np.testing.assert_array_equal(back.data[..., 0], data)
    np.testing.assert_allclose(back.geometry.affine, geometry.affine, atol=1e-4)
    if suffix == ".nii.gz":
        np.testing.assert_array_equal(nib.load(path).affine, nib.load(VOLUME).affine)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_foreign_volume_is_reversed_and_keeps_its_place(tmp_path, suffix):
    labels = some_labels((4, 5, 6))
    layer = Labels(labels, scale=(5, 1, 2), translate=(30, 20, 10), units="mm")
    path = tmp_path / f"m{suffix}"
    assert save(layer, path) == [str(path)]
    back = read_image(path)
    np.testing.assert_array_equal(back.data[..., 0], labels.T)
    expected = [[2, 0, 0, 10], [0, 1, 0, 20], [0, 0, 5, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(back.geometry.affine, expected, atol=1e-5)


@pytest.mark.parametrize("units", ["mm", "pixel"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_flat_layer_keeps_its_pixel_size(tmp_path, suffix, units):
    labels = some_labels((5, 7))
    path = tmp_path / f"m{suffix}"
    assert save(Labels(labels, scale=(0.5, 2), units=units), path) == [str(path)]
    back = read_image(path)
    assert sorted(back.geometry.spacing)[0] == pytest.approx(0.5)
    flat = back.data[..., 0] if back.data.ndim == 3 else back.data[:, :, 0, 0].T
    np.testing.assert_array_equal(flat, labels)


def test_a_mask_of_a_foreign_cube_is_turned_once(tmp_path):
    image = read_layer(Image(np.zeros((4, 4, 4)), scale=(3, 1, 1), units="mm"))
    labels = some_labels((4, 4, 4))
    own = {"geometry": image.geometry, "axes": image.axes}
    layer = Labels(labels, metadata={METADATA_KEY: own}, **image.placed)
    save(layer, tmp_path / "m.nii.gz")
    back = read_image(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(back.data[..., 0], labels.T)
    assert back.geometry.spacing == (1, 1, 3)


def test_a_mask_that_was_cut_since_takes_the_place_of_its_layer(tmp_path):
    geometry = read_image(VOLUME).geometry
    layer = Labels(some_labels((3, 4, 5)), metadata={METADATA_KEY: {"geometry": geometry}})
    save(layer, tmp_path / "m.nrrd")
    assert read_image(tmp_path / "m.nrrd").geometry.shape == (5, 4, 3)


@pytest.mark.parametrize(
    ("labels", "name", "words"),
    [
        (np.zeros((2, 3, 4, 5), np.uint8), "m.nii", "4 axes"),
        (np.full((3, 4), 300, np.int32), "m.nrrd", "0 to 255"),
        (np.zeros((3, 4), np.uint8), "m.docx", "format"),
    ],
)
def test_what_cannot_be_saved_is_told(tmp_path, labels, name, words):
    notification_manager.records.clear()
    assert save(Labels(labels), tmp_path / name) == []
    (record,) = notification_manager.records
    assert words in record.message and "Traceback" not in record.message
    assert not (tmp_path / name).exists()


def test_napari_chooses_it_and_knows_the_double_suffix(make_napari_viewer, tmp_path):
    layer = make_napari_viewer().add_labels(some_labels((3, 4, 5)))
    path = tmp_path / "mask.nii.gz"
    assert layer.save(str(path), plugin="napari-ppcmi") == [str(path)]
    assert read_image(path).geometry.shape == (5, 4, 3)
