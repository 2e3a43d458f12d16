import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ppcmi_sf.errors import InputFileError, PPCMIError, StudyError
from ppcmi_sf.imaging import (
    GridFit,
    MedicalImage,
    assemble,
    fit_to_grid,
    iter_grid_slices,
    labels_from_grid,
    mask_to_grid,
    read_image,
    write_mask,
)
from ppcmi_sf.imaging.geometry import raster_geometry
from ppcmi_sf.study import PercentileNormalization, StudySpec, WindowNormalization, make_classes

RNG = np.random.default_rng(0)


def study_of(size=(64, 64), classes=2, **fields):
    names = [f"class{n}" for n in range(1, classes)]
    return StudySpec(
        name="s", modality="OTHER", classes=make_classes(names), image_size=size, **fields
    )


def picture(array):
    array = np.asarray(array, np.float32)
    array = array if array.ndim == 3 else array[..., np.newaxis]
    return MedicalImage(array, raster_geometry(*array.shape[:2]))


def to_grid(image, study, fit=None):
    return list(iter_grid_slices(image, study, fit or fit_to_grid(image.geometry, study)))


def one_hot(grid_labels, classes):
    return np.stack([grid_labels == k for k in range(classes)]).astype(np.float32)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def centre(weights, fit):
    """Centre of mass of a network slice, in rows and columns of the source slice."""
    rows, columns = np.indices(weights.shape)
    point = np.array([(weights * axis).sum() / weights.sum() for axis in (rows, columns)])
    top, left, height, width = fit.box
    scale = np.array(fit.source_shape) / (height, width)
    return (point - (top, left) + 0.5) * scale - 0.5


# -- the box ---------------------------------------------------------------------------


@given(
    rows=st.integers(1, 700),
    columns=st.integers(1, 700),
    spacing=st.tuples(st.floats(0.05, 8), st.floats(0.05, 8)),
    size=st.sampled_from([(64, 64), (32, 96), (256, 256), (224, 160)]),
)
def test_slices_keep_their_aspect_and_are_centred(rows, columns, spacing, size):
    geometry = raster_geometry(rows, columns).model_copy(update={"spacing": spacing})
    fit = fit_to_grid(geometry, study_of(size))
    top, left, height, width = fit.box
    assert height == size[0] or width == size[1]
    assert 1 <= height <= size[0] and 1 <= width <= size[1]
    assert abs(2 * top + height - size[0]) <= 1 and abs(2 * left + width - size[1]) <= 1
    exact = min(size[0] / (rows * spacing[0]), size[1] / (columns * spacing[1]))
    assert abs(height - max(rows * spacing[0] * exact, 1)) <= 0.5 + 1e-6
    assert abs(width - max(columns * spacing[1] * exact, 1)) <= 0.5 + 1e-6
    assert GridFit.model_validate_json(fit.model_dump_json()) == fit


def test_slice_axis_is_checked():
    with pytest.raises(PPCMIError, match="no slice axis 0"):
        fit_to_grid(raster_geometry(4, 4), study_of(), slice_axis=0)


# -- the same place there and back --------------------------------------------------------


