"""Checkpoints: exact, and refused whole when anything about them is wrong."""

import pytest
import torch
from safetensors import safe_open
from torch import nn

from ppcmi_sf.training.checkpoint import load_checkpoint, save_checkpoint


def trained(width=3, steps=4):
    torch.manual_seed(width)
    model = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width), nn.Linear(width, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.rand(4, 2)).square().sum().backward()
        optimizer.step()
    return model, optimizer


def save(path, model, optimizer, signature="s"):
    best = {name: value + 1 for name, value in model.state_dict().items()}
    save_checkpoint(path, model, optimizer, best, {"epochs": 3, "best_loss": 0.5}, signature)
    return best


def test_round_trip(tmp_path):
    model, optimizer = trained()
    best = save(tmp_path / "c", model, optimizer)
    other, other_optimizer = trained(steps=1)
    report, best_again = load_checkpoint(tmp_path / "c", other, other_optimizer, "s")
    assert report == {"epochs": 3, "best_loss": 0.5}
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
        assert torch.equal(best_again[name], best[name])
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            assert torch.equal(other_optimizer.state_dict()["state"][index][name], value)


def test_it_is_a_safetensors_file(tmp_path):
    save(tmp_path / "c", *trained())
    with safe_open(tmp_path / "c", framework="pt") as handle:
        assert set(handle.metadata()) == {"report", "signature", "checksum"}
        assert "model.0.weight" in handle.keys()  # noqa: SIM118


@pytest.mark.parametrize("problem", ["signature", "other network", "missing", "folder"])
def test_refused_whole(problem, tmp_path):
    path = tmp_path / "c"
    model, optimizer = trained(width=5 if problem == "other network" else 3)
    if problem == "folder":
        path.mkdir()
    elif problem != "missing":
        save(path, model, optimizer, "other" if problem == "signature" else "s")
    fresh, fresh_optimizer = trained(steps=2)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    assert load_checkpoint(path, fresh, fresh_optimizer, "s") is None
    assert all(torch.equal(fresh.state_dict()[name], value) for name, value in before.items())


def test_every_flipped_byte_is_noticed(tmp_path):
    path = tmp_path / "c"
    save(path, *trained())
    data = path.read_bytes()
    fresh, optimizer = trained(steps=2)
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    unnoticed = []
    for place in range(0, len(data), 3):
        damaged = bytearray(data)
        damaged[place] ^= 0x01
        path.write_bytes(damaged)
        if load_checkpoint(path, fresh, optimizer, "s") is not None:
            unnoticed.append(place)
            fresh.load_state_dict(before)
        assert all(torch.equal(fresh.state_dict()[name], value) for name, value in before.items())
    # Nothing but padding of the header may change unnoticed.
    assert all(data[place : place + 1] == b" " for place in unnoticed), unnoticed
