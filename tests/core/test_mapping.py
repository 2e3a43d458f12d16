"""Mapping networks: size, speed, pooling, how information flows, adapters."""

import statistics
import time

import numpy as np
import pytest
import torch

from ppcmi_sf.errors import ModelFileError, TrainingError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.blocks import PyramidPooling
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.progress import run
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.mapping import MappingOptions, MappingTask, SitePairs, train_mapping

CPU = torch.device("cpu")
SITES = ("a", "b.c", "d-e")


def latents(study, batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return LatentPyramid(
        {s.name: torch.randn(batch, *s.shape, generator=generator) for s in study.scales}
    )


def network(study, **fields):
    torch.manual_seed(0)
    return UnifiedMappingNetwork(study, SITES, **fields).eval()


def scramble(model):
    """Give adapters, which start as identities, weights that do something."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in model.adapters.parameters():
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return model


@pytest.mark.parametrize("preset", ["fine", "small"])
@pytest.mark.parametrize("mapping", ["fused", "paper"])
@pytest.mark.parametrize("use_skips", [True, False])
def test_output_has_the_study_s_shapes(preset, mapping, use_skips, make_study):
    study = make_study(size=(32, 64), autoencoder=preset, mapping=mapping, use_skips=use_skips)
    with torch.inference_mode():
        result = network(study)({"a": latents(study, 2), "d-e": latents(study, 1)})
    assert {name: value.batch_size for name, value in result.items()} == {"a": 2, "d-e": 1}
    assert all(value.matches(study.scales) for value in result.values())


@pytest.mark.parametrize("preset", ["fine", "ppcmi-sf"])
def test_fused_has_fewer_than_six_million_parameters(preset, make_study):
    study = make_study(size=(256, 256), autoencoder=preset)
    published = make_study(size=(256, 256), autoencoder="ppcmi-sf", mapping="paper")
    with torch.device("meta"):
        count = sum(p.numel() for p in UnifiedMappingNetwork(study, SITES).parameters())
        trunk = sum(p.numel() for p in UnifiedMappingNetwork(study, ()).parameters())
        paper = sum(p.numel() for p in UnifiedMappingNetwork(published, SITES).parameters())
    print(f"\nfused: {count:,} with adapters of 3 sites, {trunk:,} without; paper: {paper:,}")
    assert trunk < count < 6_000_000
    assert paper > 5 * count


def median_time(model, batch, runs):
    times = []
    with torch.inference_mode():
        for _ in range(runs):
            start = time.process_time()
            model(batch)
            times.append(time.process_time() - start)
    return statistics.median(times)


@pytest.fixture
def one_thread():
    """Threads that wait for each other take processor time, the more the busier the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["fine", "ppcmi-sf"])
def test_fused_is_fifteen_times_faster_than_paper(preset, make_study, one_thread):
    study = make_study(size=(256, 256), autoencoder=preset)
    published = make_study(size=(256, 256), autoencoder="ppcmi-sf", mapping="paper")
    batch, wide = {"a": latents(study, 1)}, {"a": latents(published, 1)}
    fused = network(study).to(memory_format=torch.channels_last)
    paper = network(published).to(memory_format=torch.channels_last)
    # In turns, so that a busy moment of the machine slows both.
    median_time(fused, batch, 2)  # warm up
    rounds = [(median_time(fused, batch, 9), median_time(paper, wide, 1)) for _ in range(3)]
    fast, slow = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"\nfused {1000 * fast:.1f} ms, paper {1000 * slow:.0f} ms: {slow / fast:.0f} times")
    assert slow > 15 * fast


def block_means(image, grid):
    """What a branch should pool: means over blocks, of the whole image and nothing else."""
    side = image.shape[-1] // grid
    return image.reshape(grid, side, grid, side).mean(axis=(1, 3))


def test_each_pooling_branch_has_its_own_grid():
    side = 105  # a multiple of 1, 3, 5 and 7
    rows, columns = np.mgrid[:side, :side].astype(np.float32)
    gradient = rows + 1000 * columns
    pooling = PyramidPooling(8).eval()
    pooled = pooling.pooled(torch.from_numpy(gradient).expand(1, 8, side, side))
    assert [tuple(one.shape[-2:]) for one in pooled] == [(1, 1), (3, 3), (5, 5), (7, 7)]
    for grid, one in zip((1, 3, 5, 7), pooled, strict=True):
        np.testing.assert_allclose(one[0, 3].numpy(), block_means(gradient, grid), rtol=1e-5)
        assert len(one[0, 0].unique()) == grid * grid