@pytest.fixture
def load_volume(tmp_path):
    def load(affine, shape, voxel):
        data = np.zeros(shape, np.float32)
        data[voxel] = 100
        nib.save(nib.Nifti1Image(data, affine), tmp_path / "v.nii.gz")
        return read_image(tmp_path / "v.nii.gz")

    return load


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
@pytest.mark.parametrize("shape", [(21, 34, 27), (90, 75, 80)])
def test_a_voxel_keeps_its_world_coordinate(affine, load_volume, tmp_path, shape, slice_axis):
    """Image to grid, and what the network marks back to the file: within half a voxel."""
    voxel = tuple(int(n * part) for n, part in zip(shape, (0.6, 0.35, 0.7), strict=True))
    image = load_volume(affine, shape, voxel)
    study = study_of((64, 96), normalization=PercentileNormalization(low=0, high=100))
    fit = fit_to_grid(image.geometry, study, slice_axis=slice_axis)
    planes = to_grid(image, study, fit)
    assert [n for n, plane in enumerate(planes) if plane.any()] == [voxel[slice_axis]]
    seen = planes[voxel[slice_axis]][0]

    # the place in the network grid, expressed in the file's voxels
    row, column = centre(seen, fit)
    rows, columns = fit.source_shape
    row = rows - 1 - row if fit.flip_rows else row
    column = columns - 1 - column if fit.flip_columns else column
    place = np.empty(3)
    column_axis, row_axis = (axis for axis in range(3) if axis != slice_axis)
    place[slice_axis], place[row_axis], place[column_axis] = voxel[slice_axis], row, column
    assert np.abs(place - voxel).max() <= 0.5

    # a mark of the network around it, through the written file, in world coordinates
    foreground = seen / seen.max()
    marked = labels_from_grid(np.stack([1 - foreground, foreground]), fit)
    labels = assemble({voxel[slice_axis]: marked}, fit, shape)
    mask = nib.load(write_mask(labels, image.geometry, tmp_path, "m"))
    found = np.argwhere(np.asarray(mask.dataobj) == 1).mean(axis=0)
    np.testing.assert_allclose(found, voxel, atol=0.5)
    world = nib.affines.apply_affine(mask.affine, found)
    wanted = nib.affines.apply_affine(affine, voxel)
    half_voxel = 0.5 * np.abs(affine[:3, :3]).sum(axis=1) + 1e-5
    assert (np.abs(world - wanted) <= half_voxel).all()


@settings(max_examples=60)
@given(
    shape=st.tuples(st.integers(2, 150), st.integers(2, 150)),
    size=st.sampled_from([(32, 32), (64, 96), (160, 128)]),
    place=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_a_network_pixel_returns_to_its_own_place(shape, size, place):
    fit = fit_to_grid(raster_geometry(*shape), study_of(size))
    top, left, height, width = fit.box
    row, column = (round(part * (n - 1)) for part, n in zip(place, (height, width), strict=True))
    foreground = np.zeros(size, np.float32)
    foreground[top + row, left + column] = 1
    scale = np.array(shape) / (height, width)
    wanted = (np.array([row, column]) + 0.5) * scale - 0.5
    marked = labels_from_grid(np.stack([1e-7 + 0 * foreground, foreground]), fit)
    found = np.argwhere(marked).mean(axis=0)
    # beyond the edge there is nothing to interpolate with, which moves a mark at the rim
    rim = np.where((np.array([row, column]) == 0) | (wanted > np.array(shape) - 1.5 * scale), 1, 0)
    assert (np.abs(found - wanted) <= 0.5 + rim * scale / 2 + 1e-6).all()


def test_orientation_is_that_of_the_usual_display(tmp_path):
    """One scan, stored with every order of flips, reaches the network alike."""
    data = RNG.random((10, 12, 5)).astype(np.float32)  # LPS order, as DICOM has it
    lps = np.diag([-1.0, -1, 3, 1])
    study, seen = study_of((32, 32)), []
    for number, (flip_i, flip_j) in enumerate([(1, 1), (-1, 1), (1, -1), (-1, -1)]):
        affine = lps @ np.diag([flip_i, flip_j, 1, 1.0])
        path = tmp_path / f"{number}.nii"
        nib.save(nib.Nifti1Image(data[::flip_i, ::flip_j], affine), path)
        seen.append(np.stack(to_grid(read_image(path), study)))
    for other in seen[1:]:
        np.testing.assert_allclose(other, seen[0], atol=1e-5)
    image = MedicalImage(data[..., np.newaxis], read_image(tmp_path / "0.nii").geometry)
    fit = fit_to_grid(image.geometry, study)
    assert not fit.flip_rows and not fit.flip_columns


def test_unoriented_files_are_taken_as_stored(tmp_path):
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.float32), None)
    nib.save(image, tmp_path / "a.nii")
    fit = fit_to_grid(read_image(tmp_path / "a.nii").geometry, study_of())
    assert not fit.flip_rows and not fit.flip_columns


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_assemble_undoes_the_slicing(affine, load_volume, slice_axis):
    """At the grid's own size nothing is resampled, so every label must come back."""
    shape = (32, 32, 32)
    geometry = load_volume(affine, shape, (1, 1, 1)).geometry
    geometry = geometry.model_copy(update={"spacing": (1.0, 1.0, 1.0)})
    fit = fit_to_grid(geometry, study_of((32, 32)), slice_axis=slice_axis)
    labels = RNG.integers(0, 4, shape).astype(np.uint8)
    grid = mask_to_grid(labels, fit, 4)
    planes = [labels_from_grid(one_hot(plane, 4), fit) for plane in grid]
    np.testing.assert_array_equal(assemble(planes, fit, shape), labels)
    partial = assemble({3: planes[3]}, fit, shape)
    assert np.moveaxis(partial, slice_axis, 0)[3].any()
    assert not np.delete(partial, 3, axis=slice_axis).any()


