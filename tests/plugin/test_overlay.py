"""A mask's layer lies exactly on the image's, whoever made that one; no window."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from napari.layers import Image

from napari_ppcmi._layers import METADATA_KEY
from napari_ppcmi._overlay import (
    amounts,
    find_image,
    make_overlay,
    read_layer,
    shown_frame,
    to_file_axes,
)
from napari_ppcmi._protocol.images import Mask, Provenance
from napari_ppcmi._protocol.keys import ClassInfo
from napari_ppcmi._worker.outcomes import class_counts
from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging import Geometry

CLASSES = (
    ClassInfo(name="background", color="#000000"),
    ClassInfo(name="ventricle", color="#ff0000"),
    ClassInfo(name="wall", color="#00ff00"),
)


def mask_of(image, labels) -> Mask:
    provenance = Provenance(made="now", study="0" * 64, study_name="test", site="north")
    return Mask(
        arrays=(labels,),
        name=image.name,
        geometry=image.geometry,
        classes=CLASSES,
        provenance=provenance,
        counts=class_counts(labels, len(CLASSES)),
    )


PLACES = [
    {},
    {"scale": (2.5, 0.5, 0.7), "translate": (3, -4, 5)},
    {"rotate": (10, 20, 30), "scale": (3, 1, 1)},
    {"shear": (0.1, 0.2, 0.3)},
    {"affine": np.array([[0, 0, 2, 1], [0, -1, 0, 2], [0.5, 0, 0, 3], [0, 0, 0, 1.0]])},
    {"units": ("mm", "mm", "mm"), "axis_labels": ("slice", "row", "column")},
]


@pytest.mark.parametrize("place", PLACES)
def test_everything_that_places_the_image_places_the_mask(place):
    layer = Image(np.random.default_rng(0).random((4, 5, 6)), **place)
    before = {key: np.copy(value) for key, value in vars(read_layer(layer))["placed"].items()
              if key in ("scale", "translate")}  # fmt: skip
    image = read_layer(layer)
    labels = np.zeros(image.geometry.shape, np.uint8)
    labels[1, 2, 3] = 2
    overlay = make_overlay(image, mask_of(image, labels))
    assert overlay.data.shape == layer.data.shape
    at = np.argwhere(overlay.data == 2)[0]
    assert tuple(at) == (3, 2, 1)
    for index in np.ndindex(2, 2, 2):
        corner = np.array(index) * 3
        np.testing.assert_allclose(overlay.data_to_world(corner), layer.data_to_world(corner))
    assert overlay.units == layer.units
    assert overlay.axis_labels == layer.axis_labels
    for key, value in before.items():
        np.testing.assert_array_equal(getattr(layer, key), value)


def test_a_foreign_volume_is_cut_along_its_thickest_axis():
    layer = Image(np.zeros((4, 50, 60)), scale=(5, 1, 1), units="mm")
    image = read_layer(layer)
    assert image.geometry.shape == (60, 50, 4)
    assert image.geometry.spacing == (1, 1, 5)
    assert image.geometry.slice_axis == 2
    assert image.data.shape == (60, 50, 4, 1)


def test_units_of_length_become_millimetres_and_pixels_stay_pixels():
    layer = Image(np.zeros((4, 5)), scale=(200, 100), units="um")
    geometry = read_layer(layer).geometry
    np.testing.assert_allclose(geometry.spacing, (0.2, 0.1))
    assert geometry.has_physical_size
    assert not read_layer(Image(np.zeros((4, 5)))).geometry.has_physical_size


def test_colours_and_multiscale_images():
    image = read_layer(Image(np.zeros((4, 5, 4), np.uint8), rgb=True))
    assert image.data.shape == (4, 5, 3)
    pyramid = [np.zeros((8, 8)), np.zeros((4, 4))]
    assert read_layer(Image(pyramid, multiscale=True)).geometry.shape == (8, 8)


@pytest.mark.parametrize(("axes", "frame"), [(4, None), (4, 2), (4, -1), (5, 0)])
def test_more_axes_than_a_volume_has_are_refused_in_words(axes, frame):
    with pytest.raises(InputFileError, match=f"{axes} axes") as told:
        read_layer(Image(np.zeros((2, 3, 4, 5, 6)[:axes])), frame=frame)
    assert told.value.hint


@pytest.mark.parametrize("rgb", [False, True])
def test_one_frame_of_a_stack_is_taken_and_its_mask_lies_on_it_alone(rgb):
    data = np.random.default_rng(0).random((3, 4, 5, 6, *([3] * rgb)))
    place = {"scale": (2, 5, 1, 1), "translate": (10, 1, 2, 3), "units": ("s", "mm", "mm", "mm")}
    layer = Image(data, rgb=rgb, name="heart", **place)
    image = read_layer(layer, frame=2)
    assert (image.name, image.frame, image.geometry.shape) == ("heart, frame 3", 2, (6, 5, 4))
    assert image.geometry.spacing == (1, 1, 5) and image.geometry.slice_axis == 2
    flat = data[2] if rgb else data[2][..., np.newaxis]
    np.testing.assert_array_equal(image.data, flat.transpose(2, 1, 0, 3))
    labels = np.random.default_rng(0).integers(0, 3, image.geometry.shape, dtype=np.uint8)
    overlay = make_overlay(image, mask_of(image, labels))
    assert overlay.data.shape == (1, 4, 5, 6)
    np.testing.assert_allclose(
        overlay.data_to_world((0, 1, 2, 3)), layer.data_to_world((2, 1, 2, 3))
    )
    np.testing.assert_array_equal(
        to_file_axes(overlay.data, overlay.metadata[METADATA_KEY]), labels
    )


def test_the_frame_is_the_one_that_the_slider_shows(viewer_model):
    layer = viewer_model.add_image(np.zeros((3, 4, 5, 6)), scale=(2, 1, 1, 1))
    for frame in (0, 2):
        viewer_model.dims.set_current_step(0, frame)
        assert shown_frame(viewer_model, layer) == frame
    viewer_model.dims.order = (1, 2, 0, 3)
    assert shown_frame(viewer_model, layer) is None
    flat = viewer_model.add_image(np.zeros((4, 5, 6)))
    assert shown_frame(viewer_model, flat) is None


def test_the_image_of_a_mask_is_found(viewer_model, tmp_path):
    pixels = np.zeros((4, 5))
    for frame in (None, 0, 1):
        own = {"path": str(tmp_path / "a.tif"), "frame": frame}
        viewer_model.add_image(pixels, name=f"frame {frame}", metadata={METADATA_KEY: own})
    loose = viewer_model.add_image(pixels, name="no file", translate=(3, 4))
    of_file = mask_of(read_layer(viewer_model.layers[0]), np.zeros((4, 5), np.uint8))
    of_file = of_file.model_copy(update={"source": str(tmp_path / "x" / ".." / "a.tif")})
    for frame in (None, 0, 1):
        mask = of_file.model_copy(update={"frame": frame})
        assert find_image(viewer_model, mask).name == f"frame {frame}"
    assert find_image(viewer_model, of_file.model_copy(update={"frame": 7})) is None
    mask = mask_of(read_layer(loose), np.zeros((4, 5), np.uint8))
    assert find_image(viewer_model, mask).name == "no file"
    loose.translate = (0, 0)
    assert find_image(viewer_model, mask) is None  # somewhere else now
    kept = of_file.model_copy(update={"source": "/elsewhere/kept.nii.gz"})
    assert find_image(viewer_model, kept) is None
    assert find_image(viewer_model, kept, (loose, None)).name == "no file"


def test_a_mask_of_no_file_is_laid_on_the_layer_of_its_name_alone(viewer_model):
    pixels, labels = np.zeros((4, 5)), np.zeros((4, 5), np.uint8)
    for name in ("patient A", "patient B"):
        viewer_model.add_image(pixels, name=name)
    for layer in viewer_model.layers:
        assert find_image(viewer_model, mask_of(read_layer(layer), labels)).name == layer.name
    mask = mask_of(read_layer(viewer_model.layers[1]), labels)
    viewer_model.layers[1].name = "renamed"
    assert find_image(viewer_model, mask) is None
    for name in ("T1/axial", "T1_axial"):  # as files they would be called alike
        viewer_model.add_image(pixels, name=name)
    mask = mask.model_copy(update={"name": "T1_axial"})
    assert find_image(viewer_model, mask) is None
    viewer_model.layers.remove("T1_axial")
    assert find_image(viewer_model, mask).name == "T1/axial"


def test_a_mask_that_the_worker_turned_already_is_the_same():
    layer = Image(np.zeros((4, 5, 6)))
    image = read_layer(layer)
    labels = np.random.default_rng(0).integers(0, 3, image.geometry.shape, dtype=np.uint8)
    mask = mask_of(image, labels)
    expected = make_overlay(image, mask).data
    for axes in ((2, 1, 0), (1, 2, 0)):
        turned = mask.model_copy(update={"arrays": (labels.transpose(axes),), "axes": axes})
        found = make_overlay(image, turned).data
        np.testing.assert_array_equal(found, expected)
        assert found.flags.writeable


def test_names_and_colours_of_the_classes_and_where_the_mask_is_from():
    layer = Image(np.zeros((4, 5)))
    image = read_layer(layer)
    overlay = make_overlay(image, mask_of(image, np.ones((4, 5), np.uint8)))
    assert list(overlay.features["class"]) == ["background", "ventricle", "wall"]
    np.testing.assert_allclose(overlay.colormap.color_dict[1], (1, 0, 0, 1))
    assert overlay.colormap.color_dict[0][3] == 0
    assert overlay.metadata[METADATA_KEY]["provenance"]["site"] == "north"
    overlay.data_setitem((np.array([0]), np.array([0])), 2)
    assert overlay.data[0, 0] == 2
    overlay.undo()
    assert overlay.data[0, 0] == 1


def test_a_label_that_is_no_class_of_the_study_is_seen_where_it_is_painted():
    image = read_layer(Image(np.zeros((4, 5))))
    overlay = make_overlay(image, mask_of(image, np.ones((4, 5), np.uint8)))
    overlay.selected_label = 3  # what napari's "new" button chooses
    overlay.paint((1, 1), 3)
    painted, other, background = (overlay.colormap.map(label) for label in (3, 200, 0))
    assert painted[3] == other[3] == 1 and background[3] == 0
    assert not np.allclose(painted, overlay.colormap.map(1))


def test_a_voxel_of_a_leaning_stack_is_as_large_as_it_is():
    """A shear moves the slices aside and makes their steps longer, but no voxel larger."""
    affine = np.array([[1, 0, 0, 0], [0, 1, 0.75, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    geometry = Geometry(
        family="dicom",
        shape=(10, 10, 10),
        spacing=(1, 1, 1.25),
        has_physical_size=True,
        affine=tuple(map(tuple, affine.astype(float).tolist())),
    )
    image = SimpleNamespace(name="ct", geometry=geometry)
    ventricle = amounts(mask_of(image, np.ones((10, 10, 10), np.uint8)))[0]
    assert (ventricle.amount, ventricle.unit) == (pytest.approx(1.0), "ml")


def test_amounts_are_volumes_areas_or_pixels():
    labels = np.zeros((60, 50, 4), np.uint8)
    labels[:10, :10, :2] = 1
    image = read_layer(Image(np.zeros((4, 50, 60)), scale=(5, 1, 1), units="mm"))
    ventricle, wall = amounts(mask_of(image, labels))
    assert (ventricle.amount, ventricle.unit) == (1.0, "ml")
    assert wall.amount == 0
    flat = read_layer(Image(np.zeros((4, 5)), scale=(2, 2), units="mm"))
    assert amounts(mask_of(flat, np.ones((4, 5), np.uint8)))[0].unit == "mm²"
    assert amounts(mask_of(flat, np.ones((4, 5), np.uint8)))[0].amount == 80
    pixels = read_layer(Image(np.zeros((4, 5))))
    assert amounts(mask_of(pixels, np.ones((4, 5), np.uint8)))[0].unit == "pixels"


def test_labels_that_are_no_class_are_not_counted():
    """One that is typed may be the largest of its type, and a negative one is no number at all."""
    labels = np.array([[[0, 1, 1, 2_147_483_647], [2, -5, 3, 0]]], np.int32)
    assert class_counts(labels, 3) == (2, 2, 1)
