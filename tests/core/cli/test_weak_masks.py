"""A site whose masks do not come back from its mask autoencoder is told so before it exports."""

import pytest

from ppcmi_sf.training.fidelity_words import fidelity_lines


def test_site_train_tells_what_comes_back(ppcmi, escrow_chain, tmp_path):
    words = (
        "site", "train", escrow_chain.at("data", "north"), "--study", escrow_chain.study,
        "--name", "north",
    )  # fmt: skip
    short = ppcmi(*words, "--site-dir", tmp_path / "a", "--epochs", 1, "--json").json["mask_dice"]
    long = ppcmi(*words, "--site-dir", tmp_path / "b", "--epochs", 40, "--json").json["mask_dice"]
    assert set(short) <= set(long)
    assert all(0 <= value <= 1 for value in (*short.values(), *long.values()))
    assert sum(long.values()) > sum(short.values()) + 0.2
    shown = ppcmi(*words, "--site-dir", tmp_path / "c", "--epochs", 1).out
    assert "Masks that come back from it, Dice:" in shown
    assert "--retrain with more --epochs" in shown


@pytest.mark.parametrize(
    ("dice", "weak"),
    [({"head": 0.97, "cavity": 0.8}, False), ({"head": 0.97, "cavity": 0.3}, True)],
)
def test_the_warning_names_the_classes(dice, weak):
    told = " ".join(fidelity_lines(dice, "it", "Train longer."))
    assert "head 0.97, cavity" in told
    assert ("Too little comes back of cavity:" in told) is weak


def test_nothing_is_told_of_masks_without_a_class():
    assert fidelity_lines({}, "it", "Train longer.") == []
