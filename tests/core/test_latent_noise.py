"""Noise on latents: how much, whose, and what it amounts to."""

import math

import pytest
import torch
from scipy.stats import kstest, norm

from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.latent_noise import LatentNoise
from ppcmi_sf.latents import LatentPyramid


def pyramid(scale: float = 1.0) -> LatentPyramid:
    draw = torch.Generator().manual_seed(0)
    shapes = {"skip3": (3, 16, 8, 8), "bottleneck": (3, 64, 4, 4)}
    return LatentPyramid(
        {name: scale * torch.randn(shape, generator=draw) for name, shape in shapes.items()}
    )


def delta_of(mu: float, epsilon: float) -> float:
    """The δ of a Gaussian mechanism, as it stands in Balle and Wang, ICML 2018, theorem 8."""
    return norm.cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * norm.cdf(-mu / 2 - epsilon / mu)


@pytest.mark.parametrize("level", [0.25, 2.0])
def test_the_noise_has_its_level_and_no_mean(level):
    clean = pyramid()
    noisy = LatentNoise(level, seed=1)(clean)
    for name, value in noisy.items():
        added = value - clean[name]
        assert float(added.std()) == pytest.approx(level, rel=0.05)
        assert abs(float(added.mean())) < 0.06 * level
        assert value.shape == clean[name].shape


def test_latents_that_are_too_large_are_bounded_and_others_are_not():
    tiny = LatentNoise(1e-9, bound=2.0)
    for name, value in tiny(pyramid(5.0)).items():
        sizes = value.square().mean(dim=(1, 2, 3)).sqrt()
        assert torch.allclose(sizes, torch.full((3,), 2.0), atol=1e-5), name
    for name, value in tiny(pyramid()).items():
        assert torch.allclose(value, pyramid()[name], atol=1e-6), name


def test_noise_is_new_each_time_unless_it_has_a_seed():
    once, again = LatentNoise(1.0), LatentNoise(1.0)
    clean = pyramid()
    first = once(clean)["skip3"]
    assert not torch.equal(first, once(clean)["skip3"])
    assert not torch.equal(first, again(clean)["skip3"])
    seeded = [LatentNoise(1.0, seed=7)(clean)["skip3"] for _ in range(2)]
    assert torch.equal(*seeded)


def test_every_bit_of_a_seed_counts():
    """A generator that takes 32 bits of it could be tried out, and the noise taken off."""
    clean = pyramid()
    one, other = (LatentNoise(1.0, seed=seed)(clean)["skip3"] for seed in (7, 7 + 2**32))
    assert not torch.equal(one, other)


def test_noise_of_what_leaves_is_from_256_bits_of_the_system_for_each_scale(monkeypatch):
    asked = []

    def token_bytes(size):
        asked.append(size)
        return bytes([len(asked)]) * size

    monkeypatch.setattr("ppcmi_sf.latent_noise.secrets.token_bytes", token_bytes)
    LatentNoise(1.0)(pyramid())
    assert asked == [32, 32]


def test_noise_is_normal():
    clean = LatentPyramid({"skip3": torch.zeros(8, 64, 16, 16)})
    drawn = LatentNoise(1.0)(clean)["skip3"].flatten().double().numpy()
    assert kstest(drawn, "norm").pvalue > 1e-6


@pytest.mark.parametrize("mu", [0.05, 0.5, 1.0, 4.0])
def test_epsilon_is_the_smallest_that_keeps_delta(make_study, mu):
    study = make_study()
    numbers = sum(s.channels * s.rows * s.columns for s in study.scales)
    account = LatentNoise(2 * 3.0 * math.sqrt(numbers) / mu).account(study)
    assert account.mu == pytest.approx(mu)
    assert delta_of(mu, account.epsilon) <= 1e-5 * (1 + 1e-6)
    if account.epsilon > 0:
        assert delta_of(mu, 0.999 * account.epsilon) > 1e-5


def test_a_known_figure_of_the_literature(make_study):
    """σ = 3.7306 for a sensitivity of 1 has ε = 1 at δ = 1e-5 (Balle and Wang's program)."""
    study = make_study()
    numbers = sum(s.channels * s.rows * s.columns for s in study.scales)
    noise = LatentNoise(3.730631634 * 2 * 3.0 * math.sqrt(numbers))
    assert noise.account(study).epsilon == pytest.approx(1.0, abs=1e-4)


def test_levels_of_use_are_no_protection_in_these_terms_and_sending_again_costs(make_study):
    study = make_study()
    once, four = (LatentNoise(0.5).account(study, sent=sent) for sent in (1, 4))
    assert once.epsilon > 1000
    assert four.mu == pytest.approx(2 * once.mu)
    assert four.epsilon > once.epsilon
    assert math.isfinite(LatentNoise(1e-3).account(study).epsilon)


@pytest.mark.parametrize("numbers", [(0.0,), (-1.0,), (math.nan,), (1.0, 0.0)])
def test_a_level_that_is_none_is_refused(numbers):
    with pytest.raises(PPCMIError, match="above 0") as caught:
        LatentNoise(*numbers)
    assert caught.value.hint
