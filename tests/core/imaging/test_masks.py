"""What a mask may hold, where it may lie, and what happens when it cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from ppcmi_sf.errors import InputFileError, ResourceError, StudyError
from ppcmi_sf.imaging import case_name, is_supported, read_image, read_mask, write_mask


def png(path, array):
    Image.fromarray(np.asarray(array, np.uint8)).save(path)
    return path


def nifti(path, array, affine=None):
    nib.save(nib.Nifti1Image(array, np.eye(4) if affine is None else affine), path)
    return path


def test_255_means_class_1_in_a_study_of_two_classes(tmp_path):
    path = png(tmp_path / "m.png", [[0, 255], [255, 0]])
    assert read_mask(path, 2).tolist() == [[0, 1], [1, 0]]
    with pytest.raises(InputFileError, match="holds class 255, but the study has classes 0 to 2"):
        read_mask(path, 3)
    for values in ([[0, 255], [1, 0]], [[0, 128], [0, 0]]):
        with pytest.raises(InputFileError, match=r"m\.png: the mask holds class (255|128)"):
            read_mask(png(tmp_path / "m.png", values), 2)


def test_class_outside_the_study_is_named(tmp_path):
    array = np.zeros((3, 4, 5), np.int16)
    array[1, 1, 1] = 4
    path = nifti(tmp_path / "case9.nii.gz", array)
    with pytest.raises(InputFileError, match=r"case9\.nii\.gz.*class 4.*0 to 3"):
        read_mask(path, 4)
    array[1, 1, 1] = -1
    with pytest.raises(InputFileError, match="class -1"):
        read_mask(nifti(tmp_path / "b.nii", array), 4)
    assert read_mask(path, 5).dtype == np.uint8


def test_values_that_are_no_class_indices(tmp_path):
    path = nifti(tmp_path / "m.nii", np.full((3, 3, 3), 0.5, np.float32))
    with pytest.raises(InputFileError, match=r"m\.nii: the mask holds 0\.5"):
        read_mask(path, 3)
    whole = nifti(tmp_path / "w.nii", np.full((3, 3, 3), 2.0))
    assert (read_mask(whole, 3) == 2).all()


def test_grey_in_colours_is_a_mask_but_colours_are_not(tmp_path):
    labels = np.array([[0, 1], [2, 0]])
    assert (read_mask(png(tmp_path / "a.png", np.stack([labels] * 3, -1)), 3) == labels).all()
    alpha = np.stack([labels, labels, labels, np.full((2, 2), 255)], -1)
    assert (read_mask(png(tmp_path / "b.png", alpha), 3) == labels).all()
    with pytest.raises(InputFileError, match=r"c\.png.*3 channels that differ"):
        read_mask(png(tmp_path / "c.png", np.stack([labels, 0 * labels, labels], -1)), 3)


def test_other_size_than_the_image_names_both(tmp_path):
    geometry = read_image(png(tmp_path / "i.png", np.zeros((4, 6)))).geometry
    with pytest.raises(InputFileError, match=r"m\.png: the mask is 6 x 4, but its image is 4 x 6"):
        read_mask(png(tmp_path / "m.png", np.zeros((6, 4))), 2, image_geometry=geometry)
    flat = nifti(tmp_path / "f.nii", np.zeros((4, 6, 1), np.uint8))
    with pytest.raises(InputFileError, match=r"6 x 4.*4 x 6"):
        read_mask(flat, 2, image_geometry=geometry)


def test_mask_that_lies_elsewhere_is_refused(tmp_path, affines):
    zeros = np.zeros((8, 9, 10), np.uint8)
    geometry = read_image(nifti(tmp_path / "i.nii", zeros, affines["oblique"])).geometry
    flipped = affines["oblique"] @ np.diag([-1, 1, 1, 1.0])
    with pytest.raises(InputFileError, match=r"m\.nii: .*lies elsewhere.*mm apart"):
        read_mask(nifti(tmp_path / "m.nii", zeros, flipped), 2, image_geometry=geometry)
    nearly = affines["oblique"].copy()
    nearly[:3, 3] += 0.01
    read_mask(nifti(tmp_path / "n.nii", zeros, nearly), 2, image_geometry=geometry)
    # saved without geometry, as many programs do: only the size can be checked
    read_mask(nifti(tmp_path / "e.nii", zeros), 2, image_geometry=geometry)
    sitk.WriteImage(sitk.GetImageFromArray(zeros.T), str(tmp_path / "e.mha"))
    read_mask(tmp_path / "e.mha", 2, image_geometry=geometry)


@pytest.mark.parametrize(
    ("shift", "accepted"),
    [((0, 0, 1), False), ((-1, 0, 0), False), ((3, 2, 0), False), ((0.5, 0.5, 0.5), True)],
)
def test_a_mask_that_is_a_voxel_aside_is_refused(tmp_path, affines, shift, accepted):
    """Slices are far apart here, so that one of them is many voxels within a slice."""
    zeros, affine = np.zeros((8, 9, 10), np.uint8), affines["anisotropic"]
    geometry = read_image(nifti(tmp_path / "i.nii", zeros, affine)).geometry
    moved = affine.copy()
    moved[:3, 3] = (affine @ (*shift, 1))[:3]
    mask = nifti(tmp_path / "m.nii", zeros, moved)
    if accepted:
        read_mask(mask, 2, image_geometry=geometry)
    else:
        with pytest.raises(InputFileError, match=r"m\.nii: .*lies elsewhere"):
            read_mask(mask, 2, image_geometry=geometry)


def test_a_rounded_spacing_is_no_shift(tmp_path):
    zeros = np.zeros((300, 300, 3), np.uint8)
    exact, rounded = np.diag([0.6641, 0.6641, 5, 1]), np.diag([0.66, 0.66, 5, 1])
    geometry = read_image(nifti(tmp_path / "i.nii", zeros, exact)).geometry
    read_mask(nifti(tmp_path / "m.nii", zeros, rounded), 2, image_geometry=geometry)


def test_nothing_but_a_mask_of_the_image_is_written(tmp_path):
    geometry = read_image(png(tmp_path / "i.png", np.zeros((4, 6)))).geometry
    for labels in (
        np.zeros((6, 4), np.uint8),
        np.zeros((4, 6), np.float32),
        np.full((4, 6), 256, np.int32),
        np.full((4, 6), -1, np.int8),
    ):
        with pytest.raises(StudyError):
            write_mask(labels, geometry, tmp_path / "out", "m")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", "a\\b", "c:x", "a\0"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    geometry = read_image(png(tmp_path / "i.png", np.zeros((4, 6)))).geometry
    with pytest.raises(InputFileError):
        write_mask(np.zeros((4, 6), np.uint8), geometry, tmp_path / "out", name)


@pytest.fixture(params=[".png", ".nii", ".nii.gz", ".mha", ".nrrd"])
def geometry(request, tmp_path):
    path = tmp_path / f"image{request.param}"
    if request.param == ".png":
        png(path, np.zeros((256, 256)))
    elif request.param.startswith(".nii"):
        nifti(path, np.zeros((64, 64, 64), np.uint8))
    else:
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((64, 64, 64), np.uint8)), str(path))
    return read_image(path).geometry


FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
from ppcmi_sf.errors import ResourceError
from ppcmi_sf.imaging import Geometry, write_mask
geometry = Geometry.model_validate_json(sys.argv[1])
labels = np.random.default_rng(0).integers(0, 255, geometry.shape).astype(np.uint8)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_mask(labels, geometry, Path(sys.argv[2]), "m")
except ResourceError as error:
    print(error.message)
"""