# -- masks ---------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(400, 300), (61, 77), (128, 128), (60, 200)])
def test_a_disc_survives_the_way_there_and_back(shape):
    rows, columns = np.indices(shape)
    radius = min(shape) / 3
    middle = (np.array(shape) - 1) / 2
    disc = (rows - middle[0]) ** 2 + (columns - middle[1]) ** 2 <= radius**2
    fit = fit_to_grid(raster_geometry(*shape), study_of((128, 128)))
    back = labels_from_grid(one_hot(mask_to_grid(disc.astype(np.uint8), fit, 2)[0], 2), fit)
    assert dice(back == 1, disc) > 0.97
    assert abs(int(back.sum()) - int(disc.sum())) / disc.sum() < 0.03


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    values=st.sets(st.integers(0, 6), min_size=1),
    seed=st.integers(0, 1000),
)
def test_labels_never_take_new_values(shape, values, seed):
    labels = np.random.default_rng(seed).choice(sorted(values), shape).astype(np.uint8)
    fit = fit_to_grid(raster_geometry(*shape), study_of((32, 64)))
    grid = mask_to_grid(labels, fit, 7)
    assert set(np.unique(grid)) <= values | {0}
    assert set(np.unique(labels_from_grid(one_hot(grid[0], 7), fit))) <= values | {0}


def test_between_two_classes_no_third_appears():
    """Interpolating indices would give 2 between 1 and 3."""
    labels = np.ones((50, 50), np.uint8)
    labels[:, 25:] = 3
    fit = fit_to_grid(raster_geometry(50, 50), study_of((96, 96)))
    grid = mask_to_grid(labels, fit, 4)
    assert set(np.unique(grid)) == {1, 3}


def test_a_thin_line_does_not_vanish_when_shrunk_by_two():
    for column in range(60, 68):
        labels = np.zeros((128, 128), np.uint8)
        labels[:, column] = 1
        fit = fit_to_grid(raster_geometry(128, 128), study_of((64, 64)))
        assert mask_to_grid(labels, fit, 2).any(axis=2).all()


def test_edges_are_not_blocky():
    """Enlarged four times, an oblique edge advances in steps of the fine grid."""
    rows, columns = np.indices((32, 32))
    soft = np.clip((columns - 0.5 * rows - 8) / 2 + 0.5, 0, 1).astype(np.float32)
    fit = fit_to_grid(raster_geometry(128, 128), study_of((32, 32)))
    labels = labels_from_grid(np.stack([1 - soft, soft]), fit)
    edge = (labels == 1).argmax(axis=1)[8:-8]
    assert np.abs(np.diff(edge)).max() == 1


