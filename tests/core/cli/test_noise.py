"""``ppcmi site protect --noise``: what it says, and that noisy latents still get a mask."""

import re

from ppcmi_sf.cli.reports import noise_line
from ppcmi_sf.latent_noise import LatentNoise


def test_noise_is_added_and_its_account_is_told(blind_chain, tmp_path):
    chain = blind_chain.copy(tmp_path / "copy")
    images = chain.at("new", "north") / "images"
    out = chain.at("queries", "north") / "noisy"
    told = chain.ppcmi(
        "site", "protect", images, *chain.mine("north"), "--out", out, "--noise", 0.5
    ).said
    epsilon = float(re.search(r"epsilon is ([\d,]+)", told).group(1).replace(",", ""))
    assert epsilon > 1000
    assert "no protection" in told
    assert "ppcmi audit --noise" in told
    replies, masks = tmp_path / "replies", tmp_path / "masks"
    chain.ppcmi(
        "server", "map", out, "--server-dir", chain.server, "--out", replies, *chain.acting()
    )
    chain.ppcmi("site", "reveal", replies, *chain.mine("north"), "--out", masks)
    assert len([path for path in masks.iterdir() if path.suffix in (".png", ".gz")]) == len(
        list(images.iterdir())
    )


def test_pairs_count_twice_for_each_copy(make_study):
    study, noise = make_study(), LatentNoise(0.5)
    assert "sent once" in noise_line(noise, study, 1)
    assert "sent 6 times" in noise_line(noise, study, 6)


def test_very_much_noise_is_called_weak_and_not_none(make_study):
    assert "a weak protection" in noise_line(LatentNoise(5000.0), make_study(), 1)


def test_no_noise_says_nothing_of_it(blind_chain):
    assert "epsilon" not in blind_chain.protect("north").said


def test_a_level_of_zero_is_refused(blind_chain):
    images = blind_chain.at("new", "north") / "images"
    ran = blind_chain.ppcmi(
        "site", "protect", images, *blind_chain.mine("north"), "--out", "x", "--noise", 0, code=2
    )
    assert "--noise" in ran.said
