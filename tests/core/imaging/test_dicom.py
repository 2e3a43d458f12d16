import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging import (
    Geometry,
    fit_to_grid,
    is_supported,
    list_series,
    read_image,
    read_mask,
    write_mask,
)

C, S = np.cos(0.3), np.sin(0.3)
ROW, COLUMN = np.array([C, S, 0]), np.array([0, 0, -1.0])
NORMAL = np.cross(ROW, COLUMN)
OBLIQUE = (*ROW, *COLUMN)


@pytest.fixture
def volume():
    return np.random.default_rng(1).integers(-1000, 1000, (5, 6, 8)).astype(np.int16)


@pytest.fixture
def write_series(write_slice, volume):
    """Write a series; file names are shuffled against the positions."""

    def write(folder, positions=None, **options):
        folder.mkdir(exist_ok=True)
        if positions is None:
            positions = [np.array([1, 2, 3]) + 2.5 * k * NORMAL for k in range(len(volume))]
        names = np.random.default_rng(2).permutation(len(positions))
        prefix = options.get("uid", "s")[-1]
        options.setdefault("orientation", OBLIQUE)
        for k, (name, position) in enumerate(zip(names, positions, strict=True)):
            write_slice(folder / f"{prefix}{name}.dcm", volume[k], position, **options)
        return folder

    return write


def test_series_is_sorted_by_position(tmp_path, write_series, volume):
    image = read_image(write_series(tmp_path / "ct"))
    np.testing.assert_array_equal(image.data[..., 0], volume.transpose(2, 1, 0))
    geometry = image.geometry
    assert geometry.shape == (8, 6, 5)
    assert geometry.spacing == pytest.approx((0.5, 0.7, 2.5), abs=1e-5)
    assert (geometry.slice_axis, geometry.has_physical_size) == (2, True)
    lps = np.array([1, 2, 3]) + 0.5 * 3 * ROW + 0.7 * 2 * COLUMN + 2.5 * 4 * NORMAL
    world = geometry.affine_array() @ (3, 2, 4, 1)
    np.testing.assert_allclose(world[:3] * (-1, -1, 1), lps, atol=1e-4)


def test_reversed_and_shuffled_series_agree(tmp_path, write_series):
    positions = [np.array([1, 2, 3]) - 2.5 * k * NORMAL for k in range(5)]
    image = read_image(write_series(tmp_path / "ct", positions))
    # the stack is sorted along the normal, whatever the order in time
    np.testing.assert_allclose(image.geometry.affine_array()[:3, 2] @ (NORMAL * (-1, -1, 1)), 2.5)


def test_mask_lies_in_the_grid_of_the_series(tmp_path, write_series):
    geometry = read_image(write_series(tmp_path / "ct")).geometry
    again = Geometry.model_validate_json(geometry.model_dump_json())
    assert "SECRET" not in geometry.model_dump_json()
    labels = np.zeros(geometry.shape, np.uint8)
    labels[3, 2, 4] = 1
    written = write_mask(labels, again, tmp_path, "ct")
    mask = nib.load(written)
    assert written.name == "ct.nii.gz"
    np.testing.assert_allclose(mask.affine, geometry.affine_array(), atol=1e-5)
    np.testing.assert_array_equal(np.asarray(mask.dataobj), labels)
    assert (mask.header["qform_code"], mask.header["sform_code"]) == (1, 1)
    np.testing.assert_array_equal(read_mask(written, 2, image_geometry=geometry), labels)


def test_single_file_is_a_2d_image(tmp_path, write_slice, volume, make_study):
    path = write_slice(tmp_path / "IM0001", volume[0], (1, 2, 3), OBLIQUE)
    assert is_supported(path)
    image = read_image(path)
    np.testing.assert_array_equal(image.data[..., 0], volume[0])
    assert image.geometry.spacing == pytest.approx((0.7, 0.5))
    labels = np.zeros((6, 8), np.uint8)
    labels[4, 1] = 1
    written = write_mask(labels, image.geometry, tmp_path / "out", "x")
    index = np.argwhere(np.asarray(nib.load(written).dataobj))[0]
    assert index.tolist() == [1, 4, 0]
    lps = np.array([1, 2, 3]) + 0.5 * 1 * ROW + 0.7 * 4 * COLUMN
    world = nib.load(written).affine @ (*index, 1)
    np.testing.assert_allclose(world[:3] * (-1, -1, 1), lps, atol=1e-4)
    np.testing.assert_array_equal(read_mask(written, 2, image_geometry=image.geometry), labels)
    fit = fit_to_grid(image.geometry, make_study())
    assert not fit.flip_rows and not fit.flip_columns


