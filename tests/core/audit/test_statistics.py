"""Intervals against closed forms, and what happens at ties and with too few items."""

import math

import numpy as np
import pytest

from ppcmi_sf.audit import statistics
from ppcmi_sf.audit.statistics import auc, auc_interval, mean_interval, tpr_at_fpr, wilson


def brute_auc(pos, neg):
    """The definition, pair by pair."""
    return np.mean([(p > n) + 0.5 * (p == n) for p in pos for n in neg])


def test_auc_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(1)
    for levels in (3, 10_000):  # many ties, and hardly any
        pos, neg = rng.integers(levels, size=17), rng.integers(levels, size=23)
        assert auc(pos, neg) == pytest.approx(brute_auc(pos, neg), abs=1e-12)
    assert auc([1, 2], [0]) == 1
    assert auc([0], [1, 2]) == 0
    assert auc([5, 5], [5]) == 0.5
    assert math.isnan(auc([], [1]))


def test_auc_of_two_normal_distributions_is_within_its_interval():
    """AUC of N(d, 1) against N(0, 1) is Phi(d / sqrt 2)."""
    truth = 0.5 * (1 + math.erf(1.0 / 2))
    hits = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        _, low, high = auc_interval(rng.normal(1, 1, 60), rng.normal(0, 1, 60), seed)
        hits += low <= truth <= high
    assert hits >= 34  # 95 % of 40 are 38; fewer than 34 has a chance below 2 %


def test_auc_s_interval_has_the_width_of_hanley_and_mcneil():
    rng = np.random.default_rng(0)
    pos, neg = rng.normal(1, 1, 300), rng.normal(0, 1, 300)
    value, low, high = auc_interval(pos, neg, 0)
    q1, q2 = value / (2 - value), 2 * value**2 / (1 + value)
    variance = value * (1 - value) + 299 * (q1 - value**2) + 299 * (q2 - value**2)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(variance / 300**2), rel=0.12)


@pytest.mark.parametrize("groups", [2, 3, 5, 11])
def test_intervals_of_few_patients_are_as_wide_as_they_say(groups, monkeypatch):
    """A plain bootstrap over two patients holds the truth in half of all cases."""
    monkeypatch.setattr(statistics, "RESAMPLES", 200)
    names, inside = np.repeat(np.arange(groups), 5), {"mean": 0, "auc": 0}
    for trial in range(150):
        rng = np.random.default_rng(trial)
        one, two = (rng.normal(size=groups)[names] + rng.normal(size=5 * groups) for _ in range(2))
        _, low, high = mean_interval(one, names.tolist(), trial)
        inside["mean"] += low <= 0 <= high
        _, low, high = auc_interval(one, two, trial, names.tolist(), names.tolist())
        inside["auc"] += low <= 0.5 <= high
    assert min(inside.values()) > 0.88 * 150


def test_a_higher_level_is_a_wider_interval():
    pos, neg = np.random.default_rng(1).normal(size=(2, 40))
    _, low, high = auc_interval(pos, neg, 0)
    _, lower, higher = auc_interval(pos, neg, 0, level=0.996)
    assert lower < low < high < higher


def test_groups_widen_the_interval():
    """Ten copies of each of eight patients are eight patients, not eighty."""
    rng = np.random.default_rng(2)
    values, names = rng.normal(size=8), [f"p{i}" for i in range(8)]
    many, groups = np.repeat(values, 10), np.repeat(names, 10).tolist()
    mean, low, high = mean_interval(many, groups, 0)
    assert mean == pytest.approx(values.mean())
    naive = mean_interval(many, list(range(80)), 0)
    assert (high - low) > 2.5 * (naive[2] - naive[1])
    once = mean_interval(values, names, 0)
    assert once[1:] == pytest.approx((low, high))
    by_item = auc_interval(many, many + 0.5, 0)
    by_group = auc_interval(many, many + 0.5, 0, groups, groups)
    assert by_group[0] == by_item[0]
    assert by_group[2] - by_group[1] > 2 * (by_item[2] - by_item[1])


def test_mean_s_interval_is_that_of_the_normal_approximation():
    values = np.random.default_rng(3).normal(5, 2, 400)
    _, low, high = mean_interval(values, range(400), 0)
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.04)


def test_too_few_groups_resolve_nothing():
    mean, low, high = mean_interval([1, 2, 3], ["a", "a", "a"], 0)
    assert mean == 2
    assert math.isnan(low)
    assert math.isnan(high)
    assert all(math.isnan(value) for value in mean_interval([], [], 0))
    assert auc_interval([1, 2], [0, 0], 0, ["a", "a"], ["b", "c"]) == (1, 0, 1)
    assert all(math.isnan(value) for value in auc_interval([], [], 0))


