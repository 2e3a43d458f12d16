"""The sample data that ships with the project: what it is, and that it works at once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from ppcmi_sf.cli.demo_command import SAMPLE_IMAGES, SIZE, TEST_SEED_STEP
from ppcmi_sf.data import DEMO_SITES, find_cases, write_phantom_folder, write_phantom_volume
from ppcmi_sf.data.phantom import CLASS_NAMES
from ppcmi_sf.data.sample import sample_data_folder
from ppcmi_sf.evaluation import evaluate_folders
from ppcmi_sf.imaging import read_image
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.passphrase import read_passphrase_file
from ppcmi_sf.progress import run
from ppcmi_sf.workflows.segment import segment_cases

SAMPLE = sample_data_folder()
REAL = Path(__file__).parents[3] / "shared" / "data" / "ms_brain_lesion" / "volumes"
CPU = torch.device("cpu")
SITE = "north"


@pytest.fixture
def segment(tmp_path):
    """Segment cases with the sample's site alone, as it lies there, to a folder of masks."""
    passphrase = read_passphrase_file(shutil.copy(SAMPLE / "site" / "passphrase.txt", tmp_path))
    key_file = Path(shutil.copy(SAMPLE / "site" / f"{SITE}.ppcmikey", tmp_path))
    for path in tmp_path.iterdir():
        path.chmod(0o600)  # git does not keep it
    key = ClientKey.load(key_file, passphrase)

    def with_its_own_network(cases) -> Path:
        masks = run(segment_cases(SAMPLE / "site", key, cases, tmp_path / "masks", device=CPU))
        assert not masks.failures
        return tmp_path / "masks"

    return with_its_own_network


def test_images_come_out_the_same_bit_for_bit(tmp_path):
    for style in DEMO_SITES:
        seed = 2 * TEST_SEED_STEP
        run(write_phantom_folder(tmp_path, style, SAMPLE_IMAGES, seed, SIZE))
    write_phantom_volume(tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz", DEMO_SITES[0], 0)
    made = [path for path in tmp_path.rglob("*") if path.suffix in (".png", ".gz")]
    assert len(made) == 2 * len(DEMO_SITES) * SAMPLE_IMAGES + 2
    for path in made:
        folder = "volume" if path.suffix == ".gz" else f"ultrasound/{path.parent.name}"
        shipped = read_image(SAMPLE / folder / path.name)
        assert np.array_equal(shipped.data, read_image(path).data)
        assert shipped.geometry == read_image(path).geometry


def test_networks_are_small():
    weights = list(SAMPLE.rglob("*.safetensors"))
    assert len(weights) == 3
    assert sum(path.stat().st_size for path in weights) < 12e6


def test_the_sample_site_segments_its_images(segment, tmp_path):
    cases = [c for c in find_cases(SAMPLE / "ultrasound") if c.name.startswith(SITE)]
    truth = tmp_path / "truth"
    truth.mkdir()
    for case in cases:
        shutil.copy(case.mask, truth)
    report = run(evaluate_folders(segment(cases), truth, CLASS_NAMES))
    assert [summary.n for summary in report.summaries] == [SAMPLE_IMAGES] * 3
    assert report.summaries[-1].mean["dice"] > 0.85


def test_it_holds_nothing_of_the_machine_that_made_it():
    for path in SAMPLE.rglob("*"):
        if path.is_file() and path.suffix != ".gz":
            content = path.read_bytes()
            assert b"/tmp/" not in content and b"/home/" not in content, path


def test_the_recorded_scores_are_what_the_demo_promises():
    scores = json.loads((SAMPLE / "scores.json").read_text())
    assert scores["mean_dice"] >= 0.85
    assert set(scores["sites"]) == {style.name for style in DEMO_SITES}


@pytest.mark.parametrize("volume", ["sample", "real"])
def test_a_volume_s_mask_has_the_volume_s_exact_grid(volume, segment):
    path = SAMPLE / "volume" / "image.nii.gz" if volume == "sample" else _real_volume()
    masks = segment(find_cases(path))
    image, mask = nibabel.load(path), nibabel.load(next(masks.iterdir()))
    assert mask.shape == image.shape
    assert np.array_equal(mask.affine, image.affine)
    for code in ("qform_code", "sform_code", "xyzt_units"):
        assert mask.header[code] == image.header[code]
    assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1, 2}


def _real_volume() -> Path:
    path = REAL / "case007_flair.nii.gz"
    if not path.is_file():
        pytest.skip("no real data: ../shared/data/ms_brain_lesion is absent")
    return path
