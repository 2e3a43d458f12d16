"""The demo: the same verbs and files that users use, one table, nobody's files deleted."""

from __future__ import annotations

import json
import shutil

import pytest
from PIL import Image

from ppcmi_sf.cli import demo_command

SITES = ("north", "south", "west")
LOCK = ".ppcmi.lock"


@pytest.fixture(scope="module")
def few():
    """Fewer images than the real demo has; all else as it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_command, "TRAINING_IMAGES", 4)
        patch.setattr(demo_command, "TEST_IMAGES", 2)
        yield


@pytest.fixture(scope="module")
def made(few, ppcmi, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    return out, ppcmi("demo", "--out", out, "--epochs", 1)


def test_one_table_scores_and_a_figure(made):
    out, ran = made
    lines = ran.out.splitlines()
    assert sum("Dice" in line and "IoU" in line for line in lines) == 1
    rows = [line.split() for line in lines if "±" in line and "mean ±" not in line]
    classes = ("head", "cavity", "mean")
    assert [row[:2] for row in rows] == [[site, name] for site in SITES for name in classes]
    assert all(cell.count("±") == 1 for row in rows for cell in row[2:])
    assert max(len(line) for line in lines if "Figure" not in line) <= 80
    assert "HD95 px" in ran.out and " mm" not in ran.out
    scores = json.loads((out / "scores.json").read_text())
    assert 0 <= scores["mean_dice"] <= 1 and set(scores["sites"]) == set(SITES)
    with Image.open(out / "figure.png") as figure:
        assert figure.width > 1000
    shown = [line for line in ran.err.splitlines() if line.startswith("$ ppcmi ")]
    agreeing, joining, each = 1 + 4 + 3, 3 + 3, 4 + 3
    assert len(shown) == agreeing + joining + 1 + 3 * each
    passphrase = (out / "keys" / "passphrase.txt").read_text().strip()
    assert len(passphrase) > 16 and passphrase not in ran.said
    assert {path.name for path in out.rglob(".*")} == {LOCK}
    assert all(path.parent.parent == out / "homes" for path in out.rglob("*.ppcmiid"))


def test_again_replaces_its_own_files_and_json_is_one_object(made, ppcmi, few):
    out, first = made
    again = ppcmi("demo", "--out", out, "--epochs", 1, "--json")
    assert set(again.json) == {"out", "mean_dice", "seconds", "sites"}
    assert f"Mean Dice {again.json['mean_dice']:.3f}" in first.out  # the same seed
    assert len(list((out / "masks" / "north").iterdir())) == 2


def test_nobody_elses_file_is_deleted(made, ppcmi, tmp_path, listing):
    out = shutil.copytree(made[0], tmp_path / "out")
    mask = next((out / "masks" / "north").iterdir())
    for spoil in (
        lambda: (out / "data" / "north" / "mine.png").write_bytes(b"x"),
        lambda: mask.write_bytes(b"corrected by hand"),
        lambda: (out / "link").symlink_to(tmp_path),
        lambda: (out / "demo.json").unlink(),
    ):
        shutil.rmtree(out)
        shutil.copytree(made[0], out)
        spoil()
        before = listing(out)
        ppcmi.fails("demo", "--out", out, "--images-only", code=3, saying="no finished demo made")
        assert listing(out) == before
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("x")
    ppcmi.fails("demo", "--out", other, code=3, saying="thesis.txt", naming="other")
    ppcmi.fails("demo", "--out", other / "thesis.txt", code=3, saying="not a folder")


def test_images_only(ppcmi, tmp_path, few):
    (tmp_path / "out").mkdir()  # an empty folder may be used
    told = ppcmi("demo", "--images-only", "--out", tmp_path / "out", "--json")
    assert told.json == {"out": str(tmp_path / "out")}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["data", "demo.json"]
    for site in SITES:
        assert len(list((tmp_path / "out" / "data" / site / "test" / "masks").iterdir())) == 2
    again = ppcmi("demo", "--images-only", "--out", tmp_path / "out", "--seed", 1)
    assert "Wrote the images" in again.out


def test_a_step_that_fails_stops_the_demo_and_can_be_run_again(
    made, ppcmi, tmp_path, few, monkeypatch
):
    out = tmp_path / "out"
    steps = demo_command.DemoSteps
    training = steps.training

    with monkeypatch.context() as patch:
        patch.setattr(steps, "training", lambda self: [training(self)[0], "key show nowhere"])
        ppcmi.fails("demo", "--out", out, code=4, saying="A step of the demo failed")
        assert (out / "keys" / "north.ppcmikey").is_file()
    assert "Wrote" in ppcmi("demo", "--out", out, "--images-only").out
    assert not (out / "keys").exists()


def test_sample_data_and_the_readme_beside_it(ppcmi, tmp_path, few, listing):
    target = tmp_path / "sample"
    target.mkdir()
    (target / "README.md").write_text("mine")
    words = ("demo", "--sample-data", target, "--epochs", 1)
    assert ppcmi(*words, "--json").json == {"sample_data": str(target)}
    found = listing(target)
    assert {"README.md", "volume/image.nii.gz", "site/image_autoencoder.safetensors"} <= set(found)
    assert {"site/mapping_network.safetensors", "site/north.ppcmikey"} <= set(found)
    assert not [p for p in target.rglob("*") if p.name in ("pairs.json", LOCK, "homes")]
    assert not list(target.rglob("*.sqlite")) and not list(target.rglob("*.ppcmiid"))
    assert not any(str(tmp_path).encode() in path.read_bytes() for path in target.rglob("*.json"))
    words_of_site = (
        "site", "segment", target / "ultrasound" / "images", "--site-dir", target / "site",
        "--key", target / "site" / "north.ppcmikey", "--out", tmp_path / "masks",
    )  # fmt: skip
    passphrase = ("--passphrase-file", target / "site" / "passphrase.txt")
    assert len(ppcmi(*words_of_site, *passphrase, "--json").json["masks"]) == 6
    (target / "volume" / "mine.nii").write_text("mine")
    before = listing(target)
    ppcmi.fails(*words, code=3, saying="volume/mine.nii", naming="sample")
    assert listing(target) == before
