"""Public data sets, on small files of exactly their layout."""

import json
import shutil

import numpy as np
import pytest
from scipy.io import savemat

from ppcmi_sf.data import LAYOUTS, find_cases, find_cases_with_problems, load_case_mask
from ppcmi_sf.data.cases import Case
from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging import read_image


def test_every_layout_has_a_name():
    assert set(LAYOUTS) == {"folder", "psfh", "nerve", "fumpe", "msd"}
    assert all(layout.description for layout in LAYOUTS.values())


def test_psfh(tmp_path, write):
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 255, (3, 256, 256), np.uint8)
    labels = np.zeros((256, 256), np.uint8)
    labels[100:180, 40:90] = 2
    labels[30:60, 200:230] = 1
    for number in (1, 2):
        write.mha(tmp_path / "image_mha" / f"{number:05d}.mha", colours)
        write.mha(tmp_path / "label_mha" / f"{number:05d}.mha", labels)
    first, second = find_cases(tmp_path, need_masks=True)
    assert (first.name, first.channel_axis, second.group) == ("00001", 2, "00002")
    image = read_image(first.image, channel_axis=first.channel_axis)
    assert image.data.shape == (256, 256, 3)
    assert np.array_equal(image.data.transpose(2, 0, 1), colours)
    assert np.array_equal(load_case_mask(first, 3, image.geometry), labels)