def test_write_that_breaks_off_leaves_what_was_there(tmp_path, geometry):
    """A limit on file size stands for the full disk: the write fails half-way."""
    out = tmp_path / "out"
    old = write_mask(np.zeros(geometry.shape, np.uint8), geometry, out, "m")
    before = old.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, geometry.model_dump_json(), str(out)],
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert "could not be written" in done.stdout, done.stderr
    assert old.name in done.stdout
    assert done.stderr == ""
    assert [item.name for item in out.iterdir()] == [old.name]
    assert old.read_bytes() == before


def test_folder_that_may_not_be_written_to(tmp_path, geometry):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user (root?) may write everywhere")
    with pytest.raises(ResourceError, match="not allowed"):
        write_mask(np.zeros(geometry.shape, np.uint8), geometry, folder, "m")


def test_case_names():
    names = {
        "case1.nii.gz": "case1",
        "a.b.nii": "a.b",
        "X.PNG": "X",
        "1.2.840.113": "1.2.840.113",
        ".png": ".png",
        "IM0001": "IM0001",
    }
    assert {name: case_name(Path("folder") / name) for name in names} == names


def test_supported_kinds(tmp_path):
    for name in ("a.nii.gz", "a.MHA", "a.jpeg", "a.nrrd", "a.dcm", "a.tif"):
        assert is_supported(tmp_path / name)
    for name in ("a.txt", "a.gz", "manifest.csv", "README"):
        (tmp_path / name).write_text("text")
        assert not is_supported(tmp_path / name)
    assert not is_supported(tmp_path)


def test_heavy_libraries_are_imported_only_when_they_are_used():
    code = (
        "import sys, ppcmi_sf.imaging as i; "
        "print([m for m in ('torch', 'monai', 'SimpleITK', 'nibabel') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]", done.stderr