def test_perfect_separation_is_no_certainty():
    value, low, high = auc_interval(np.arange(5) + 10, np.arange(5), 0)
    assert (value, high) == (1, 1)
    assert 0.5 < low < 0.9
    more = auc_interval(np.arange(100) + 1000, np.arange(100), 0)
    assert 0.95 < more[1] < 1
    none = auc_interval(np.arange(5), np.arange(5) + 10, 0)
    assert none[:2] == (0, 0)
    assert none[2] == pytest.approx(1 - low)


def test_one_slice_out_of_order_does_not_make_three_patients_a_certainty():
    """The bootstrap alone said 0.990 to 1; of perfect separation it is 0.501 to 1."""
    pos, neg, names = np.arange(30) + 100.0, np.arange(30.0), np.repeat(np.arange(3), 10).tolist()
    perfect = auc_interval(pos, neg, 0, names, names)
    pos[0] = 28.5
    value, low, high = auc_interval(pos, neg, 0, names, names)
    assert value == pytest.approx(1 - 1 / 900) and high == 1
    assert low < perfect[1]
    _, low, high = auc_interval(neg, pos, 0, names, names)
    assert low == 0 and high > 1 - perfect[1]


def test_a_higher_level_widens_the_interval_of_perfect_separation_too():
    pos, neg = np.arange(10) + 100.0, np.arange(10.0)
    usual, wider = auc_interval(pos, neg, 0), auc_interval(pos, neg, 0, level=0.996)
    assert wider[1] < usual[1] - 0.05


@pytest.mark.parametrize(("fpr", "expected"), [(0.01, 0.99), (0.1, 0.90), (0.5, 0.5)])
def test_tpr_of_one_distribution_is_the_fpr(fpr, expected):
    """Scores 0 … 999 on both sides, in closed form; and reversed."""
    scores = np.arange(1000.0)
    value, low, high = tpr_at_fpr(scores, scores, fpr)
    assert value == pytest.approx(fpr, abs=1e-9)
    assert low <= value <= high
    assert tpr_at_fpr(scores + 1000 * expected, scores, fpr)[0] == pytest.approx(1, abs=1e-9)


def test_ties_with_the_threshold_are_left_out():
    assert tpr_at_fpr([1] * 50, [1] * 200, 0.1)[0] == 0
    # Ten of 100 negatives share the highest score: at 5 % none of them may pass.
    neg = [0] * 90 + [1] * 10
    assert tpr_at_fpr([1, 1, 2, 2], neg, 0.05)[0] == 0.5
    assert tpr_at_fpr([1, 1, 2, 2], neg, 0.1)[0] == 1


def test_too_few_negatives_cannot_resolve_a_low_rate():
    assert statistics.resolvable(100, 0.01)
    assert not statistics.resolvable(99, 0.01)
    value, low, high = tpr_at_fpr([1, 3, 5, 7], [2, 4], 0.01)
    assert value == 0.5  # above every negative
    assert (low, high) == (0, 1)
    assert tpr_at_fpr(range(100), range(-100, 0), 0.01)[1] > 0.9


def test_one_slice_that_is_named_does_not_show_that_hardly_any_can_be():
    """Of five patients, 0 of 1000 slices were 0 to 0.434, and 1 of 1000 were 0 to 0.004."""
    names = np.repeat(np.arange(5), 200).tolist()
    neg, highest = np.arange(1000.0), []
    for hits in (0, 1, 2, 5, 200):
        pos = np.full(1000, -1.0)
        pos[:hits] = 5000
        value, _, high = tpr_at_fpr(pos, neg, 0.01, groups_pos=names, groups_neg=names)
        assert value == hits / 1000
        highest.append(high)
    assert highest == sorted(highest)
    _, low, _ = tpr_at_fpr(np.append(neg[1:] + 1e4, -1), neg, 0.01, groups_pos=names)
    assert low < 0.6


def test_wilson_s_interval():
    """Figures of Newcombe, Statist. Med. 17 (1998), table I, method 3."""
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(15 / 148, 148) == pytest.approx((0.0624, 0.1605), abs=1e-4)
    assert wilson(0, 20) == pytest.approx((0, 0.1611), abs=1e-4)
    assert wilson(1, 29) == pytest.approx((0.8830, 1), abs=1e-4)


def test_a_seed_gives_the_same_interval():
    rng = np.random.default_rng(5)
    pos, neg = rng.normal(size=30), rng.normal(size=30)
    assert auc_interval(pos, neg, 7) == auc_interval(pos, neg, 7)
    assert auc_interval(pos, neg, 7) != auc_interval(pos, neg, 8)
    assert tpr_at_fpr(pos, neg, 0.1, seed=1) == tpr_at_fpr(pos, neg, 0.1, seed=1)
