"""A new site joins a trained mapping network by its adapters alone."""

import numpy as np
import pytest
import torch

from ppcmi_sf.errors import ModelFileError, TrainingError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.progress import run
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.joining import join_mapping
from ppcmi_sf.training.losses import mapping_loss
from ppcmi_sf.training.mapping import MappingOptions, SitePairs, train_mapping

CPU = torch.device("cpu")


def mixing(channels: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(channels, channels, generator=generator))[0]


def pairs_of(study, seed: int, count: int, apart: int = 4) -> SitePairs:
    """Targets are the inputs' absolute values, both in a basis of the site's own."""
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = {}, {}
    for number, scale in enumerate(study.scales):
        values = torch.randn(count, *scale.shape, generator=generator)
        values[:, 4:] *= 0.05  # few directions matter, as in latents of images
        basis = mixing(scale.channels, 100 * seed + number)
        inputs[scale.name] = torch.einsum("ij,bjhw->bihw", basis, values)
        targets[scale.name] = torch.einsum("ji,bjhw->bihw", basis, values.abs())
    validation = np.arange(count) >= count - apart
    return SitePairs(LatentPyramid(inputs), LatentPyramid(targets), validation)


def error(network, site: str, pairs: SitePairs) -> float:
    chosen = torch.from_numpy(np.flatnonzero(pairs.validation))
    with torch.inference_mode():
        mapped = network({site: pairs.inputs.items_at(chosen)})[site]
    return float(mapping_loss(mapped, pairs.targets.items_at(chosen), None))


@pytest.fixture(scope="module")
def study(make_study):
    return make_study(size=(64, 64), arrangement="blind")


@pytest.fixture(scope="module")
def network(study):
    options = MappingOptions(fit=FitOptions(epochs=6, batch_size=12, learning_rate=3e-3))
    pairs = {"a": pairs_of(study, 1, 28), "b": pairs_of(study, 2, 28)}
    return run(train_mapping(study, pairs, options, device=CPU))[0]


def options(epochs: int = 10) -> MappingOptions:
    return MappingOptions(fit=FitOptions(epochs=epochs, batch_size=8, learning_rate=3e-3))


def test_only_the_new_adapters_are_trained(study, network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    mine = pairs_of(study, 3, 20)
    untrained = run(join_mapping(study, network, "c", mine, options(1), device=CPU))[0]
    joined, report = run(join_mapping(study, network, "c", mine, options(30), device=CPU))
    assert joined.site_names == ("a", "b", "c")
    assert report.epochs == 30
    for name, value in before.items():
        assert torch.equal(value, network.state_dict()[name])
        assert torch.equal(value, joined.state_dict()[name]), f"{name} was changed"
    assert error(joined, "c", mine) < 0.97 * error(untrained, "c", mine)
    assert all(value.requires_grad for value in joined.parameters())
    assert not joined.training


def test_the_other_sites_get_what_they_got(study, network):
    joined = run(join_mapping(study, network, "c", pairs_of(study, 3, 8), options(1), device=CPU))[
        0
    ]
    query = {"a": pairs_of(study, 9, 3, apart=0).inputs}
    with torch.inference_mode():
        for name, value in network(query)["a"].items():
            assert torch.equal(value, joined(query)["a"][name])


def test_who_cannot_join(study, network, make_study):
    mine = pairs_of(study, 3, 8)
    with pytest.raises(ModelFileError, match="knows site 'a' already"):
        run(join_mapping(study, network, "a", mine, options(), device=CPU))
    bare = UnifiedMappingNetwork(make_study(mapping="paper"), ("a",))
    with pytest.raises(ModelFileError, match="no adapters"):
        run(join_mapping(make_study(mapping="paper"), bare, "c", mine, options(), device=CPU))
    apart = SitePairs(mine.inputs, mine.targets, np.ones(8, np.bool_))
    with pytest.raises(TrainingError, match="set apart"):
        run(join_mapping(study, network, "c", apart, options(), device=CPU))
