"""What is told of one model: a few who are named are not hidden behind an AUC near guessing."""

import numpy as np
import pytest

from ppcmi_sf.audit.membership_figures import REVERSED, figures_of, interval_of_the_farthest
from ppcmi_sf.audit.membership_pool import MembershipPool
from ppcmi_sf.audit.shadow_models import Shadows, halves

MEMBERS, OTHERS = 30, 100


@pytest.fixture(scope="module")
def pool():
    class Numbered:
        groups = np.arange(MEMBERS + OTHERS)

    return MembershipPool(Numbered(), np.arange(MEMBERS + OTHERS) < MEMBERS, 0)


def asked(memorised, seed=0):
    """Members are the harder slices; of these some are known by heart."""
    rng = np.random.default_rng(seed)
    items = MEMBERS + OTHERS
    difficulty = rng.normal(0, 0.5, items) + np.where(np.arange(items) < MEMBERS, 1.0, 0.0)
    by_heart = np.arange(items) < memorised
    inside = halves(np.arange(items), 8, seed)
    shadows = np.exp(difficulty - by_heart * inside + rng.normal(0, 0.05, (8, items)))
    own = np.exp(difficulty - by_heart + rng.normal(0, 0.05, items))
    return own, Shadows(shadows, inside)


def named(found, words):
    (one,) = (one for one in found.measurements if one.name.startswith(words))
    return one


def test_the_rate_is_that_of_the_way_that_names_most(pool):
    """The loss alone is farthest from guessing, the wrong way round, and names nobody."""
    found = figures_of("network", pool, *asked(10))
    farthest = found.measurements[0]
    assert farthest.name == "AUC, network, loss threshold" and farthest.value < 0.4
    rate = named(found, "true positives at 1 %")
    assert "likelihood ratio" in rate.name and REVERSED not in rate.name
    assert rate.value >= 0.25
    assert rate.met is False
    assert "likelihood ratio" in named(found, "AUC, network, likelihood ratio, online, mean").name


def test_a_score_that_tells_the_wrong_way_round_is_turned(pool):
    """Whoever sees that members have the higher losses asks for these."""
    losses = np.where(pool.members, 2.0, 1.0) + np.linspace(0, 0.1, len(pool.members))
    found = figures_of("network", pool, losses, None)
    assert found.measurements[0].value == 0
    rate = named(found, "true positives at 1 %")
    assert rate.name.endswith(REVERSED) and rate.value == 1 and rate.met is False


def test_the_farthest_of_several_has_a_wider_interval(pool):
    models = [figures_of(f"model {seed}", pool, *asked(0, seed)) for seed in range(3)]
    farthest = models[1].measurements[0]
    count, (value, low, high) = interval_of_the_farthest(models, farthest.name)
    assert (count, value) == (9, farthest.value)
    assert low < farthest.low and farthest.high < high


def test_a_rate_of_nothing_among_few_patients_is_not_called_met():
    class TwoEach:
        groups = np.concatenate([np.arange(MEMBERS) // 15, 10 + np.arange(OTHERS) // 50])

    few = MembershipPool(TwoEach(), np.arange(MEMBERS + OTHERS) < MEMBERS, 0)
    rng = np.random.default_rng(3)
    found = figures_of("network", few, np.exp(rng.normal(size=MEMBERS + OTHERS)), None)
    rate = named(found, "true positives at 1 %")
    assert rate.shown is False
