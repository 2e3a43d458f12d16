"""Masks never replace images; scores fit on a page and claim no millimetres."""

from __future__ import annotations

import csv
import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image


def reveal(chain, site, out, *more):
    words = ("site", "reveal", chain.at("replies", site), *chain.mine(site), "--out", out)
    return (*words, "--again", *more)  # the chain has accepted these replies


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_the_image_itself_is_never_replaced(escrow_chain, ppcmi, listing, tmp_path, more):
    chain = escrow_chain
    images = chain.at("new", "north") / "images"
    before = listing(images)
    linked = tmp_path / "linked"
    linked.symlink_to(images, target_is_directory=True)
    for folder in (images, linked, images / ".." / "images"):
        told = ppcmi(*reveal(chain, "north", folder, *more, "--json"), code=1).json["failures"]
        assert len(told) == 3
        assert all("would replace the image itself" in failure["error"] for failure in told)
        assert "--out" in told[0]["hint"]
    assert listing(images) == before


def test_overwrite_replaces_masks_alone(escrow_chain, ppcmi, tmp_path):
    chain, out = escrow_chain, tmp_path / "masks"
    ppcmi(*reveal(chain, "south", out))
    one, other = sorted(out.iterdir())
    decoded = one.read_bytes()
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(one)  # an older mask
    shutil.copy(sorted((chain.at("data", "south") / "images").iterdir())[0], other)
    kept = other.read_bytes()
    plain = ppcmi(*reveal(chain, "south", out))
    assert "Wrote 0 masks" in plain.out and "2 were there already (--overwrite --again" in plain.out
    told = ppcmi(*reveal(chain, "south", out, "--overwrite", "--json"), code=1).json
    assert told["masks"] == [one.name] and one.read_bytes() == decoded
    assert other.name in told["failures"][0]["error"] and other.read_bytes() == kept
    assert "no mask of" in told["failures"][0]["error"]


def test_two_images_of_one_name(escrow_chain, ppcmi, tmp_path, ellipses, make_cases):
    chain = escrow_chain.copy(tmp_path / "copy")
    for number in (1, 2):
        make_cases(tmp_path / f"ward{number}", *ellipses(number, 1))
        words = ("site", "protect", tmp_path / f"ward{number}" / "images", *chain.mine("south"))
        ppcmi(*words, "--out", tmp_path / "queries")
    server = ("--server-dir", chain.server, "--out", tmp_path / "replies")
    ppcmi("server", "map", tmp_path / "queries", *server, *chain.acting())
    words = ("site", "reveal", tmp_path / "replies", *chain.mine("south"))
    told = ppcmi(*words, "--out", tmp_path / "masks", "--json", code=1).json
    assert len(told["masks"]) == 1
    assert "two images are called 'case_000'" in told["failures"][0]["error"]


def squares(folder, sides, suffix=".png"):
    folder.mkdir()
    for index, side in enumerate(sides):
        mask = np.zeros((40, 40, 3) if suffix == ".nii" else (40, 40), np.uint8)
        mask[5 : 5 + side, 5 : 5 + side] = 1
        path = folder / f"case_{index}{suffix}"
        if suffix == ".nii":
            nib.save(nib.Nifti1Image(mask, np.diag([2.0, 2.0, 5.0, 1.0])), path)
        else:
            Image.fromarray(mask).save(path)
    return folder


@pytest.fixture
def scored(ppcmi, escrow_chain, tmp_path):
    def run(suffix, *more):
        pred = squares(tmp_path / f"pred{suffix}", (12, 10, 10), suffix)
        truth = squares(tmp_path / f"truth{suffix}", (10, 10), suffix)
        words = ("evaluate", "--pred", pred, "--truth", truth, "--study", escrow_chain.study)
        return words + more

    return run


def test_pixels_are_not_called_millimetres(ppcmi, scored, tmp_path):
    words = scored(".png", "--csv", tmp_path / "t.csv")
    plain = ppcmi(*words)
    assert "HD95 px" in plain.out and "ASD px" in plain.out and "mm" not in plain.out
    assert "no pixel size" in plain.err and "--spacing" in plain.err
    assert "case_2" in plain.err  # has no truth
    told = ppcmi(*words, "--json").json
    assert told["distance_unit"] == "px"
    pixels = told["cases"][0]["scores"][0]["hd95_mm"]
    assert 1 < pixels < 4
    sized = ppcmi(*words, "--spacing", 0.5)
    assert "HD95 mm" in sized.out and "pixel size" not in sized.err
    told = ppcmi(*words, "--spacing", 0.5, "--json").json
    assert told["distance_unit"] == "mm"
    assert told["cases"][0]["scores"][0]["hd95_mm"] == pytest.approx(pixels / 2)
    with (tmp_path / "t.csv").open(newline="") as handle:
        assert [row["case"] for row in csv.DictReader(handle)] == ["case_0", "case_1"]


def test_files_with_a_size_are_in_millimetres(ppcmi, scored):
    plain = ppcmi(*scored(".nii"))
    assert "HD95 mm" in plain.out and "pixel size" not in plain.err


def test_the_table_fits_on_a_page_and_cuts_nothing(ppcmi, scored):
    out = ppcmi(*scored(".png")).out
    assert max(len(line) for line in out.splitlines()[1:]) <= 80 and "…" not in out
    for heading in ("Class", "Dice", "IoU", "Sens", "Spec", "HD95 px", "ASD px", "Cases"):
        assert heading in out
    assert out.count("±") == 2 * 6


def test_no_common_name(ppcmi, escrow_chain, tmp_path):
    pred, truth = squares(tmp_path / "p", (5,)), squares(tmp_path / "t", (5,))
    (pred / "case_0.png").rename(pred / "other.png")
    words = ("evaluate", "--pred", pred, "--truth", truth, "--study", escrow_chain.study)
    ppcmi.fails(*words, code=3, saying="matched by file name", naming=truth.name)
