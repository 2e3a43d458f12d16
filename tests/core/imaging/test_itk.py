import numpy as np
import pytest
import SimpleITK as sitk

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging import Geometry, read_image, read_mask, write_mask

C, S = np.cos(0.4), np.sin(0.4)


def save(path, array, spacing=None, origin=None, direction=None, **options):
    image = sitk.GetImageFromArray(array, isVector=options.pop("vector", False))
    if spacing:
        image.SetSpacing(spacing)
    if origin:
        image.SetOrigin(origin)
    if direction:
        image.SetDirection(direction)
    sitk.WriteImage(image, str(path), **options)
    return path


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr"])
def test_written_mask_has_the_grid_of_its_image(tmp_path, suffix, compressed):
    array = np.random.default_rng(0).integers(-5, 500, (4, 5, 6)).astype(np.int16)
    path = save(
        tmp_path / f"a{suffix}",
        array,
        spacing=(0.7, 1 / 3, 2.5),
        origin=(-10.123456789, 5, 1e-3),
        direction=(C, -S, 0, S, C, 0, 0, 0, -1),
        useCompression=compressed,
    )
    image = read_image(path)
    np.testing.assert_array_equal(image.data[..., 0], array.transpose(2, 1, 0))
    geometry = Geometry.model_validate_json(image.geometry.model_dump_json())
    assert geometry == image.geometry
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[4, 1, 2] = 2
    written = write_mask(labels, geometry, tmp_path / "masks", "case")
    assert written.suffix == {"m": ".mha", "n": ".nrrd"}[suffix[1]]
    assert [item.name for item in written.parent.iterdir()] == [written.name]
    original, mask = sitk.ReadImage(str(path)), sitk.ReadImage(str(written))
    assert mask.GetSize() == original.GetSize()
    np.testing.assert_allclose(mask.GetSpacing(), original.GetSpacing(), rtol=1e-14)
    np.testing.assert_allclose(mask.GetOrigin(), original.GetOrigin(), rtol=1e-14)
    np.testing.assert_allclose(mask.GetDirection(), original.GetDirection(), atol=1e-14)
    assert mask.GetPixel(4, 1, 2) == 2
    np.testing.assert_array_equal(read_mask(written, 3, image_geometry=geometry), labels)


def test_affine_gives_the_world_point_of_itk(tmp_path):
    path = save(
        tmp_path / "a.mha",
        np.zeros((4, 5, 6), np.uint8),
        spacing=(0.7, 0.3, 2.5),
        origin=(-10, 5, 3),
        direction=(C, -S, 0, S, C, 0, 0, 0, 1),
    )
    ras = read_image(path).geometry.affine_array() @ (3, 2, 1, 1)
    lps = sitk.ReadImage(str(path)).TransformIndexToPhysicalPoint((3, 2, 1))
    np.testing.assert_allclose(ras[:3] * (-1, -1, 1), lps)


def test_2d_is_rows_and_columns(tmp_path):
    array = np.arange(20, dtype=np.uint8).reshape(4, 5)
    path = save(tmp_path / "a.mha", array, spacing=(0.5, 0.25))
    image = read_image(path)
    np.testing.assert_array_equal(image.data[..., 0], array)
    assert image.geometry.spacing == (0.25, 0.5)
    labels = (array % 3).astype(np.uint8)
    written = write_mask(labels, image.geometry, tmp_path, "m")
    mask = sitk.ReadImage(str(written))
    assert (mask.GetSize(), mask.GetSpacing()) == ((5, 4), (0.5, 0.25))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask), labels)


def test_vector_pixels_are_channels(tmp_path):
    array = np.random.default_rng(0).random((4, 5, 6, 3)).astype(np.float32)
    image = read_image(save(tmp_path / "a.nrrd", array, vector=True))
    np.testing.assert_array_equal(image.data, array.transpose(2, 1, 0, 3))
    flat = read_image(save(tmp_path / "b.mha", array[0], vector=True))
    np.testing.assert_array_equal(flat.data, array[0])


def test_three_slices_as_colours(tmp_path):
    """The public PSFH data keep RGB pictures as scalar volumes of three slices."""
    array = np.random.default_rng(0).integers(0, 255, (3, 8, 10)).astype(np.uint8)
    path = save(tmp_path / "a.mha", array)
    image = read_image(path, channel_axis=2)
    np.testing.assert_array_equal(image.data, array.transpose(1, 2, 0))
    assert image.geometry.shape == (8, 10)
    labels = np.zeros((8, 10), np.uint8)
    labels[2, 7] = 2
    written = write_mask(labels, image.geometry, tmp_path, "m")
    assert sitk.ReadImage(str(written)).GetPixel(7, 2) == 2
    with pytest.raises(InputFileError, match="no axis 3"):
        read_image(path, channel_axis=3)


def test_oblique_axis_cannot_be_channels(tmp_path):
    direction = (C, 0, S, 0, 1, 0, -S, 0, C)
    path = save(tmp_path / "a.mha", np.zeros((3, 8, 10), np.uint8), direction=direction)
    with pytest.raises(InputFileError, match="oblique"):
        read_image(path, channel_axis=2)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_4d_needs_a_frame(tmp_path, suffix):
    array = np.random.default_rng(0).random((2, 3, 4, 5)).astype(np.float32)
    path = save(tmp_path / f"a{suffix}", array)
    with pytest.raises(InputFileError, match=r"axis 3 \(length 2\)"):
        read_image(path)
    image = read_image(path, frame=1)
    np.testing.assert_array_equal(image.data[..., 0], array[1].transpose(2, 1, 0))
    written = write_mask(np.ones((5, 4, 3), np.uint8), image.geometry, tmp_path, "m")
    assert sitk.ReadImage(str(written)).GetSize() == (5, 4, 3)


def test_default_slice_axis_is_the_coarse_one(tmp_path):
    path = save(tmp_path / "a.mha", np.zeros((4, 5, 6), np.uint8), spacing=(1, 3, 1))
    assert read_image(path).geometry.slice_axis == 1


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd"])
@pytest.mark.parametrize("damage", ["flip", "cut"])
def test_damaged_compressed_data_are_refused(tmp_path, capfd, suffix, damage):
    array = np.random.default_rng(0).integers(0, 255, (8, 20, 20)).astype(np.uint8)
    path = save(tmp_path / f"a{suffix}", array, useCompression=True)
    data_file = path if suffix != ".mhd" else next(tmp_path.glob("*.zraw"))
    content = bytearray(data_file.read_bytes())
    if damage == "flip":
        content[-1000] ^= 0xFF
    else:
        del content[-1000:]
    data_file.write_bytes(content)
    with pytest.raises(InputFileError, match=r"a\.(mha|mhd|nrrd).*(damaged|cut short)"):
        read_image(path)
    assert capfd.readouterr().err == ""


def test_missing_data_file_is_refused(tmp_path):
    path = save(tmp_path / "a.mhd", np.zeros((4, 5), np.uint8))
    (tmp_path / "a.raw").unlink()
    with pytest.raises(InputFileError, match=r"a\.mhd"):
        read_image(path)
