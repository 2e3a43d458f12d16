"""Folded networks: the same results, and nothing of the original touched."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ppcmi_sf.device import place
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.folding import folded
from ppcmi_sf.models.mapping import UnifiedMappingNetwork

CPU = torch.device("cpu")


def trained(network: nn.Module) -> nn.Module:
    """With statistics, scales and shifts that are not those of a new normalisation."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.25, 4)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return place(network, CPU).eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def require_close(one: torch.Tensor, other: torch.Tensor) -> None:
    assert (one - other).norm() <= 1e-5 * other.norm()


@torch.no_grad()
@pytest.mark.parametrize("role", ["image", "mask"])
def test_an_autoencoder_gives_the_same_without_its_norms(role, make_study):
    torch.manual_seed(0)
    study = make_study((32, 32))
    model = trained(Autoencoder(study, role))
    images = torch.rand(3, study.channels if role == "image" else study.class_count, 32, 32)
    quick = folded(model)
    assert norms(model) > 0
    assert norms(quick) == 0
    latents = model.encode(images)
    for name, value in quick.encode(images).items():
        require_close(value, latents[name])
    require_close(quick.decode(latents), model.decode(latents))


@torch.no_grad()
@pytest.mark.parametrize(
    ("mapping", "arrangement"), [("fused", "escrow"), ("fused", "blind"), ("paper", "escrow")]
)
def test_a_mapping_network_gives_the_same_without_its_norms(mapping, arrangement, make_study):
    torch.manual_seed(0)
    study = make_study((32, 32), mapping=mapping, arrangement=arrangement)
    network = trained(UnifiedMappingNetwork(study, ["north", "south"]))
    latents = LatentPyramid({s.name: torch.randn(2, *s.shape) for s in study.scales})
    quick = folded(network)
    assert norms(network) > 0
    assert norms(quick) == 0
    expected = network({"south": latents})["south"]
    for name, value in quick({"south": latents})["south"].items():
        require_close(value, expected[name])


def test_the_original_is_left_as_it_was_and_shares_nothing(make_study):
    torch.manual_seed(0)
    model = trained(Autoencoder(make_study((32, 32)), "image")).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    quick = folded(model)
    with torch.no_grad():
        for value in quick.parameters():
            value.fill_(7)
    assert model.training
    assert all(value.requires_grad for value in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weights_stay_channels_last(make_study):
    model = place(Autoencoder(make_study((32, 32)), "image"), CPU)
    convolutions = [part for part in folded(model).modules() if isinstance(part, nn.Conv2d)]
    assert convolutions
    assert all(
        part.weight.is_contiguous(memory_format=torch.channels_last) for part in convolutions
    )