# -- values --------------------------------------------------------------------------


def test_padding_is_zero_and_values_are_in_range():
    image = picture(RNG.normal(500, 100, (40, 80)))
    study = study_of((64, 64))
    (plane,) = to_grid(image, study)
    assert plane.shape == (1, 64, 64) and plane.dtype == np.float32
    assert plane.min() >= 0 and plane.max() <= 1
    assert not plane[:, :16].any() and not plane[:, 48:].any()
    assert plane[:, 16:48].mean() == pytest.approx(0.5, abs=0.1)


def test_window():
    study = study_of((32, 32), normalization=WindowNormalization(center=40, width=400))
    values = np.zeros((32, 32))
    values[0, :5] = (-1000, -160, 40, 240, 3000)
    (plane,) = to_grid(picture(values), study)
    np.testing.assert_allclose(plane[0, 0, :5], (0, 0, 0.5, 1, 1))


def test_percentiles_are_of_the_whole_volume(load_volume, affines):
    image = load_volume(affines["plain"], (32, 32, 10), (0, 0, 0))
    image.data[...] = np.arange(10).reshape(1, 1, 10, 1)
    study = study_of((32, 32), normalization=PercentileNormalization(low=0, high=100))
    for index, plane in enumerate(to_grid(image, study)):
        np.testing.assert_allclose(plane, index / 9, atol=1e-6)


def test_constant_image_is_zero_and_a_rare_structure_is_not():
    assert not to_grid(picture(np.full((20, 20), 7)), study_of())[0].any()
    rare = np.zeros((100, 100))
    rare[50, 50] = 9
    assert to_grid(picture(rare), study_of((128, 128)))[0].max() > 0.5


def test_rgb_becomes_luminance():
    study = study_of((32, 32), normalization=WindowNormalization(center=127.5, width=255))
    for colour, grey in (((255, 0, 0), 0.299), ((0, 255, 0), 0.587), ((0, 0, 255), 0.114)):
        image = picture(np.tile(np.array(colour, np.float32), (32, 32, 1)))
        np.testing.assert_allclose(to_grid(image, study)[0], grey, atol=1e-5)


def test_channels_as_the_study_has_them():
    image = picture(RNG.random((32, 32, 3)))
    assert to_grid(image, study_of((32, 32), channels=3))[0].shape == (3, 32, 32)
    for count in (2, 4):
        with pytest.raises(InputFileError, match=f"it has 3 channels.*has {count}"):
            to_grid(image, study_of(channels=count))
    with pytest.raises(InputFileError, match=r"it has 2 channels.*has 1"):
        to_grid(picture(RNG.random((32, 32, 2))), study_of())


def test_channel_error_names_the_file(tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "scan7.png")
    with pytest.raises(InputFileError, match=r"scan7\.png"):
        to_grid(read_image(tmp_path / "scan7.png"), study_of(channels=3))


def test_things_of_other_sizes_are_refused():
    study = study_of((32, 32))
    fit = fit_to_grid(raster_geometry(20, 30), study)
    with pytest.raises(StudyError, match="does not belong"):
        mask_to_grid(np.zeros((30, 20), np.uint8), fit, 2)
    with pytest.raises(StudyError, match="network grid"):
        labels_from_grid(np.zeros((2, 64, 64), np.float32), fit)
    with pytest.raises(StudyError, match="Slice 1"):
        assemble({1: np.zeros((20, 30), np.uint8)}, fit, (20, 30))
    with pytest.raises(StudyError, match="does not belong"):
        to_grid(picture(np.zeros((5, 5))), study, fit)


def test_the_image_is_not_altered_and_slices_come_one_by_one():
    image = picture(RNG.random((40, 50)))
    before = image.data.copy()
    slices = iter_grid_slices(image, study_of(), fit_to_grid(image.geometry, study_of()))
    next(slices)
    slices.close()
    np.testing.assert_array_equal(image.data, before)