def test_nerve(tmp_path, write):
    mask = np.zeros((42, 58), np.uint8)
    mask[10:20, 30:40] = 255
    for subject, image in ((1, 1), (1, 2), (12, 1)):
        write.png(tmp_path / f"{subject}_{image}.tif", np.full((42, 58), 90))
        write.png(tmp_path / f"{subject}_{image}_mask.tif", mask)
    write.png(tmp_path / "overview.tif")
    cases = find_cases(tmp_path, need_masks=True)
    assert [(case.name, case.group) for case in cases] == [
        ("12_1", "12"),
        ("1_1", "1"),
        ("1_2", "1"),
    ]
    geometry = read_image(cases[0].image).geometry
    assert np.array_equal(load_case_mask(cases[0], 2, geometry), mask // 255)


def test_nerve_with_a_missing_mask(tmp_path, write):
    write.png(tmp_path / "1_1.tif")
    write.png(tmp_path / "1_2.tif")
    write.png(tmp_path / "1_2_mask.tif")
    cases, problems = find_cases_with_problems(tmp_path, need_masks=True)
    assert [case.name for case in cases] == ["1_2"]
    assert problems[0][0] == "1_1" and "1_1.tif" in problems[0][1].message


def scan(rng):
    """A scan (slice, row, column), lowest slice first, and a mask that marks its bright voxels."""
    volume = rng.integers(-900, 100, (5, 4, 6))
    mask = rng.random(volume.shape) < 0.3
    volume[mask] = 1000
    return volume, mask


@pytest.mark.parametrize("numbers", [[1, 2, 3, 4, 5], [5, 4, 3, 2, 1], [10, 20, 3, 4, 1]])
def test_fumpe_masks_lie_on_the_slices_they_were_drawn_on(tmp_path, write, numbers):
    volume, mask = scan(np.random.default_rng(1))
    write.dicom_series(tmp_path / "CT_scans" / "PAT001", volume, numbers=numbers)
    (tmp_path / "GroundTruth").mkdir()
    as_published = mask[np.argsort(numbers)].transpose(1, 2, 0)  # rows, columns, slices
    savemat(tmp_path / "GroundTruth" / "PAT001.mat", {"Mask": as_published.astype(np.uint8)})
    (case,) = find_cases(tmp_path, need_masks=True)
    image = read_image(case.image)
    labels = load_case_mask(case, 2, image.geometry)
    assert labels.dtype == np.uint8
    assert np.array_equal(labels == 1, image.data[..., 0] == 1000)


@pytest.mark.parametrize("numbers", [None, [""] * 5])
def test_fumpe_without_instance_numbers_goes_by_file_name(tmp_path, write, numbers):
    volume, mask = scan(np.random.default_rng(2))
    names = [f"D{index:04d}.dcm" for index in (4, 3, 2, 1, 0)]
    write.dicom_series(tmp_path / "CT_scans" / "PAT002", volume, numbers=numbers, names=names)
    (tmp_path / "CT_scans" / "PAT002" / "notes.txt").write_text("no slice")
    (tmp_path / "GroundTruth").mkdir()
    savemat(
        tmp_path / "GroundTruth" / "PAT002.mat",
        {"Mask": mask[::-1].transpose(1, 2, 0).astype(float)},
    )
    (case,) = find_cases(tmp_path, layout="fumpe", need_masks=True)
    image = read_image(case.image)
    expected = image.data[..., 0] == 1000
    assert np.array_equal(load_case_mask(case, 2, image.geometry) == 1, expected)


def test_fumpe_as_nifti(tmp_path, write):
    rng = np.random.default_rng(3)
    mask = (rng.random((5, 4, 3)) < 0.4).astype(np.uint8)
    for name in ("PAT001", "PAT002"):
        write.nifti(tmp_path / "CT_scans" / f"{name}.nii.gz", mask * np.int16(500))
    write.nifti(tmp_path / "GroundTruth" / "PAT001.nii.gz", mask)
    savemat(tmp_path / "GroundTruth" / "PAT002.mat", {"Mask": mask.transpose(1, 0, 2)})
    for case in find_cases(tmp_path, need_masks=True):
        geometry = read_image(case.image).geometry
        assert np.array_equal(load_case_mask(case, 2, geometry), mask)


def test_fumpe_mask_of_another_size_or_with_other_values(tmp_path, write):
    image = write.nifti(tmp_path / "PAT001.nii.gz")
    geometry = read_image(image).geometry
    path = tmp_path / "PAT001.mat"
    savemat(path, {"Mask": np.zeros((5, 4, 3))})
    with pytest.raises(InputFileError, match=r"PAT001\.mat.*\(4, 5, 3\)"):
        load_case_mask(Case("PAT001", image, path), 2, geometry)
    savemat(path, {"Mask": np.full((4, 5, 3), 0.5)})
    with pytest.raises(InputFileError, match="values other than"):
        load_case_mask(Case("PAT001", image, path), 2, geometry)
    with pytest.raises(InputFileError, match="no mask"):
        load_case_mask(Case("PAT001", image), 2, geometry)


def test_fumpe_folder_that_is_not_one_volume(tmp_path, write):
    folder = write.dicom_series(tmp_path / "scan", np.zeros((3, 4, 5)), numbers=[1, 2, 3])
    geometry = read_image(folder).geometry
    path = tmp_path / "scan.mat"
    savemat(path, {"Mask": np.zeros((4, 5, 3))})
    (folder / "D0002.dcm").unlink()
    with pytest.raises(InputFileError, match="slices of one volume"):
        load_case_mask(Case("scan", folder, path), 2, geometry)
    (folder / "D0002.dcm").write_bytes(b"damaged")
    with pytest.raises(InputFileError, match=r"D0002\.dcm"):
        load_case_mask(Case("scan", folder, path), 2, geometry)


def test_msd_skips_metadata_files(tmp_path, write):
    for part, name in (("imagesTr", "la_003"), ("labelsTr", "la_003"), ("imagesTs", "la_001")):
        write.nifti(tmp_path / part / f"{name}.nii.gz")
        shutil.copy(tmp_path / part / f"{name}.nii.gz", tmp_path / part / f"._{name}.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"name": "LeftAtrium", "numTraining": 1}))
    cases = find_cases(tmp_path)
    assert [case.name for case in cases] == ["la_001", "la_003"]
    assert cases[0].mask is None and cases[1].mask == tmp_path / "labelsTr" / "la_003.nii.gz"
    assert [case.name for case in find_cases(tmp_path, need_masks=True)] == ["la_003"]
    assert [case.name for case in find_cases(tmp_path, layout="msd")] == ["la_001", "la_003"]


def test_msd_with_one_name_in_both_parts(tmp_path, write):
    for part in ("imagesTr", "imagesTs"):
        write.nifti(tmp_path / part / "la_003.nii.gz")
    with pytest.raises(InputFileError, match=r"imagesTs.*imagesTr"):
        find_cases(tmp_path)
