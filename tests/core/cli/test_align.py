"""``ppcmi site align``: what it says, and that masks come of it."""

import json
import shutil

import pytest


@pytest.fixture
def installed(chain, tmp_path):
    copy = chain.copy(tmp_path / "copy")
    words = ("server", "publish", "--to", "north", "--server-dir", copy.server)
    copy.ppcmi(*words, "--out", tmp_path / "models", *copy.acting())
    (bundle,) = (path for path in (tmp_path / "models").iterdir() if path.suffix == ".ppcmi")
    copy.ppcmi("site", "install", bundle, *copy.mine("north"))
    return copy


def align(chain, *more, code=0):
    site = ("--site-dir", chain.at("sites", "north"), "--key", chain.key("north"), *chain.known)
    return chain.ppcmi(
        "site", "align", chain.at("data", "north"), *site, "--epochs", 2, *more, code=code
    )


def test_it_tells_what_it_gained(installed, tmp_path):
    told = align(installed, "--json").json
    assert set(told) == {
        "site_dir", "training_slices", "validation_slices", "dice_before", "dice_after", "kept",
        "encoder", "failures",
    }  # fmt: skip
    assert told["kept"] == (told["dice_after"] >= told["dice_before"])
    file = installed.at("sites", "north") / "aligned_encoder.safetensors"
    assert file.exists() == told["kept"]
    text = align(installed).out
    assert "Dice on" in text
    assert f"{told['dice_after']:.3f} after" in text
    words = ("--site-dir", installed.at("sites", "north"), "--key", installed.key("north"))
    masks = tmp_path / "masks"
    installed.ppcmi(
        "site", "segment", installed.at("new", "north") / "images", *words, *installed.known,
        "--out", masks,
    )  # fmt: skip
    assert len(list(masks.iterdir())) == 3


def test_what_is_sent_afterwards_is_what_the_server_knows(installed, tmp_path):
    """Bundles are made with the encoder of before: the server answers as if nothing was."""
    site = installed.at("sites", "north")
    record = json.loads((site / "training.json").read_text())
    (site / "training.json").write_text(json.dumps(record | {"validation_groups": []}))
    assert "not known whether" in align(installed).out  # nobody is set apart, so it is kept
    assert (site / "aligned_encoder.safetensors").is_file()
    query = tmp_path / "queries"
    images = installed.at("new", "north") / "images"
    installed.ppcmi("site", "protect", images, *installed.mine("north"), "--out", query)
    words = ("server", "map", query, "--server-dir", installed.server, *installed.acting())
    assert len(installed.ppcmi(*words, "--out", tmp_path / "r", "--json").json["replies"]) == 3


def test_who_was_left_out_is_told_with_what_this_command_can_do(installed):
    masks = installed.at("data", "north") / "masks"
    next(masks.iterdir()).unlink()
    told = align(installed, code=1).said
    assert "aligned without them" in told
    assert "--retrain" not in told


def test_what_is_wrong_is_said(chain, installed):
    site = ("--site-dir", chain.at("sites", "north"), "--key", chain.key("north"), *chain.known)
    chain.ppcmi.fails(
        "site", "align", chain.at("data", "north"), *site, code=5, saying="no mapping network"
    )
    shutil.rmtree(installed.at("data", "north") / "masks")
    align(installed, code=1)
