import nibabel as nib
import numpy as np
import pytest

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging import Geometry, read_image, read_mask, write_mask

FIELDS = (
    *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y"),
    *("qoffset_z", "srow_x", "srow_y", "srow_z", "xyzt_units", "dim_info"),
)


def save(path, data, affine, kind=nib.Nifti1Image, **codes):
    image = kind(data, affine)
    image.header.set_xyzt_units("mm", "sec")
    for name, (matrix, code) in codes.items():
        getattr(image, f"set_{name}")(matrix, code=code)
    nib.save(image, path)
    return path


def write_and_compare(path, tmp_path, labels_value=2):
    """Write a mask from the geometry's JSON alone; everything of the grid must be the file's."""
    image = read_image(path)
    geometry = Geometry.model_validate_json(image.geometry.model_dump_json())
    assert geometry == image.geometry
    labels = np.zeros(geometry.shape, np.uint8)
    labels[(1,) * labels.ndim] = labels_value
    written = write_mask(labels, geometry, tmp_path / "masks", "case")
    original, mask = nib.load(path), nib.load(written)
    assert mask.shape == original.shape
    assert type(mask) is type(original)
    np.testing.assert_array_equal(mask.affine, original.affine)
    for name in FIELDS:
        np.testing.assert_array_equal(mask.header[name], original.header[name], err_msg=name)
    np.testing.assert_array_equal(mask.header["pixdim"][:4], original.header["pixdim"][:4])
    assert mask.get_data_dtype() == np.uint8
    array = np.asarray(mask.dataobj)
    assert array.sum() == labels_value
    assert array[(1,) * array.ndim] == labels_value
    np.testing.assert_array_equal(read_mask(written, 3, image_geometry=geometry), labels)
    return written


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_written_mask_has_the_grid_of_its_image(tmp_path, affine, suffix):
    path = save(tmp_path / f"a{suffix}", np.random.rand(5, 6, 7).astype(np.float32), affine)
    written = write_and_compare(path, tmp_path)
    assert written.name == f"case{suffix}"
    assert [item.name for item in written.parent.iterdir()] == [written.name]


@pytest.mark.parametrize("codes", [(1, 2), (2, 1), (0, 3), (4, 0), (0, 0), (1, 0)])
def test_sform_and_qform_that_differ_are_both_kept(tmp_path, affines, codes):
    path = save(
        tmp_path / "a.nii.gz",
        np.ones((4, 5, 6), np.int16),
        affines["oblique"],
        qform=(affines["flipped"], codes[0]),
        sform=(affines["sheared"], codes[1]),
    )
    geometry = read_image(path).geometry
    np.testing.assert_allclose(geometry.affine_array(), nib.load(path).affine, atol=1e-6)
    assert geometry.is_oriented == (codes != (0, 0))
    write_and_compare(path, tmp_path)


def test_nifti2_stays_nifti2(tmp_path, affines):
    path = save(tmp_path / "a.nii", np.ones((4, 5, 6)), affines["oblique"], nib.Nifti2Image)
    write_and_compare(path, tmp_path)


def test_2d_is_rows_and_columns(tmp_path, affines):
    data = np.arange(20, dtype=np.float32).reshape(4, 5)
    path = save(tmp_path / "a.nii.gz", data, affines["anisotropic"])
    image = read_image(path)
    np.testing.assert_array_equal(image.data[..., 0], data.T)
    assert image.geometry.spacing == pytest.approx((1.3, 0.7))
    labels = np.zeros((5, 4), np.uint8)
    labels[3, 1] = 1
    written = write_mask(labels, image.geometry, tmp_path, "m")
    assert np.argwhere(np.asarray(nib.load(written).dataobj)).tolist() == [[1, 3]]
    np.testing.assert_array_equal(read_mask(written, 2, image_geometry=image.geometry), labels)


def test_rescale_is_applied(tmp_path):
    image = nib.Nifti1Image(np.array([[[1, 2, 3]]], np.int16), np.eye(4))
    image.header.set_slope_inter(2.0, -1024)
    path = tmp_path / "a.nii"
    nib.save(image, path)
    raw = np.asarray(nib.load(path).dataobj.get_unscaled())
    slope, inter = nib.load(path).dataobj.slope, nib.load(path).dataobj.inter
    assert (slope, inter) == (2.0, -1024)
    np.testing.assert_allclose(read_image(path).data[..., 0], raw * slope + inter)


