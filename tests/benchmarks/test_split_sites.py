"""Splits as folders: no patient on both sides, whatever was there before, and they load again."""

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from central_unet import write_masks
from ppcmi_sf.data import find_cases
from ppcmi_sf.errors import InputFileError, PPCMIError
from ppcmi_sf.imaging import read_mask
from ppcmi_sf.progress import run
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.training.dataset import load_site_data
from split_sites import split

PARTS = ("test", "north", "south", "west")


@pytest.fixture
def pictures(tmp_path):
    """Twelve patients with two pictures each."""
    folder = tmp_path / "data"
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    rows = ["file,group"]
    for number in range(24):
        for kind in ("images", "masks"):
            Image.fromarray(np.zeros((8, 8), np.uint8)).save(folder / kind / f"c{number}.png")
        rows.append(f"c{number}.png,p{number // 2}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    return folder


def parts_in(out):
    return {name: find_cases(out / name, need_masks=True) for name in PARTS}


def test_a_split_that_was_stopped_goes_on(pictures, tmp_path):
    out = tmp_path / "out"
    split(pictures, out, 3, 0.2, 0)
    before = parts_in(out)
    next((out / "north" / "images").iterdir()).unlink()
    split(pictures, out, 3, 0.2, 0)
    assert parts_in(out) == before
    groups = [{case.group for case in part} for part in before.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) == 12


@pytest.mark.parametrize("other", [{"seed": 1}, {"sites": 2}, {"test": 0.5}])
def test_another_split_in_the_same_folder_is_refused(pictures, tmp_path, other):
    out, usual = tmp_path / "out", {"sites": 3, "test": 0.2, "seed": 0}
    split(pictures, out, **usual)
    before = parts_in(out)
    with pytest.raises(InputFileError, match="patients of two splits") as caught:
        split(pictures, out, **usual | other)
    assert "delete" in caught.value.hint
    assert parts_in(out) == before


def test_more_sites_than_names_are_refused(pictures, tmp_path):
    with pytest.raises(PPCMIError, match="names for 1 to 7"):
        split(pictures, tmp_path / "out", 8, 0.2, 0)


def test_images_whose_third_axis_holds_colours_load_again(tmp_path):
    for number in range(8):
        for kind, shape in (("image_mha", (3, 32, 32)), ("label_mha", (32, 32))):
            (tmp_path / "psfh" / kind).mkdir(parents=True, exist_ok=True)
            image = sitk.GetImageFromArray(np.ones(shape, np.uint8))
            sitk.WriteImage(image, str(tmp_path / "psfh" / kind / f"{number:05d}.mha"))
    split(tmp_path / "psfh", tmp_path / "out", 3, 0.2, 0)
    study = StudySpec(name="s", modality="US", classes=make_classes(["head"]), image_size=(32, 32))
    for cases in parts_in(tmp_path / "out").values():
        data = run(load_site_data(cases, study, validation_groups=()))
        assert len(data.training) == len(cases) and not data.failures
    nothing = np.zeros((1, 2, 32, 32), np.float32)
    test = find_cases(tmp_path / "out" / "test")
    write_masks(test, study, lambda _planes: nothing, tmp_path / "written")
    for case in test:
        written = read_mask(tmp_path / "written" / f"{case.name}.mha", 2)
        assert written.shape == read_mask(case.mask, 2).shape == (32, 32)
