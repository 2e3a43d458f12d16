"""A volume read plane by plane is the volume read as a whole, and its mask is the same file."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging import (
    MedicalImage,
    SlicewiseImage,
    fit_to_grid,
    iter_grid_slices,
    mask_path,
    mask_planes,
    open_slicewise,
    plane_of_file,
    read_image,
    write_mask,
)

OBLIQUE = np.array([[-0.9, 0.1, 0, 40], [0.05, 0.8, 0.2, -30], [0, -0.1, 2.5, 7], [0, 0, 0, 1.0]])


def volume(path, dtype=np.int16, *, slope=None, affine=OBLIQUE, shape=(40, 30, 7)):
    values = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    image = nib.Nifti1Image(values, affine)
    if slope is not None:
        image.header.set_slope_inter(*slope)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_the_slices_are_the_same(tmp_path, make_study, suffix, dtype):
    path, study = volume(tmp_path / f"case{suffix}", dtype), make_study()
    whole, slicewise = read_image(path), open_slicewise(path)
    assert isinstance(slicewise, SlicewiseImage)
    assert slicewise.geometry == whole.geometry
    fit = fit_to_grid(whole.geometry, study, slice_axis=2)
    for one, other in zip(
        iter_grid_slices(whole, study, fit), iter_grid_slices(slicewise, study, fit), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_slope_and_intercept_are_applied(tmp_path):
    path = volume(tmp_path / "scaled.nii", slope=(2.5, -1000))
    whole, slicewise = read_image(path), open_slicewise(path)
    assert whole.data.min() < -900
    for index in range(7):
        np.testing.assert_allclose(slicewise.plane(2, index), whole.data[:, :, index], rtol=1e-6)
    np.testing.assert_allclose(slicewise.sample(3), whole.sample(3), rtol=1e-6)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("affine", [OBLIQUE, np.diag([1.0, 1, 3, 1]), np.diag([-1.0, -1, 3, 1])])
def test_the_mask_is_the_same_file(tmp_path, make_study, suffix, affine):
    path = volume(tmp_path / f"case{suffix}", affine=affine)
    geometry = read_image(path).geometry
    fit = fit_to_grid(geometry, make_study(), slice_axis=2)
    shown = np.random.default_rng(1).integers(0, 3, (7, *fit.source_shape)).astype(np.uint8)
    planes = [plane_of_file(one, fit) for one in shown]
    first = write_mask(np.stack(planes, axis=2), geometry, tmp_path / "whole", "case")
    second = tmp_path / "planes" / first.name
    with mask_planes(geometry, second) as write:
        for plane in planes:
            write(plane)
    unpack = gzip.decompress if suffix == ".nii.gz" else bytes
    assert unpack(first.read_bytes()) == unpack(second.read_bytes())


@pytest.mark.parametrize("name", ["", "..", "../x", "a\\b"])
def test_a_mask_is_never_put_beside_its_folder(tmp_path, name):
    geometry = read_image(volume(tmp_path / "case.nii.gz")).geometry
    with pytest.raises(InputFileError, match="name of a file"):
        mask_path(geometry, tmp_path / "masks", name)


def test_a_mask_that_is_not_finished_is_not_there(tmp_path):
    geometry = read_image(volume(tmp_path / "case.nii.gz")).geometry
    target = tmp_path / "masks" / "case.nii.gz"
    with pytest.raises(KeyboardInterrupt), mask_planes(geometry, target) as write:
        write(np.zeros((40, 30), np.uint8))
        raise KeyboardInterrupt
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_that_is_cut_short_is_one_plain_error(tmp_path, suffix):
    path = volume(tmp_path / f"case{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputFileError, match=r"damaged|cut short") as caught:
        open_slicewise(path).sample(1)
    assert caught.value.hint


def test_values_that_are_no_numbers_are_refused_in_the_same_words(tmp_path):
    path = tmp_path / "case.nii"
    values = np.zeros((4, 4, 3), np.float32)
    values[1, 2, 2] = np.nan
    nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    with pytest.raises(InputFileError) as whole:
        read_image(path)
    with pytest.raises(InputFileError) as slicewise:
        open_slicewise(path).sample(2)  # the NaN is not in the sample, and found all the same
    assert str(whole.value) == str(slicewise.value)


def test_everything_else_is_read_as_a_whole(tmp_path):
    for shape in ((40, 30), (10, 10, 5, 2)):
        path = tmp_path / f"{len(shape)}.nii"
        nib.save(nib.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)), path)
        assert open_slicewise(path) is None
    colours = np.zeros((10, 10, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "rgb.nii")
    assert open_slicewise(tmp_path / "rgb.nii") is None
    assert open_slicewise(tmp_path) is None
    assert isinstance(read_image(tmp_path / "2.nii"), MedicalImage)