def test_pooling_branches_reach_the_output():
    torch.manual_seed(0)
    pooling = PyramidPooling(8).eval()
    image = torch.rand(1, 8, 14, 14)
    with torch.inference_mode():
        for projection in pooling.projections:  # all above 0, where the ReLU lets them through
            projection[0].weight.abs_()
        before = pooling(image)
        for projection in pooling.projections:
            kept = projection[0].weight.clone()
            projection[0].weight.zero_()
            assert (pooling(image) - before).abs().max() > 1e-6
            projection[0].weight.copy_(kept)
        far = image.clone()
        far[..., 0, 0] += 100
        # Global context: the opposite corner hears of it.
        assert (pooling(far) - before)[..., -1, -1].abs().max() > 1e-6


@pytest.mark.parametrize("mapping", ["fused", "paper"])
@pytest.mark.parametrize("changed", ["skip3", "skip4", "bottleneck"])
def test_how_information_flows_between_scales(mapping, changed, make_study):
    study = make_study(mapping=mapping)
    model = network(study)
    inputs = latents(study, 1)
    other = LatentPyramid(dict(inputs) | {changed: latents(study, 1, seed=5)[changed]})
    with torch.inference_mode():
        before, after = model({"a": inputs})["a"], model({"a": other})["a"]
    moved = {name for name in before if (before[name] - after[name]).abs().max() > 1e-6}
    assert moved == ({"skip3", "skip4", "bottleneck"} if mapping == "fused" else {changed})


@pytest.mark.parametrize("mapping", ["fused", "paper"])
def test_sites_together_are_the_same_as_each_alone(mapping, make_study):
    study = make_study(mapping=mapping)
    model = scramble(network(study))
    batch = {name: latents(study, 1 + number, seed=number) for number, name in enumerate(SITES)}
    with torch.inference_mode():
        together = model(batch)
        for name in SITES:
            alone = model({name: batch[name]})[name]
            for scale in alone:
                torch.testing.assert_close(
                    together[name][scale], alone[scale], atol=1e-5, rtol=1e-5
                )


def test_adapters_are_each_site_s_own(make_study):
    study = make_study()
    model, inputs = scramble(network(study)), latents(study, 1)
    with torch.inference_mode():
        outputs = [model({name: inputs})[name]["skip3"] for name in SITES]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-4
    assert (outputs[1] - outputs[2]).abs().max() > 1e-4


def test_paper_has_no_learned_adapters_unless_asked(make_study):
    study = make_study(mapping="paper")
    assert not network(study).has_adapters
    assert list(network(study).adapters.parameters()) == []
    assert len(list(network(study, adapters=True).adapters.parameters())) == 3 * 3 * 4


def test_an_unknown_site_is_refused(make_study):
    study = make_study()
    with pytest.raises(ModelFileError, match=r"not trained with site 'z'; it knows a, b\.c, d-e"):
        network(study)({"z": latents(study, 1)})


@torch.no_grad()
def test_standardise_gives_mean_0_and_spread_1(make_study):
    study = make_study()
    model = network(study)
    inputs = latents(study, 6).map(lambda value: 7 * value + 3 * value.mean((0, 2, 3), True) + 40)
    targets = latents(study, 6, seed=2).map(lambda value: 0.01 * value - 5)
    model.standardise("b.c", inputs, targets)
    for scale in study.scales:
        adapter = model.adapter("b.c", scale)
        entered = adapter.enter(inputs[scale.name])
        torch.testing.assert_close(
            entered.mean((0, 2, 3)), torch.zeros(scale.channels), atol=1e-4, rtol=0
        )
        assert abs(float(entered.std()) - 1) < 1e-3
        wanted = targets[scale.name]
        centred = wanted - wanted.mean((0, 2, 3), keepdim=True)
        left = adapter.leave(centred / centred.std())
        torch.testing.assert_close(left, wanted, rtol=1e-4, atol=1e-4)
        untouched = model.adapter("a", scale)
        assert float(untouched.spread_in) == 1


def test_constant_targets_do_not_divide_by_zero(make_study):
    study = make_study()
    model = network(study)
    flat = latents(study, 2).map(torch.zeros_like)
    model.standardise("a", flat, flat)
    with torch.inference_mode():
        result = model({"a": flat})["a"]
    assert all(torch.isfinite(value).all() for value in result.values())


def pairs_of(study, items, validation=0, seed=0):
    inputs = latents(study, items, seed)
    targets = inputs.map(lambda value: value.flip(1) * 2 + 1)
    marks = np.zeros(items, dtype=np.bool_)
    marks[:validation] = True
    return SitePairs(inputs.to(torch.float16), targets.to(torch.float16), marks)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