def test_a_mask_of_a_single_file_that_lies_elsewhere_is_refused(tmp_path, write_slice, volume):
    """Converters to NIfTI turn a slice upside down, and its place with it."""
    geometry = read_image(write_slice(tmp_path / "a.dcm", volume[0], (1, 2, 3), OBLIQUE)).geometry
    labels = np.zeros((6, 8), np.uint8)
    labels[0] = 1
    written = write_mask(labels, geometry, tmp_path, "mask")
    np.testing.assert_array_equal(read_mask(written, 2, image_geometry=geometry), labels)
    mask = nib.load(written)
    turned = mask.slicer[:, ::-1]
    nib.save(turned, tmp_path / "turned.nii")
    with pytest.raises(InputFileError, match=r"turned\.nii: .*lies elsewhere"):
        read_mask(tmp_path / "turned.nii", 2, image_geometry=geometry)
    # Written by somebody who did not know the place: only the size can be checked.
    nib.save(nib.Nifti1Image(np.asarray(mask.dataobj), np.diag([0.5, 0.7, 1, 1])), written)
    np.testing.assert_array_equal(read_mask(written, 2, image_geometry=geometry), labels)


def test_a_distance_of_0_between_slices_is_named(tmp_path, write_slice, volume):
    path = write_slice(tmp_path / "a.dcm", volume[0])
    field = b"\x18\x00\x88\x00\x02\x00\x00\x00"  # SimpleITK writes 1 or nothing, never 0
    head, group, rest = path.read_bytes().replace(field + b"1 ", b"").partition(b"\x20\x00\x0d\x00")
    path.write_bytes(head + field + b"0 " + group + rest)
    with pytest.raises(InputFileError, match=r"a\.dcm: it says that its slices are 0 mm apart"):
        read_image(path)


def test_rescale_is_applied(tmp_path, write_slice):
    pixels = np.array([[-1000, 500], [0, 24]], np.int16)
    tags = {"0028|1052": "-1024", "0028|1053": "2"}
    path = write_slice(tmp_path / "a.dcm", pixels, tags=tags)
    np.testing.assert_array_equal(read_image(path).data[..., 0], pixels)
    stored = np.fromfile(path, np.int16)[-4:]
    np.testing.assert_array_equal(stored * 2 - 1024, pixels.ravel())


def test_monochrome1_is_turned(tmp_path, write_slice):
    path = write_slice(tmp_path / "a.dcm", np.array([[0, 10], [20, 50]], np.uint16))
    content = path.read_bytes()
    assert content.count(b"MONOCHROME2") == 1
    path.write_bytes(content.replace(b"MONOCHROME2", b"MONOCHROME1"))
    assert read_image(path).data[..., 0].tolist() == [[65535, 65525], [65515, 65485]]


def test_colour_file(tmp_path, write_slice):
    pixels = np.random.default_rng(0).integers(0, 255, (4, 5, 3)).astype(np.uint8)
    np.testing.assert_array_equal(read_image(write_slice(tmp_path / "a.dcm", pixels)).data, pixels)


