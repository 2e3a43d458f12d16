"""From arrays and geometry to layers, with real files; no viewer and no display."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from napari.layers import Layer
from PIL import Image

from napari_ppcmi._layers import METADATA_KEY, image_layers, labels_layer
from ppcmi_sf.imaging import read_image


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


def test_each_channel_becomes_a_layer_in_the_same_place(tmp_path: Path) -> None:
    path = tmp_path / "colours.png"
    pixels = np.random.default_rng(0).integers(0, 255, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)

    image = read_image(path)
    layers = [Layer.create(*data) for data in image_layers(image, "colours", path)]

    assert len(layers) == image.data.shape[-1]
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
