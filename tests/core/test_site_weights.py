"""The cap on a site's weight."""

import numpy as np
import pytest
import torch

from ppcmi_sf.errors import TrainingError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.mapping import MappingOptions, MappingTask, SitePairs
from ppcmi_sf.training.site_weights import site_weights


def test_sites_weigh_by_their_pairs_below_the_cap():
    assert site_weights({"a": 10, "b": 20, "c": 20}, 0.5) == {
        "a": 0.2,
        "b": 0.4,
        "c": 0.4,
    }


def test_what_a_capped_site_loses_goes_to_the_others_by_their_numbers():
    weights = site_weights({"a": 900, "b": 75, "c": 25}, 0.5)
    assert weights == pytest.approx({"a": 0.5, "b": 0.375, "c": 0.125})
    # The second one exceeds the cap only once the first is capped.
    weights = site_weights({"a": 90, "b": 8, "c": 1, "d": 1}, 0.4)
    assert weights == pytest.approx({"a": 0.4, "b": 0.4, "c": 0.1, "d": 0.1})


def test_a_cap_below_equal_shares_means_equal_shares():
    assert site_weights({"a": 5, "b": 1, "c": 94}, 0.01) == pytest.approx(
        dict.fromkeys("abc", 1 / 3)
    )


@pytest.mark.parametrize("counts", [{"a": 9}, {"a": 90, "b": 10}])
def test_one_or_two_sites_are_not_capped(counts):
    total = sum(counts.values())
    assert site_weights(counts, 0.5) == {name: count / total for name, count in counts.items()}


@pytest.mark.parametrize("most", [0, -1, 1.1, float("nan")])
def test_a_cap_must_be_a_share(most):
    with pytest.raises(TrainingError, match="largest weight") as caught:
        site_weights({"a": 1}, most)
    assert caught.value.hint


def pairs_of(study, count, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs, targets = (
        LatentPyramid(
            {s.name: torch.randn(count, *s.shape, generator=generator) for s in study.scales}
        )
        for _ in range(2)
    )
    return SitePairs(inputs, targets, np.zeros(count, dtype=np.bool_))


def test_the_training_s_loss_follows_the_cap(make_study):
    """Gradients on a site's own adapters show how much it counts."""
    study = make_study(size=(32, 32))
    pairs = {
        "a": pairs_of(study, 16, 0),
        "b": pairs_of(study, 2, 1),
        "c": pairs_of(study, 2, 2),
    }

    def loss_of(most):
        options = MappingOptions(fit=FitOptions(batch_size=20), max_site_weight=most)
        task = MappingTask(study, pairs, options, torch.device("cpu"))
        task.model.eval()
        (batch,) = task.train_batches(0)
        alone = {}
        for name in pairs:
            inputs, targets = ({name: part[name]} for part in batch)
            alone[name] = float(task.loss((inputs, targets)).detach())
        return float(task.loss(batch).detach()), alone

    free, single = loss_of(1.0)
    assert free == pytest.approx(
        0.8 * single["a"] + 0.1 * single["b"] + 0.1 * single["c"], rel=1e-4
    )
    capped, _ = loss_of(0.5)
    expected = 0.5 * single["a"] + 0.25 * single["b"] + 0.25 * single["c"]
    assert capped == pytest.approx(expected, rel=1e-4)