def test_units_become_millimetres(tmp_path):
    image = nib.Nifti1Image(np.ones((2, 3, 4), np.uint8), np.diag([500, 600, 700, 1.0]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "a.nii")
    geometry = read_image(tmp_path / "a.nii").geometry
    assert geometry.spacing == pytest.approx((0.5, 0.6, 0.7))
    write_and_compare(tmp_path / "a.nii", tmp_path)


def test_rgb_records_become_channels(tmp_path):
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    data = np.zeros((2, 3, 4), kind)
    data["G"] = 7
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii")
    image = read_image(tmp_path / "a.nii")
    assert image.data.shape == (2, 3, 4, 3)
    assert image.data[0, 0, 0].tolist() == [0, 7, 0]


def test_4d_needs_a_frame(tmp_path):
    data = np.random.rand(3, 4, 5, 6).astype(np.float32)
    path = save(tmp_path / "a.nii.gz", data, np.diag([1, 1, 3, 1.0]))
    with pytest.raises(InputFileError, match=r"axis 3 \(length 6\).*--frame N, N from 0 to 5"):
        read_image(path)
    image = read_image(path, frame=4)
    np.testing.assert_array_equal(image.data[..., 0], data[..., 4])
    with pytest.raises(InputFileError, match="no frame 6 among 6"):
        read_image(path, frame=6)
    written = write_mask(np.ones((3, 4, 5), np.uint8), image.geometry, tmp_path, "m")
    assert nib.load(written).shape == (3, 4, 5)
    np.testing.assert_array_equal(nib.load(written).affine, nib.load(path).affine)


def test_4d_of_one_frame_is_a_volume(tmp_path):
    path = save(tmp_path / "a.nii.gz", np.ones((3, 4, 5, 1), np.float32), np.eye(4))
    assert read_image(path).data.shape == (3, 4, 5, 1)


def test_last_axis_can_be_channels(tmp_path):
    data = np.random.rand(3, 4, 5, 2).astype(np.float32)
    path = save(tmp_path / "a.nii.gz", data, np.eye(4))
    image = read_image(path, channel_axis=3)
    np.testing.assert_array_equal(image.data, data)
    assert image.geometry.shape == (3, 4, 5)
    with pytest.raises(InputFileError, match="axis 1 cannot be the channels"):
        read_image(path, channel_axis=1)


def test_5d_is_refused(tmp_path):
    path = save(tmp_path / "a.nii", np.ones((2, 2, 2, 2, 3), np.float32), np.eye(4))
    with pytest.raises(InputFileError, match="5 axes"):
        read_image(path)


def test_complex_is_refused(tmp_path):
    path = save(tmp_path / "a.nii", np.ones((2, 2, 2), np.complex64), np.eye(4))
    with pytest.raises(InputFileError, match="complex"):
        read_image(path)


def test_affine_that_cannot_be_inverted_is_refused(tmp_path):
    image = nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), None)
    image.header["sform_code"] = 1
    nib.save(image, tmp_path / "a.nii")
    with pytest.raises(InputFileError, match="places the voxels nowhere"):
        read_image(tmp_path / "a.nii")


@pytest.mark.parametrize(
    ("spacing", "dim_info", "axis"),
    [((1, 1, 1), None, 2), ((4, 1, 1), None, 0), ((1, 1.1, 1), None, 2), ((4, 1, 1), 1, 1)],
)
def test_default_slice_axis(tmp_path, spacing, dim_info, axis):
    image = nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.diag([*spacing, 1.0]))
    if dim_info is not None:
        image.header.set_dim_info(slice=dim_info)
    nib.save(image, tmp_path / "a.nii")
    assert read_image(tmp_path / "a.nii").geometry.slice_axis == axis
    write_and_compare(tmp_path / "a.nii", tmp_path)


@pytest.mark.parametrize(
    ("shape", "spacing", "axis"),
    [
        ((1, 6, 7), (1, 1, 1), 0),
        ((6, 1, 7), (0.9, 0.9, 0.9), 1),
        ((6, 7, 1), (0.3, 0.1, 0.1), 2),
        ((1, 1, 7), (1, 1, 1), 2),
    ],
)
def test_a_single_slice_is_one(tmp_path, shape, spacing, axis):
    path = save(tmp_path / "a.nii", np.ones(shape, np.float32), np.diag([*spacing, 1.0]))
    assert read_image(path).geometry.slice_axis == axis


@pytest.mark.parametrize("code", [0, 1])
@pytest.mark.parametrize("field", ["quatern_b", "qoffset_x", "pixdim"])
def test_a_transform_that_is_no_number_is_dropped(tmp_path, affines, field, code):
    """The one that is valid places the image; the record has to go through JSON."""
    affine = affines["oblique"]
    image = nib.Nifti1Image(np.ones((4, 5, 6), np.float32), affine)
    image.header[field] = np.nan
    image.header["qform_code"] = code
    with (tmp_path / "a.nii").open("wb") as file:  # nibabel's own writing would mend the fields
        image.header.write_to(file)
        file.write(bytes(4) + np.asarray(image.dataobj).tobytes(order="F"))
    geometry = read_image(tmp_path / "a.nii").geometry
    np.testing.assert_allclose(geometry.affine_array(), affine, atol=1e-6)
    assert geometry.is_oriented
    assert Geometry.model_validate_json(geometry.model_dump_json()) == geometry
    mask = nib.load(write_mask(np.ones((4, 5, 6), np.uint8), geometry, tmp_path / "out", "m"))
    np.testing.assert_allclose(mask.affine, affine, atol=1e-6)
    assert mask.header.get_zooms() == pytest.approx(geometry.spacing)


def test_source_file_is_untouched(tmp_path, affines):
    path = save(tmp_path / "a.nii", np.ones((3, 4, 5), np.float32), affines["oblique"])
    before = path.read_bytes()
    image = read_image(path)
    image.data[...] = 0
    assert path.read_bytes() == before
