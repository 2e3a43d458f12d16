"""A mask in another format than its image's lies in the same place."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from ppcmi_sf.errors import InputFileError, StudyError
from ppcmi_sf.imaging import read_image, read_mask, write_mask, write_mask_as

FORMATS = (".nii", ".nii.gz", ".mha", ".nrrd")


def some_labels(shape):
    return np.random.default_rng(0).integers(0, 4, shape, dtype=np.uint8)


def check(path, labels, geometry):
    image = read_image(path)
    np.testing.assert_array_equal(image.data[..., 0], labels)
    np.testing.assert_allclose(image.geometry.affine, geometry.affine, atol=1e-4)
    np.testing.assert_array_equal(read_mask(path, 4, image_geometry=geometry), labels)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_mask_of_a_nifti_volume(tmp_path, affine, suffix):
    source = tmp_path / "image.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), affine), source)
    geometry, labels = read_image(source).geometry, some_labels((4, 5, 6))
    path = write_mask_as(labels, geometry, tmp_path / f"mask{suffix}")
    assert path.name == f"mask{suffix}"
    check(path, labels, geometry)
    if suffix.startswith(".nii"):
        own, other = nib.load(source).header, nib.load(path).header
        for field in ("qform_code", "sform_code", "quatern_b", "qoffset_x", "srow_x", "srow_z"):
            assert np.array_equal(own[field], other[field])


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_mask_of_an_itk_volume(tmp_path, suffix):
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6), np.float32))
    turn = sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix()
    image.SetSpacing((0.7, 0.9, 3))
    image.SetOrigin((11, -22, 33))
    image.SetDirection(turn)
    sitk.WriteImage(image, str(tmp_path / "image.nrrd"))
    geometry, labels = read_image(tmp_path / "image.nrrd").geometry, some_labels((6, 5, 4))
    check(write_mask_as(labels, geometry, tmp_path / f"mask{suffix}"), labels, geometry)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_mask_of_a_dicom_slice_keeps_its_place(tmp_path, write_slice, suffix):
    source = write_slice(
        tmp_path / "a.dcm", np.ones((4, 5), np.int16), (1, 2, 3), (0, 1, 0, 0, 0, -1)
    )
    geometry, labels = read_image(source).geometry, some_labels((4, 5))
    path = write_mask_as(labels, geometry, tmp_path / f"mask{suffix}")
    np.testing.assert_array_equal(read_mask(path, 4, image_geometry=geometry), labels)
    back = np.array(read_image(path).geometry.affine)[:, [1, 0, 2, 3]]
    np.testing.assert_allclose(back[:, [0, 1, 3]], geometry.affine_array()[:, [0, 1, 3]], atol=1e-5)


@pytest.mark.parametrize("suffix", (*FORMATS, ".png"))
def test_a_mask_of_a_picture(tmp_path, suffix):
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "image.png")
    geometry, labels = read_image(tmp_path / "image.png").geometry, some_labels((4, 5))
    path = write_mask_as(labels, geometry, tmp_path / f"mask{suffix}")
    np.testing.assert_array_equal(read_mask(path, 4, image_geometry=geometry), labels)


def test_in_its_own_format_it_is_the_same_file(tmp_path, affine):
    source = tmp_path / "image.nii"
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), affine), source)
    geometry, labels = read_image(source).geometry, some_labels((4, 5, 6))
    one = write_mask(labels, geometry, tmp_path / "one", "mask")
    two = write_mask_as(labels, geometry, tmp_path / "two" / "mask.nii")
    assert one.read_bytes() == two.read_bytes()


def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path):
    source = tmp_path / "image.nii"
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), source)
    geometry, labels = read_image(source).geometry, some_labels((4, 5, 6))
    for name, words in (("m.png", "volume"), ("m.tiff", "format"), ("m", "format")):
        with pytest.raises(InputFileError, match=words):
            write_mask_as(labels, geometry, tmp_path / name)
    with pytest.raises(StudyError, match="does not fit"):
        write_mask_as(labels[1:], geometry, tmp_path / "m.mha")
    assert [path.name for path in tmp_path.iterdir()] == ["image.nii"]
