"""File > Open Sample, in a real viewer."""

from __future__ import annotations

from collections.abc import Callable

import nibabel as nib
import numpy as np
import pytest
from napari import Viewer
from napari.layers import Image, Labels
from napari.utils.notifications import notification_manager
from PIL import Image as PILImage

from ppcmi_sf.data.sample import sample_data_folder

MakeViewer = Callable[..., Viewer]


def _open(make_napari_viewer: MakeViewer, key: str) -> tuple[Image, Labels]:
    viewer = make_napari_viewer()
    viewer.open_sample("napari-ppcmi", key)
    image, labels = viewer.layers
    assert isinstance(image, Image)
    assert isinstance(labels, Labels)
    return image, labels


@pytest.mark.parametrize("key", ["ultrasound", "volume"])
def test_the_mask_lies_exactly_over_the_image(make_napari_viewer: MakeViewer, key: str) -> None:
    image, labels = _open(make_napari_viewer, key)
    assert labels.data.shape == image.data.shape
    assert labels.units == image.units
    assert labels.axis_labels == image.axis_labels
    corners = np.array([np.zeros(image.ndim), np.array(image.data.shape) - 1])
    for corner in corners:
        np.testing.assert_array_equal(image.data_to_world(corner), labels.data_to_world(corner))
    for name in ("scale", "translate", "rotate", "shear"):
        np.testing.assert_array_equal(getattr(image, name), getattr(labels, name))
    np.testing.assert_array_equal(image.affine.affine_matrix, labels.affine.affine_matrix)


def test_the_ultrasound_sample_shows_what_its_files_hold(make_napari_viewer: MakeViewer) -> None:
    image, labels = _open(make_napari_viewer, "ultrasound")
    folder = sample_data_folder() / "ultrasound"
    with PILImage.open(folder / "images" / "north_000.png") as stored:
        pixels = np.asarray(stored, dtype=np.float64)
    with PILImage.open(folder / "masks" / "north_000.png") as stored:
        classes = np.asarray(stored)
    assert image.data.shape == pixels.shape
    # The engine may scale intensities; where things are it may not touch.
    assert np.corrcoef(image.data.ravel(), pixels.ravel())[0, 1] > 0.9999
    np.testing.assert_array_equal(labels.data, classes)
    assert set(np.unique(labels.data)) > {0}
    assert [str(unit) for unit in image.units] == ["pixel", "pixel"]


def test_the_volume_lands_where_nibabel_says(make_napari_viewer: MakeViewer) -> None:
    image, labels = _open(make_napari_viewer, "volume")
    stored = nib.load(sample_data_folder() / "volume" / "image.nii.gz")
    truth = nib.load(sample_data_folder() / "volume" / "mask.nii.gz")
    assert image.data.shape == stored.shape
    np.testing.assert_allclose(image.data, stored.get_fdata(), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(labels.data, truth.get_fdata())
    assert [str(unit) for unit in image.units] == ["millimeter"] * 3
    generator = np.random.default_rng(0)
    for index in generator.integers(0, stored.shape, size=(20, 3)):
        in_scanner = (stored.affine @ [*index, 1.0])[:3]
        np.testing.assert_allclose(image.data_to_world(index), in_scanner, atol=1e-3)
        np.testing.assert_allclose(image.world_to_data(in_scanner), index, atol=1e-3)


def test_the_volume_is_hard_enough_to_show_mistakes() -> None:
    """Anisotropic, flipped and oblique: a wrong order of axes cannot go unnoticed."""
    affine = nib.load(sample_data_folder() / "volume" / "image.nii.gz").affine
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    assert steps.max() / steps.min() > 1.5
    assert np.linalg.det(affine[:3, :3]) < 0
    directions = np.abs(affine[:3, :3] / steps)
    assert ((directions > 0.05) & (directions < 0.999)).any()


def test_the_file_and_its_geometry_stay_with_the_layer(make_napari_viewer: MakeViewer) -> None:
    image, _ = _open(make_napari_viewer, "volume")
    kept = image.metadata["ppcmi"]
    stored = nib.load(sample_data_folder() / "volume" / "image.nii.gz")
    assert kept["path"].endswith("image.nii.gz")
    np.testing.assert_allclose(kept["geometry"].affine, stored.affine, atol=1e-5)


def test_the_demo_image_tells_where_the_demo_site_is(make_napari_viewer: MakeViewer) -> None:
    notification_manager.records.clear()
    viewer = make_napari_viewer()
    viewer.open_sample("napari-ppcmi", "demo")
    (image,) = viewer.layers
    assert image.metadata["ppcmi"]["path"].endswith("north_000.png")
    assert any("'Demo site'" in record.message for record in notification_manager.records)
