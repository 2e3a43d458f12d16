"""The plain layout, and what every layout refuses."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from ppcmi_sf.data import Case, find_cases, find_cases_with_problems
from ppcmi_sf.errors import InputFileError, PPCMIError


def names(cases):
    return [case.name for case in cases]


def test_images_and_masks_with_equal_names(tmp_path, write):
    for name in ("b", "a"):
        write.png(tmp_path / "images" / f"{name}.png")
    write.png(tmp_path / "masks" / "a.tif")
    write.png(tmp_path / "masks" / "b_mask.png")
    cases = find_cases(tmp_path, need_masks=True)
    assert names(cases) == ["a", "b"]
    assert [case.mask.name for case in cases] == ["a.tif", "b_mask.png"]
    assert [case.group for case in cases] == ["a", "b"]


def test_manifest_gives_the_groups(tmp_path, write):
    for name in ("a", "b", "c"):
        write.png(tmp_path / "images" / f"{name}.png")
    (tmp_path / "manifest.csv").write_text(
        "\ufefffile,site,group\na.png,x,p1\nimages/b.png,y,p1\n", encoding="utf-8"
    )
    groups = {case.name: case.group for case in find_cases(tmp_path)}
    assert groups == {"a": "p1", "b": "p1", "c": "c"}


def test_a_manifest_may_leave_out_the_suffix(tmp_path, write):
    for name in ("a", "b"):
        write.png(tmp_path / "images" / f"{name}.png")
    write.nifti(tmp_path / "images" / "c.nii.gz")
    (tmp_path / "manifest.csv").write_text("file,group\na,p\nimages/b,p\nc,q\n")
    cases, problems = find_cases_with_problems(tmp_path)
    assert not problems
    assert {case.name: case.group for case in cases} == {"a": "p", "b": "p", "c": "q"}


@pytest.mark.parametrize("head", ["file, group", "File,Group", '"file","group"', " file ,GROUP"])
def test_spaces_and_capitals_in_a_manifests_head(tmp_path, write, head):
    for name in ("a", "b"):
        write.png(tmp_path / "images" / f"{name}.png")
    (tmp_path / "manifest.csv").write_text(f"{head}\na.png, p\nb.png, p\n")
    assert {case.group for case in find_cases(tmp_path)} == {"p"}


def test_an_image_whose_patient_is_not_told_is_left_out(tmp_path, write):
    for name in ("a", "b"):
        write.png(tmp_path / "images" / f"{name}.png")
    (tmp_path / "manifest.csv").write_text("file,group\na.png,p\nb.png,\n")
    cases, ((name, error),) = find_cases_with_problems(tmp_path)
    assert names(cases) == ["a"]
    assert name == "b" and "line 3" in error.message and "delete the line" in error.hint
    (tmp_path / "manifest.csv").write_text("file,group\na.png, \nb.png\n")
    cases, problems = find_cases_with_problems(tmp_path)
    assert not cases and [name for name, _ in problems] == ["a", "b"]


def test_nifti_volumes_and_dicom_folders_are_images(tmp_path, write):
    write.nifti(tmp_path / "images" / "v1.nii.gz")
    write.nifti(tmp_path / "masks" / "v1.nii")
    write.dicom_series(tmp_path / "images" / "1.2.840", np.zeros((3, 4, 5)), numbers=[1, 2, 3])
    (tmp_path / "images" / "notes").mkdir()
    (tmp_path / "images" / "notes.txt").write_text("no image")
    (tmp_path / "manifest.csv").write_text("file,group\n1.2.840,p\nv1.nii.gz,p\n")
    cases = find_cases(tmp_path)
    assert names(cases) == ["1.2.840", "v1"]
    assert {case.group for case in cases} == {"p"}


def test_a_folder_of_images_alone(tmp_path, write):
    write.png(tmp_path / "b.png")
    write.png(tmp_path / "a.jpg")
    write.png(tmp_path / "._a.jpg")
    assert names(find_cases(tmp_path)) == ["a", "b"]
    assert all(case.mask is None for case in find_cases(tmp_path))


def test_masks_elsewhere(tmp_path, write):
    write.png(tmp_path / "in" / "a.png")
    mask = write.png(tmp_path / "out" / "a.png")
    assert find_cases(tmp_path / "in", masks=tmp_path / "out", need_masks=True)[0].mask == mask


def test_masks_beside_the_images(tmp_path, write):
    image, mask = write.png(tmp_path / "x.png"), write.png(tmp_path / "x_mask.png")
    assert find_cases(tmp_path) == [Case("x", image, mask)]


def test_a_folder_that_is_a_dicom_series(tmp_path, write):
    folder = write.dicom_series(tmp_path / "scan", np.zeros((3, 4, 5)), numbers=[1, 2, 3])
    assert find_cases(folder) == [Case("scan", folder)]
    (folder / "D0001.dcm").write_bytes(b"damaged")
    assert names(find_cases(folder)) == ["scan"]


def test_single_dicom_files_are_cases(tmp_path, write):
    folder = write.dicom_series(tmp_path / "scan", np.zeros((1, 4, 5)), numbers=[7])
    assert names(find_cases(folder)) == ["D0007"]


def test_one_file_is_one_case(tmp_path, write):
    image, mask = write.png(tmp_path / "i" / "x.png"), write.png(tmp_path / "m" / "x.png")
    assert find_cases(image) == [Case("x", image)]
    assert find_cases(image, masks=tmp_path / "m", need_masks=True) == [Case("x", image, mask)]
    assert find_cases(image, masks=mask) == [Case("x", image, mask)]
    (tmp_path / "x.txt").write_text("no image")
    with pytest.raises(InputFileError, match=r"x\.txt"):
        find_cases(tmp_path / "x.txt")


def test_a_missing_mask_concerns_its_case_only(tmp_path, write):
    for name in ("a", "b"):
        write.png(tmp_path / "images" / f"{name}.png")
    write.png(tmp_path / "masks" / "b.png")
    cases, problems = find_cases_with_problems(tmp_path, need_masks=True)
    assert names(cases) == ["b"]
    ((name, error),) = problems
    assert name == "a" and "a.png" in error.message and error.hint
    with pytest.raises(InputFileError, match=r"a\.png"):
        find_cases(tmp_path, need_masks=True)
    assert names(find_cases(tmp_path)) == ["a", "b"]


def test_a_row_for_a_missing_file_concerns_that_row_only(tmp_path, write):
    write.png(tmp_path / "images" / "a.png")
    (tmp_path / "manifest.csv").write_text("file,group\na.png,p\ngone.png,p\n")
    cases, problems = find_cases_with_problems(tmp_path)
    assert names(cases) == ["a"]
    assert problems[0][0] == "gone.png" and "line 3" in problems[0][1].message
    with pytest.raises(InputFileError, match=r"gone\.png"):
        find_cases(tmp_path)


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("file,group\na.png,p\na.png,q\n", r"a\.png.*twice"),
        ("file,group\na.png,p\nimages/a.png,p\n", "twice"),
        ("file,group\na.png,p\na,q\n", "twice"),
        ("name;group\na.png;p\n", "column 'file'"),
        ("", "column 'file'"),
        ("file\na.png\n", "column 'group'"),
        ("file,patient\na.png,p\n", "column 'group'.*file, patient"),
        (b"\xff\xfe\x00\x80file", "CSV"),
        ("file,group\n" + "x" * 200_000 + ",p\n", "CSV"),
    ],
)
def test_a_manifest_that_is_refused(tmp_path, write, table, said):
    write.png(tmp_path / "images" / "a.png")
    content = table if isinstance(table, bytes) else table.encode()
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(InputFileError, match=said) as caught:
        find_cases(tmp_path)
    assert "manifest.csv" in caught.value.message and caught.value.hint


def test_duplicate_case_names_name_both_files(tmp_path, write):
    write.png(tmp_path / "images" / "a.png")
    write.nifti(tmp_path / "images" / "a.nii.gz")
    with pytest.raises(InputFileError) as caught:
        find_cases(tmp_path)
    assert "a.png" in caught.value.message and "a.nii.gz" in caught.value.message


@pytest.mark.parametrize("kind", ["missing", "empty", "no images", "empty images"])
def test_a_folder_without_images(tmp_path, kind):
    folder = tmp_path / "set"
    if kind != "missing":
        folder.mkdir()
    if kind == "no images":
        (folder / "notes.txt").write_text("nothing here")
    if kind == "empty images":
        (folder / "images").mkdir()
    with pytest.raises(InputFileError) as caught:
        find_cases(folder)
    assert "set" in caught.value.message and caught.value.hint


def test_a_missing_masks_folder_that_was_asked_for(tmp_path, write):
    write.png(tmp_path / "a.png")
    with pytest.raises(InputFileError, match="gone"):
        find_cases(tmp_path, masks=tmp_path / "gone")


def test_layouts_that_do_not_fit(tmp_path, write):
    write.png(tmp_path / "a.png")
    with pytest.raises(PPCMIError, match="no layout 'unknown'"):
        find_cases(tmp_path, layout="unknown")
    with pytest.raises(InputFileError, match="does not look like"):
        find_cases(tmp_path, layout="psfh")


def test_group_defaults_to_the_name():
    assert Case("a", Path("a.png")).group == "a"
    assert Case("a", Path("a.png"), group="p").group == "p"


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["hc18_fetal_head", "sunnybrook_cardiac"])
def test_real_folders(repository, name):
    folder = repository.parent / "shared" / "data" / name
    if not folder.is_dir():
        pytest.skip(f"{name} is not there")
    cases = find_cases(folder, need_masks=True)
    assert len(cases) > 100
    assert len({case.group for case in cases}) < len(cases)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every file name is a text")
def test_a_name_that_is_no_text_is_one_problem_and_no_end(tmp_path, write):
    write.png(tmp_path / "good.png")
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/im\xe9.png"))
    os.link(tmp_path / "good.png", odd)
    cases, problems = find_cases_with_problems(tmp_path)
    assert names(cases) == ["good"]
    ((name, error),) = problems
    assert name == "im\udce9" and "no UTF-8 text" in error.message and error.hint
    with pytest.raises(InputFileError, match="no UTF-8 text"):
        find_cases(odd)