@pytest.mark.parametrize("counts", [(3, 3, 3), (1, 1, 1), (7, 1, 2), (16, 3, 5)])
def test_batches_hold_every_item_once_and_are_never_of_one(batch_size, counts, make_study):
    study = make_study(size=(32, 32))
    pairs = {
        name: pairs_of(study, count + 1, validation=1, seed=number)
        for number, (name, count) in enumerate(zip(SITES, counts, strict=True))
    }
    options = MappingOptions(fit=FitOptions(batch_size=batch_size), cut_mix=0.0)
    task = MappingTask(study, pairs, options, CPU)
    seen = {name: [] for name in SITES}
    sizes = []
    for inputs, targets in task.train_batches(4):
        assert list(inputs) == list(targets)
        sizes.append(sum(value.batch_size for value in inputs.values()))
        for name, value in inputs.items():
            seen[name].extend(value["bottleneck"][:, 0, 0, 0].tolist())
    assert len(sizes) == task.steps()
    assert min(sizes) >= 2
    assert max(sizes) - min(sizes) <= 1
    for name, count in zip(SITES, counts, strict=True):
        expected = pairs[name].inputs["bottleneck"][1:, 0, 0, 0].float().tolist()
        assert len(seen[name]) == count
        assert sorted(seen[name]) == sorted(expected)
    held = [value["a"].batch_size for value, _ in task.validation_batches() if "a" in value]
    assert held == [1]


def test_every_batch_holds_sites_in_proportion(make_study):
    study = make_study(size=(32, 32))
    pairs = {"a": pairs_of(study, 24), "b": pairs_of(study, 12, seed=1)}
    task = MappingTask(study, pairs, MappingOptions(fit=FitOptions(batch_size=6)), CPU)
    for inputs, _ in task.train_batches(0):
        assert {name: value.batch_size for name, value in inputs.items()} == {"a": 4, "b": 2}


@pytest.mark.parametrize("loss", ["normalised", "mse"])
@pytest.mark.parametrize("mapping", ["fused", "paper"])
def test_training_lowers_the_loss(loss, mapping, make_study):
    study = make_study(size=(32, 32), mapping=mapping)
    pairs = {"a": pairs_of(study, 8, 2), "b": pairs_of(study, 6, seed=3)}
    options = MappingOptions(fit=FitOptions(epochs=6, batch_size=6), loss=loss)
    model, report = run(train_mapping(study, pairs, options, device=CPU))
    assert report.train_losses[-1] < 0.9 * report.train_losses[0]
    assert len(report.validation_losses) == 6
    assert not model.training


def opposite_pairs(study, seed, sign):
    """One picture in all channels; its mask latents are the picture, or its negative."""
    generator = torch.Generator().manual_seed(seed)
    inputs = LatentPyramid(
        {
            s.name: torch.randn(24, 1, *s.shape[1:], generator=generator).expand(-1, *s.shape)
            for s in study.scales
        }
    ).map(torch.clone)
    return SitePairs(inputs, inputs.map(lambda value: sign * value), np.arange(24) >= 20)


def test_in_blind_sites_that_want_opposite_things_learn_at_once(make_study):
    """What ``escrow`` has, one read-out for all and an identity for each, waits at a saddle."""
    loss = {}
    for arrangement in ("blind", "escrow"):
        study = make_study(size=(64, 64), arrangement=arrangement)
        pairs = {"a": opposite_pairs(study, 1, 1), "b": opposite_pairs(study, 2, -1)}
        fit = FitOptions(epochs=2, batch_size=8, learning_rate=3e-3)
        options = MappingOptions(fit=fit, cut_mix=0.0)
        loss[arrangement] = run(train_mapping(study, pairs, options, device=CPU))[1].kept_loss
    assert loss["blind"] < 0.7 * loss["escrow"]


@pytest.mark.parametrize("adapters", [True, False])
@pytest.mark.parametrize("mapping", ["fused", "paper"])
@pytest.mark.parametrize("arrangement", ["blind", "escrow"])
def test_a_read_out_of_the_site_s_own_only_in_blind(arrangement, mapping, adapters, make_study):
    study = make_study(arrangement=arrangement, mapping=mapping)
    model = network(study, adapters=adapters)
    shared = [name for name in model.state_dict() if name.startswith("trunk.leave")]
    own = adapters and mapping == "fused" and arrangement == "blind"
    assert bool(shared) == (mapping == "fused" and not own)
    with torch.inference_mode():
        result = model({"b.c": latents(study, 2)})["b.c"]
    assert result.matches(study.scales)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda study: {}, "no training pairs"),
        (lambda study: {"a": pairs_of(study, 3, 3), "b": pairs_of(study, 3)}, "of site 'a'"),
        (lambda study: {"a": pairs_of(study, 1)}, "too little"),
    ],
)
def test_too_little_to_train_on(make, words, make_study):
    study = make_study(size=(32, 32))
    with pytest.raises(TrainingError, match=words) as caught:
        run(train_mapping(study, make(study), MappingOptions(), device=CPU))
    assert caught.value.hint
