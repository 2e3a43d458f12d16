"""From arrays and geometry to layers, with real files; no viewer and no display."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from napari.components import ViewerModel
from napari.layers import Layer
from numpy.typing import NDArray
from PIL import Image

from napari_ppcmi._layers import (
    METADATA_KEY,
    image_layers,
    is_oblique,
    labels_layer,
    layer_axes,
    layers_of,
    look_in_plane,
)
from napari_ppcmi._overlay import read_layer
from napari_ppcmi._writer import write_labels
from ppcmi_sf.imaging import read_image
from ppcmi_sf.imaging.geometry import raster_geometry


def test_an_image_with_a_pixel_size_is_shown_in_millimetres(tmp_path: Path) -> None:
    path = tmp_path / "case.mha"
    stored = sitk.GetImageFromArray(np.arange(12, dtype=np.float32).reshape(3, 4))
    stored.SetSpacing((0.25, 0.5))  # ITK: columns, then rows
    sitk.WriteImage(stored, str(path))

    (data,) = image_layers(read_image(path), "case", path)
    layer = Layer.create(*data)

    assert layer.data.shape == (3, 4)
    np.testing.assert_allclose(layer.scale, (0.5, 0.25))
    assert [str(unit) for unit in layer.units] == ["millimeter", "millimeter"]
    assert layer.axis_labels == ("y", "x")


def test_a_picture_without_a_size_is_shown_in_pixels(tmp_path: Path) -> None:
    path = tmp_path / "case.png"
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(path)

    (data,) = image_layers(read_image(path), "case", path)
    layer = Layer.create(*data)

    assert layer.name == "case"
    np.testing.assert_array_equal(layer.scale, (1, 1))
    assert [str(unit) for unit in layer.units] == ["pixel", "pixel"]


def test_a_colour_picture_is_one_layer_with_the_colours_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "colours.png"
    pixels = np.random.default_rng(0).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)

    image = read_image(path)
    (data,) = image_layers(image, "colours", path)
    layer = Layer.create(*data)

    assert layer.rgb and layer.name == "colours"
    np.testing.assert_array_equal(layer.data, pixels)
    np.testing.assert_array_equal(read_layer(layer).data, image.data)
    assert read_layer(layer).geometry == image.geometry


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_other_channels_become_a_layer_each_in_the_same_place(channels: int) -> None:
    data = np.random.default_rng(0).normal(size=(5, 6, channels)).astype(np.float32)
    layers = [
        Layer.create(*one)
        for one in layers_of(data, raster_geometry(5, 6), "sequences", Path("case.mha"))
    ]

    assert len(layers) == channels
    assert len({layer.name for layer in layers}) == len(layers)
    assert {layer.data.shape for layer in layers} == {(5, 6)}


def test_a_mask_takes_the_place_of_its_image(tmp_path: Path) -> None:
    path = tmp_path / "case.nii.gz"
    affine = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.2, 0.1, 0.3) @ np.diag([-0.8, 0.9, 3.0]), (10, -20, 30)
    )
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), dtype=np.float32), affine), path)

    image = read_image(path)
    (data,) = image_layers(image, "case", path)
    names = ("background", "organ")
    over = labels_layer(np.ones((4, 5, 6), np.uint8), image.geometry, "mask", path, names)
    below, above = Layer.create(*data), Layer.create(*over)

    assert above.metadata[METADATA_KEY]["geometry"] == image.geometry
    assert above.units == below.units
    assert list(above.features["class"]) == ["background", "organ"]
    for index in [(0, 0, 0), (3, 4, 5), (1, 2, 3)]:
        np.testing.assert_array_equal(above.data_to_world(index), below.data_to_world(index))
        np.testing.assert_allclose(
            below.data_to_world(index), nib.affines.apply_affine(affine, index), atol=1e-4
        )


def sagittal(tmp_path: Path, tilt: float = 0.0) -> Path:
    """A volume whose slices are sagittal: i to posterior, j to inferior, k to the left."""
    path = tmp_path / "sagittal.nii.gz"
    turned = nib.eulerangles.euler2mat(tilt, 0, 0) @ [[0, 0, -4], [-1, 0, 0], [0, -1.0, 0]]
    values = np.random.default_rng(0).random((6, 7, 5)).astype(np.float32)
    nib.save(nib.Nifti1Image(values, nib.affines.from_matvec(turned, (10, -20, 30))), path)
    return path


def shown(viewer: ViewerModel, layer: Layer) -> NDArray[np.float32]:
    return np.asarray(layer._slice.image.view)


@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_the_slider_goes_through_every_slice_in_the_plane_it_was_taken_in(
    tmp_path: Path, tilt: float
) -> None:
    path = sagittal(tmp_path, tilt)
    image, viewer = read_image(path), ViewerModel()
    (data,) = layers_of(image.data, image.geometry, "case", path, straight=True)
    layer = viewer.add_layer(Layer.create(*data))
    look_in_plane(viewer, layer, image.geometry)

    assert is_oblique(image.geometry) is bool(tilt)
    assert layer.metadata[METADATA_KEY]["axes"] == layer_axes(image.geometry) == (2, 0, 1)
    axis = viewer.dims.order[0]
    assert axis == 0 and viewer.dims.nsteps[axis] == 5
    middle = image.data[:, :, 2, 0]  # rows inferior, columns posterior
    np.testing.assert_array_equal(shown(viewer, layer), middle.T)
    seen = set()
    for step in range(5):
        viewer.dims.set_current_step(axis, step)
        found = [
            k for k in range(5) if np.array_equal(shown(viewer, layer), image.data[:, :, k, 0].T)
        ]
        seen.update(found)
    assert seen == set(range(5))
    camera = getattr(viewer, "scene", viewer).camera
    assert camera.orientation2d == ("up", "left")  # superior above, anterior to the left


def test_a_picture_is_not_mirrored_after_a_volume_is_gone(tmp_path: Path) -> None:
    image, viewer = read_image(sagittal(tmp_path, 0)), ViewerModel()
    camera = getattr(viewer, "scene", viewer).camera
    for _ in range(2):
        for name in ("case", "another"):
            (data,) = layers_of(image.data, image.geometry, name, tmp_path, straight=True)
            layer = viewer.add_layer(Layer.create(*data))
        look_in_plane(viewer, layer, image.geometry)
        viewer.layers.remove(layer)
        assert camera.orientation2d == ("up", "left")  # the other one is there
        viewer.layers.clear()
        viewer.add_image(np.zeros((4, 5)))  # as a drop on napari does
        assert camera.orientation2d == ("down", "right")
        viewer.layers.clear()


def test_a_straight_volume_has_its_centre_in_place(tmp_path: Path) -> None:
    path = sagittal(tmp_path, 0.3)
    image = read_image(path)
    (data,) = layers_of(image.data, image.geometry, "case", path, straight=True)
    (exact,) = layers_of(image.data, image.geometry, "case", path)
    straight, true = Layer.create(*data), Layer.create(*exact)
    middle = (np.array(true.data.shape) - 1) / 2
    np.testing.assert_allclose(straight.data_to_world(middle), true.data_to_world(middle))
    np.testing.assert_allclose(np.abs(straight.affine.affine_matrix[:3, :3]), np.diag([4, 1, 1]))
    affine = nib.load(path).affine
    for at in [(0, 0, 0), (4, 5, 6)]:
        i, j, k = at[1], at[2], at[0]
        expected = nib.affines.apply_affine(affine, (i, j, k))
        np.testing.assert_allclose(true.data_to_world(at), expected, atol=1e-5)


def test_a_mask_of_a_sagittal_volume_goes_back_to_its_file(tmp_path: Path) -> None:
    path = sagittal(tmp_path)
    image = read_image(path)
    labels = np.random.default_rng(0).integers(0, 3, image.geometry.shape, dtype=np.uint8)
    layer = Layer.create(*labels_layer(labels, image.geometry, "m", path, ("a", "b", "c")))
    assert write_labels(str(tmp_path / "m.nii.gz"), *layer.as_layer_data_tuple()[:2])
    stored = nib.load(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(stored.get_fdata(), labels)
    np.testing.assert_array_equal(stored.affine, nib.load(path).affine)
