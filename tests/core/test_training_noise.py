"""Noise on latents while a network trains on them."""

import torch

from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.training.noise import TrainingNoise, noisy


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_is_as_strong_as_said_in_every_channel():
    spreads = torch.tensor([0.1, 1.0, 10.0])[None, :, None, None]
    latents = torch.randn(40, 3, 16, 16, generator=generator(1)) * spreads + 5 * spreads
    added = noisy(latents, 0.5, generator()) - latents
    assert torch.allclose(added.std(dim=(0, 2, 3)), 0.5 * spreads.flatten(), rtol=0.05)
    assert added.mean(dim=(0, 2, 3)).abs().div(spreads.flatten()).max() < 0.02


def test_the_same_seed_gives_the_same_noise():
    latents = torch.randn(2, 3, 4, 4, generator=generator(1))
    assert torch.equal(noisy(latents, 1, generator(7)), noisy(latents, 1, generator(7)))
    assert not torch.equal(noisy(latents, 1, generator(7)), noisy(latents, 1, generator(8)))


def test_a_single_value_gets_none():
    """The coarsest scale of a single image of 32 × 32."""
    latents = torch.ones(1, 3, 1, 1)
    assert torch.equal(noisy(latents, 1, generator()), latents)


def test_an_epoch_gets_the_same_again_and_a_level_of_0_none():
    latents = LatentPyramid({"bottleneck": torch.randn(2, 3, 4, 4, generator=generator(1))})
    noise = TrainingNoise(0.25, seed=1)
    drawn = []
    for epoch in (0, 0, 1):
        noise.begin(epoch)
        drawn.append(noise(latents)["bottleneck"])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert TrainingNoise(0, seed=1)(latents) is latents