def test_cine_loop_needs_a_frame(tmp_path):
    frames = np.random.default_rng(0).integers(0, 255, (3, 4, 5)).astype(np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(frames), str(tmp_path / "a.dcm"))
    with pytest.raises(InputFileError, match=r"axis 2 \(length 3\).*--frame N"):
        read_image(tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm", frame=1).data[..., 0], frames[1])


def test_several_series_must_be_chosen_from(tmp_path, write_series, volume):
    folder = write_series(tmp_path / "study", uid="1.2.826.1")
    positions = [(0, 0, 4.0 * k) for k in range(3)]
    write_series(folder, positions, uid="1.2.826.2", orientation=(1, 0, 0, 0, 1, 0))
    (folder / "notes.txt").write_text("not an image")
    listed = [(item.uid, item.description, item.file_count) for item in list_series(folder)]
    assert listed == [("1.2.826.1", "series 1", 5), ("1.2.826.2", "series 2", 3)]
    with pytest.raises(InputFileError) as caught:
        read_image(folder)
    for part in ("1.2.826.1 ('series 1', 5 files)", "1.2.826.2 ('series 2', 3 files)", "--series"):
        assert part in str(caught.value)
    assert "another folder" in str(caught.value)  # a training takes no --series
    assert read_image(folder, series_uid="1.2.826.2").geometry.shape == (8, 6, 3)
    with pytest.raises(InputFileError, match=r"no series 9\.9"):
        read_image(folder, series_uid="9.9")


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ([0, 2, 4, 8, 10], r"usually 2\.000 mm apart, but 4\.000 mm between slices 2 and 3"),
        ([0, 2, 4.05, 6, 8], r"not evenly spaced.*2\.050 mm"),
        ([0, 2, 2, 4, 6], "1 slices lie where another one lies"),
        ([0, 0, 0, 0, 0], "4 slices lie where another one lies"),
    ],
    ids=["missing", "uneven", "double", "all at one place"],
)
def test_irregular_stacks_are_refused_with_numbers(tmp_path, write_series, positions, message):
    folder = write_series(tmp_path / "ct", [NORMAL * z for z in positions])
    with pytest.raises(InputFileError, match=message):
        read_image(folder)


def test_rounded_positions_are_accepted(tmp_path, write_series):
    folder = write_series(tmp_path / "ct", [NORMAL * z for z in (0, 0.333, 0.667, 1, 1.333)])
    assert read_image(folder).geometry.spacing[2] == pytest.approx(1 / 3, abs=1e-3)


def test_gantry_tilt_is_refused_with_the_angle(tmp_path, write_series):
    step = 3 * NORMAL + 3 * np.tan(np.radians(12)) * ROW
    with pytest.raises(InputFileError, match=r"12\.0 degrees.*gantry tilt"):
        read_image(write_series(tmp_path / "ct", [k * step for k in range(5)]))


def test_slices_of_other_kinds_are_refused(tmp_path, write_series, write_slice):
    for number, (options, message) in enumerate(
        [
            ({"pixels": np.zeros((4, 4), np.int16), "orientation": OBLIQUE}, "4 x 4"),
            ({"pixels": np.zeros((6, 8), np.int16)}, "turned against"),
            (
                {
                    "pixels": np.zeros((6, 8), np.int16),
                    "orientation": OBLIQUE,
                    "spacing": (0.9, 0.7),
                },
                "pixels of 0.900 x 0.700 mm",
            ),
        ]
    ):
        folder = write_series(tmp_path / f"ct{number}")
        write_slice(folder / "zz.dcm", position=40 * NORMAL, **options)
        with pytest.raises(InputFileError, match=message):
            read_image(folder)


def test_series_of_one_file_is_a_2d_image(tmp_path, write_series):
    folder = write_series(tmp_path / "cr", [np.zeros(3)])
    assert read_image(folder).data.shape == (6, 8, 1)


def test_folders_without_images_are_refused(tmp_path):
    (tmp_path / "readme.txt").write_text("hello")
    assert not is_supported(tmp_path)
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputFileError, match=r"no DICOM image|no such"):
            list_series(folder)
        with pytest.raises(InputFileError, match=r"no DICOM image|no such"):
            read_image(folder)


@pytest.mark.parametrize("damage", ["empty", "header", "pixels"])
def test_damaged_slice_is_named(tmp_path, write_series, capfd, damage):
    folder = write_series(tmp_path / "ct")
    victim = folder / "s3.dcm"
    content = victim.read_bytes()
    victim.write_bytes({"empty": b"", "header": content[:200], "pixels": content[:-40]}[damage])
    with pytest.raises(InputFileError, match=r"s3\.dcm"):
        read_image(folder)
    assert capfd.readouterr().err == ""


def test_reports_in_the_folder_are_passed_over(tmp_path, write_series):
    folder = write_series(tmp_path / "ct")
    content = next(folder.glob("*.dcm")).read_bytes()
    image_class = b"1.2.840.10008.5.1.4.1.1.2\0"
    assert image_class in content
    report = content.replace(image_class, b"1.2.840.10008.5.1.4.1.1.66", 1)[:900]
    (folder / "report.dcm").write_bytes(report)
    assert read_image(folder).geometry.shape == (8, 6, 5)
