"""Noise on latents while a network trains on them."""

import dataclasses

import numpy as np
import pytest
import torch

from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import run
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.mapping import INPUT_NOISE, MappingOptions, MappingTask, SitePairs
from ppcmi_sf.training.mapping import train_mapping as train
from ppcmi_sf.training.noise import noisy

CPU = torch.device("cpu")


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


@pytest.fixture(scope="module")
def study(make_study):
    return make_study(size=(64, 64))


def pairs_of(study, count: int = 24) -> SitePairs:
    made = generator(3)
    inputs = LatentPyramid(
        {s.name: torch.randn(count, *s.shape, generator=made) for s in study.scales}
    )
    return SitePairs(inputs, inputs.map(torch.abs), np.arange(count) >= count - 4)


def options(**fields) -> MappingOptions:
    return MappingOptions(fit=FitOptions(epochs=2, batch_size=8), **fields)


def test_the_default_is_for_the_fused_network_in_escrow(make_study):
    study = make_study()
    assert options().noise_for(study) == INPUT_NOISE[study.autoencoder] > 0
    assert 0 < options().noise_for(make_study(autoencoder="fine")) < INPUT_NOISE["ppcmi-sf"]
    assert options().noise_for(make_study(arrangement="blind")) == 0
    assert options().noise_for(make_study(mapping="paper")) == 0
    assert options(input_noise=0.25).noise_for(make_study(mapping="paper")) == 0.25


def test_only_training_batches_get_it(study):
    task = MappingTask(study, {"a": pairs_of(study)}, options(), CPU)
    batch = next(iter(task.train_batches(0)))
    task.model.eval()
    with torch.no_grad():
        assert task.loss(batch) == task.loss(batch)
        task.model.train()
        assert task.loss(batch) != task.loss(batch)


def test_without_it_a_batch_is_as_it_is(study):
    task = MappingTask(study, {"a": pairs_of(study)}, options(input_noise=0.0), CPU)
    task.model.train()
    batch = next(iter(task.train_batches(0)))
    with torch.no_grad():
        assert task.loss(batch) == task.loss(batch)


def test_a_seed_gives_the_same_network(study):
    pairs = {"a": pairs_of(study)}
    first, second = (run(train(study, pairs, options(), device=CPU))[0] for _ in range(2))
    other = run(train(study, pairs, dataclasses.replace(options(), input_noise=0.0), device=CPU))[0]
    states = [one.state_dict() for one in (first, second, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not all(torch.equal(value, states[2][name]) for name, value in states[0].items())
