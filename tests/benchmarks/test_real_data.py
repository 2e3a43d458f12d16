"""The chain on a real data set: what its script asks the verbs for, and the table of its scores."""

import os
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "real_data.sh"


@pytest.fixture
def study_new(tmp_path):
    """Run the script as far as the study; how it ended, and the words of `ppcmi study new`."""
    (tmp_path / "bin").mkdir()
    # Stands in for the program: notes its words, and goes no further than the study.
    note = f'printf "%s\\n" "$@" > {tmp_path}/words\n[ "$1 $2" = "study new" ]\n'
    for name, body in (("python", ""), ("ppcmi", note)):
        file = tmp_path / "bin" / name
        file.write_text(f"#!/bin/sh\n[ ! -f {tmp_path}/words ] || exit 9\n{body}")
        file.chmod(0o755)

    def call(*words, **environment):
        done = subprocess.run(
            ["bash", str(SCRIPT), "data", str(tmp_path / "out"), *words],
            env=os.environ | {"PPCMI_BIN": str(tmp_path / "bin")} | environment,
            capture_output=True,
            text=True,
        )
        noted = tmp_path / "words"
        return done, noted.read_text().splitlines() if noted.is_file() else []

    return call


def options(words, name):
    return [words[at + 1] for at, word in enumerate(words) if word == name]


def test_one_class_as_documented(study_new):
    _, words = study_new("MR", "left ventricle")
    assert options(words, "--name") == options(words, "--class") == ["left ventricle"]
    assert "--window" not in words


def test_several_classes_and_a_window(study_new):
    done, words = study_new("CT", "lung", "large clot", WINDOW="40 400")
    assert done.returncode == 9
    assert options(words, "--class") == ["lung", "large clot"]
    assert options(words, "--name") == ["lung, large clot"]
    at = words.index("--window")
    assert words[at + 1 : at + 3] == ["40", "400"]


def test_ct_without_a_window_is_refused_before_anything_is_done(study_new):
    done, words = study_new("CT", "clot")
    assert done.returncode == 2 and "WINDOW=" in done.stderr and not words


def write_run(folder, suffix):
    """Three patients with an image each, and scores of two classes: Dice 0.9 and 0.5."""
    for number in range(3):
        for kind in ("images", "masks"):
            path = folder / "split" / "test" / kind / f"v{number}{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            if suffix == ".png":
                Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
            else:
                nib.save(nib.Nifti1Image(np.zeros((4, 4, 2), np.uint8), np.eye(4)), path)
    rows = [f"v{number}{suffix},p{number}" for number in range(3)]
    (folder / "split" / "test" / "manifest.csv").write_text("\n".join(["file,group", *rows]))
    for name in ("north", "south", "west", "unet"):
        lines = ["case,class_name,dice,hd95_mm,asd_mm"]
        for number in range(3):
            lines += [f"v{number},{one},{dice},2,1" for one, dice in (("a", 0.9), ("b", 0.5))]
        (folder / f"scores-{name}.csv").write_text("\n".join(lines))


@pytest.mark.parametrize(("suffix", "unit"), [(".nii.gz", "mm"), (".png", "px")])
def test_the_table_takes_every_class_and_every_kind_of_file(script, tmp_path, suffix, unit):
    write_run(tmp_path, suffix)
    table = script("table.py", tmp_path)
    assert f"| HD95 {unit} | ASD {unit} |" in table
    row = "| site north | 0.700 ± 0.000 | 2.00 ± 0.00 | 1.00 ± 0.00 | 3 | +0.000 [+0.000, +0.000] |"
    assert row in table
    assert "Mean Dice over the sites: 0.700" in table


def test_a_run_without_the_central_u_net_has_a_table_too(script, tmp_path):
    write_run(tmp_path, ".png")
    (tmp_path / "scores-unet.csv").unlink()
    table = script("table.py", tmp_path)
    assert "| site west | 0.700 ± 0.000 | 2.00 ± 0.00 | 1.00 ± 0.00 | 3 |  |" in table
    assert "U-Net |\n" in table and "central U-Net" not in table
