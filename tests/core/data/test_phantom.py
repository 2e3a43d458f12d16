"""Phantoms: the same everywhere, varied, and as files."""

import csv
import hashlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ppcmi_sf.data import (
    DEMO_SITES,
    find_cases,
    phantom_2d,
    write_phantom_folder,
    write_phantom_volume,
)
from ppcmi_sf.data._exact import speckle
from ppcmi_sf.data.phantom import CLASS_NAMES, VOLUME_SHAPE, site_rng
from ppcmi_sf.errors import PPCMIError, ResourceError
from ppcmi_sf.imaging import read_image, read_mask
from ppcmi_sf.progress import run

GOLDEN_IMAGES = "822d5d38cf9f09f1e7bf17bd542543382b0c042630642211b850e957893a4d7c"
GOLDEN_VOLUME = "d24d2a0d645e95da3c95fb60da306074c4df7bfa1a2e47a09ec8fdee549c937e"


def digest(*arrays):
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


@pytest.fixture(scope="module")
def gallery():
    """Twelve phantoms of each site."""
    return {
        style.name: [
            phantom_2d(site_rng(style, 5, index), (128, 128), style) for index in range(12)
        ]
        for style in DEMO_SITES
    }


def test_pixels_are_the_same_on_every_machine():
    drawn = [phantom_2d(site_rng(style, 7, 3), (96, 128), style) for style in DEMO_SITES]
    assert digest(*(array for pair in drawn for array in pair)) == GOLDEN_IMAGES


def test_voxels_are_the_same_on_every_machine(tmp_path):
    image, mask = tmp_path / "v.nii.gz", tmp_path / "v_mask.nii.gz"
    write_phantom_volume(image, mask, DEMO_SITES[0], 11)
    voxels = read_image(image).data.astype(np.uint8)
    assert digest(voxels, read_mask(mask, 3)) == GOLDEN_VOLUME


def test_seed_index_and_site_each_change_the_image():
    north, south, _ = DEMO_SITES
    first = phantom_2d(site_rng(north, 0, 0), (64, 64), north)[0]
    for rng in (site_rng(north, 1, 0), site_rng(north, 0, 1), site_rng(south, 0, 0)):
        assert not np.array_equal(phantom_2d(rng, (64, 64), north)[0], first)
    assert np.array_equal(phantom_2d(site_rng(north, 0, 0), (64, 64), north)[0], first)


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (96, 160), (160, 96), (128, 128)])
def test_shapes_classes_and_share(size):
    for style in DEMO_SITES:
        for index in range(6):
            image, mask = phantom_2d(site_rng(style, 1, index), size, style)
            assert image.shape == mask.shape == size
            assert image.dtype == mask.dtype == np.uint8
            head, cavity = (np.mean(mask == value) for value in (1, 2))
            assert head > 0.04
            assert cavity > (0.02 if min(size) >= 64 else 0.015)
            assert set(np.unique(mask)) == set(range(len(CLASS_NAMES)))


def test_structures_vary_and_can_be_seen(gallery):
    for pairs in gallery.values():
        centres = np.array([np.argwhere(mask == 1).mean(0) for _, mask in pairs])
        assert (np.ptp(centres, axis=0) > 12).all()
        for image, mask in pairs:
            assert image[mask == 2].mean() < 0.6 * image[mask != 2].mean()


def test_cavities_lie_inside_and_beside_the_head(gallery):
    def inside(mask):
        ring = [np.roll(mask, step, axis) for axis in (0, 1) for step in (-2, 2)]
        return all((shifted == 1)[mask == 2].any() for shifted in ring)

    found = [inside(mask) for pairs in gallery.values() for _, mask in pairs]
    assert 5 < sum(found) < len(found) - 5


def test_sites_differ_in_brightness_and_speckle(gallery):
    def background(pairs):
        return [image[(mask == 0) & (image > 0)].astype(float) for image, mask in pairs]

    mean = {name: np.mean([v.mean() for v in background(p)]) for name, p in gallery.items()}
    spread = {
        name: np.mean([v.std() / v.mean() for v in background(p)]) for name, p in gallery.items()
    }
    assert mean["south"] > 1.2 * mean["north"] > 1.2 * mean["west"]
    assert spread["west"] > 1.2 * spread["north"] > 1.4 * spread["south"]


def test_outside_the_sector_is_black():
    north = DEMO_SITES[0]
    image, mask = phantom_2d(site_rng(north, 0, 0), (128, 128), north)
    assert image[-1, 0] == image[0, 64] == 0
    assert (image[mask > 0] > 0).any()
    whole, _ = phantom_2d(site_rng(north, 0, 0), (128, 128), replace(north, sector=None))
    assert whole[-1, 0] > 0


@pytest.mark.parametrize("passes", [(1, 3), (3, 9)])
def test_speckle_is_rayleigh(passes):
    field = speckle(np.random.Generator(np.random.PCG64(0)), (256, 256), passes)
    assert field.mean() == pytest.approx(1, abs=0.03)
    assert field.std() / field.mean() == pytest.approx(np.sqrt(4 / np.pi - 1), abs=0.03)


def test_too_small():
    with pytest.raises(PPCMIError, match="too small"):
        phantom_2d(site_rng(DEMO_SITES[0], 0, 0), (16, 64), DEMO_SITES[0])


def test_folder(tmp_path):
    style = DEMO_SITES[1]
    steps = []
    written = run(write_phantom_folder(tmp_path / "s", style, 3, 9, (64, 48)), steps.append)
    assert [step.done for step in steps] == [0, 1, 2, 3]
    cases = find_cases(tmp_path / "s", need_masks=True)
    assert cases == written
    assert [case.group for case in cases] == ["south-p000", "south-p000", "south-p001"]
    image, mask = phantom_2d(site_rng(style, 9, 1), (64, 48), style)
    assert np.array_equal(np.asarray(Image.open(cases[1].image)), image)
    assert np.array_equal(np.asarray(Image.open(cases[1].mask)), mask)


def test_a_second_call_adds_to_a_folder(tmp_path):
    for style in DEMO_SITES[:2]:
        run(write_phantom_folder(tmp_path, style, 2, 0, (32, 32)))
    assert len(find_cases(tmp_path, need_masks=True)) == 4
    with (tmp_path / "manifest.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["group"] for row in rows] == ["north-p000"] * 2 + ["south-p000"] * 2


def test_cancel_leaves_nothing_behind(tmp_path):
    job = write_phantom_folder(tmp_path / "s", DEMO_SITES[0], 3, 0, (32, 32))
    next(job)
    next(job)
    job.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResourceError, match="file"):
        run(write_phantom_folder(tmp_path / "file" / "s", DEMO_SITES[0], 1, 0, (32, 32)))


def test_volume_is_anisotropic_flipped_and_oblique(tmp_path):
    image_path, mask_path = tmp_path / "v.nii.gz", tmp_path / "v_mask.nii.gz"
    write_phantom_volume(image_path, mask_path, DEMO_SITES[2], 4)
    image = read_image(image_path)
    mask = read_mask(mask_path, 3, image_geometry=image.geometry)
    assert image.geometry.shape == mask.shape == VOLUME_SHAPE
    assert np.allclose(image.geometry.spacing, (0.7, 0.7, 2.5))
    affine = image.geometry.affine_array()[:3, :3]
    assert np.linalg.det(affine) < 0
    assert (np.abs(affine / np.linalg.norm(affine, axis=0)).max(axis=0) < 0.999).all()
    slices = [set(np.unique(mask[:, :, k])) for k in range(mask.shape[2])]
    assert slices[0] == {0, 1} and slices[6] == {0, 1, 2}
