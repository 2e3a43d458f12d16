"""CutMix of latents while the mapping network trains."""

import dataclasses

import numpy as np
import pytest
import torch

from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import run
from ppcmi_sf.training.cut_mix import SIDES, cut_mix
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.mapping import CUT_MIX, MappingOptions, MappingTask, SitePairs
from ppcmi_sf.training.mapping import train_mapping as train

CPU = torch.device("cpu")
ITEMS = 12


def numbered(shapes: dict[str, tuple[int, ...]], items: int = ITEMS) -> LatentPyramid:
    """Each item's number everywhere, so that one sees what comes from whom."""
    number = torch.arange(items, dtype=torch.float32)[:, None, None, None]
    return LatentPyramid({name: number.expand(-1, *shape) for name, shape in shapes.items()})


SHAPES = {"skip1": (2, 32, 64), "skip2": (3, 16, 32), "bottleneck": (4, 8, 16)}


def mixed(share: float, seed: int = 0) -> tuple[LatentPyramid, LatentPyramid]:
    latents = numbered(SHAPES)
    return cut_mix(latents, latents.map(torch.neg), share, np.random.default_rng(seed))


def test_a_rectangle_is_the_previous_item_s_in_every_scale_of_inputs_and_targets():
    inputs, targets = mixed(1.0)
    sizes = set()
    for item in range(ITEMS):
        cells = inputs["bottleneck"][item, 0] != item
        assert (inputs["bottleneck"][item, 0][cells] == (item - 1) % ITEMS).all()
        rows, columns = (torch.unique(where) for where in torch.nonzero(cells, as_tuple=True))
        for line in (rows, columns):  # without a gap
            assert len(line) == line[-1] - line[0] + 1
        assert int(cells.sum()) == len(rows) * len(columns)
        assert SIDES[0] * 8 <= len(rows) <= SIDES[1] * 8
        assert SIDES[0] * 16 <= len(columns) <= SIDES[1] * 16
        sizes.add((len(rows), len(columns)))
        for name, value in inputs.items():
            times = value.shape[-1] // 16
            there = cells.repeat_interleave(times, 0).repeat_interleave(times, 1)
            assert torch.equal(value[item] != item, there.expand_as(value[item]))
            assert torch.equal(targets[name][item], -value[item])
    assert len(sizes) > 3


def test_so_many_items_as_the_share_says_get_one():
    touched = [
        (mixed(0.3, seed)[0]["bottleneck"] != numbered(SHAPES)["bottleneck"]).flatten(1).any(1)
        for seed in range(100)
    ]
    assert torch.stack(touched).float().mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(("share", "items"), [(0.0, ITEMS), (1.0, 1)])
def test_without_a_share_or_another_item_nothing_changes(share, items):
    latents = numbered(SHAPES, items)
    inputs, targets = cut_mix(latents, latents, share, np.random.default_rng(0))
    assert inputs is latents
    assert targets is latents


def test_a_coarsest_scale_of_one_cell_is_taken_whole_or_not():
    latents = numbered({"skip1": (2, 2, 2), "bottleneck": (3, 1, 1)}, 4)
    inputs, _ = cut_mix(latents, latents, 1.0, np.random.default_rng(0))
    assert inputs["skip1"][:, 0, 0, 0].tolist() == [3, 0, 1, 2]


@pytest.fixture(scope="module")
def study(make_study):
    return make_study(size=(64, 64))


def pairs_of(study, count: int = 24, seed: int = 3) -> SitePairs:
    made = torch.Generator().manual_seed(seed)
    inputs = LatentPyramid(
        {s.name: torch.randn(count, *s.shape, generator=made) for s in study.scales}
    )
    return SitePairs(inputs, inputs.map(torch.abs), np.arange(count) >= count - 4)


def options(**fields) -> MappingOptions:
    return MappingOptions(fit=FitOptions(epochs=2, batch_size=8), **fields)


def test_the_default_is_for_the_fused_network(make_study):
    for arrangement in ("escrow", "blind"):
        assert options().cut_mix_for(make_study(arrangement=arrangement)) == CUT_MIX > 0
    assert options().cut_mix_for(make_study(mapping="paper")) == 0
    assert options(cut_mix=0.25).cut_mix_for(make_study(mapping="paper")) == 0.25


def task_of(study) -> MappingTask:
    pairs = {name: pairs_of(study, 24, seed) for seed, name in enumerate("ab")}
    return MappingTask(study, pairs, options(), CPU)


def test_no_site_s_latents_get_into_another_s_and_pairs_set_apart_stay(study):
    task = task_of(study)
    pairs = task.pairs
    for inputs, targets in task.train_batches(0):
        for name, pyramid in inputs.items():
            known = set(pairs[name].inputs["bottleneck"][:20].flatten().tolist())
            assert set(pyramid["bottleneck"].flatten().tolist()) <= known
            assert torch.equal(pyramid["skip3"].abs(), targets[name]["skip3"])  # still a pair
    for inputs, _ in task.validation_batches():
        for name, pyramid in inputs.items():
            assert torch.equal(pyramid["skip3"], pairs[name].inputs["skip3"][20:])


def test_an_epoch_s_batches_are_the_same_again_and_another_s_are_not(study):
    task = task_of(study)
    first, again, later = (next(iter(task.train_batches(n)))[0]["a"] for n in (0, 0, 1))
    assert torch.equal(first["bottleneck"], again["bottleneck"])
    assert not torch.equal(first["bottleneck"], later["bottleneck"])


def test_a_seed_gives_the_same_network(study):
    pairs = {"a": pairs_of(study)}
    first, second = (run(train(study, pairs, options(), device=CPU))[0] for _ in range(2))
    other = run(train(study, pairs, dataclasses.replace(options(), cut_mix=0.0), device=CPU))[0]
    states = [one.state_dict() for one in (first, second, other)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert not all(torch.equal(value, states[2][name]) for name, value in states[0].items())
