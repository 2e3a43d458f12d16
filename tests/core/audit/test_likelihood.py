"""Membership scores on losses whose distribution is known."""

import numpy as np
import pytest

from ppcmi_sf.audit import likelihood
from ppcmi_sf.audit.shadow_models import Shadows, halves
from ppcmi_sf.audit.statistics import auc

COUNT = 400


def simulated(models, effect, seed=0):
    """Items of very different difficulty; being a member lowers the loss a little."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(0, 1, COUNT)
    groups = np.arange(COUNT)
    inside = halves(groups, models, seed)
    noise = rng.normal(0, 0.05, (models + 1, COUNT))
    members = rng.permutation(COUNT) < COUNT // 2
    rows = np.vstack([inside, members[None]])
    losses = np.exp(difficulty - effect * rows + noise)
    # The attacked model was trained longer: all its losses are lower, and less far apart.
    return Shadows(losses[:-1], inside), 0.3 * losses[-1] ** 0.8, members


def test_shadow_models_see_through_difficulty():
    """A threshold hardly beats guessing where the likelihood ratio is nearly always right."""
    shadows, losses, members = simulated(8, effect=0.2)
    threshold = auc(-losses[members], -losses[~members])
    assert threshold < 0.65
    for score in (likelihood.online, likelihood.offline):
        values = score(losses, shadows)
        assert auc(values[members], values[~members]) > 0.93


@pytest.mark.parametrize("models", [2, 4])
def test_a_few_shadow_models_are_enough_to_gain(models):
    shadows, losses, members = simulated(models, effect=0.2)
    values = likelihood.online(losses, shadows)
    assert auc(values[members], values[~members]) > 0.85


def test_a_shadow_model_that_is_worse_for_all_items_changes_nothing():
    """With two models, each item was outside of one alone: it would look harder than the others."""
    shadows, losses, _ = simulated(2, effect=0.2)
    worse = Shadows(shadows.losses * np.array([[1.0], [3.0]]), shadows.inside)
    for score in (likelihood.online, likelihood.offline):
        expected = score(losses, shadows)
        assert np.allclose(score(losses, worse), expected)
    assert np.corrcoef(likelihood.difficulty(worse), likelihood.difficulty(shadows))[0, 1] > 0.999


def test_without_an_effect_nothing_is_found():
    for seed in range(3):
        shadows, losses, members = simulated(6, effect=0.0, seed=seed)
        for score in (likelihood.online, likelihood.offline):
            values = score(losses, shadows)
            assert 0.4 < auc(values[members], values[~members]) < 0.6
        values = likelihood.difficulty(shadows)
        assert 0.4 < auc(values[members], values[~members]) < 0.6


def test_difficulty_alone_shows_a_split_that_is_unlike():
    shadows, _, _ = simulated(4, effect=0.2)
    easy = shadows.losses.mean(axis=0) < np.median(shadows.losses.mean(axis=0))
    values = likelihood.difficulty(shadows)
    assert auc(values[easy], values[~easy]) > 0.95


def test_halves_are_of_whole_groups_and_each_item_is_in_and_out():
    groups = np.repeat(np.arange(7), [1, 2, 3, 4, 3, 2, 1])
    rows = halves(groups, 6, 3)
    assert rows.shape == (6, len(groups))
    for row in rows:
        assert all(len(set(row[groups == group])) == 1 for group in range(7))
    for one, other in zip(rows[::2], rows[1::2], strict=True):
        assert (one ^ other).all()
    assert (halves(groups, 6, 3) == rows).all()
    assert (halves(groups, 6, 4) != rows).any()
