"""Figures of an attack with their intervals: means, AUC, true positives at few false ones.

Slices of one patient resemble each other, so an interval that took them as independent would be
too narrow. Every interval here is 95 % and comes from a bootstrap over *groups* (patients): whole
groups are drawn with replacement (Field and Welsh, J. R. Statist. Soc. B 69, 2007). Of few groups
such an interval is too narrow by itself, so its ends are moved away by what Student's t has more
than the normal distribution (Hesterberg, The American Statistician 69(4), 2015). A bootstrap of
a figure that is 0 or 1 in every draw has no width; then a score interval on the number of groups is
given instead, so that "1.0 of three patients" never looks like a certainty, and no more does an AUC
of 0.999.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

Values = Sequence[float] | npt.NDArray[np.floating]
Groups = Sequence[Hashable]
Interval = tuple[float, float, float]
"""A figure and the lower and upper end of its 95 % interval."""

RESAMPLES = 1000
LEVEL = 0.95
LEAST_OUTSIDE = 20  # draws beyond both ends, below which the ends themselves are a matter of luck
_Z = 1.959963984540054


def mean_interval(
    values: Values, groups: Groups, seed: int, limits: tuple[float, float] = (-math.inf, math.inf)
) -> Interval:
    """Mean of all values, with a bootstrap interval over groups.

    Parameters
    ----------
    values
        One per item.
    groups
        The patient of each item.
    seed
        Of the resampling.
    limits
        What such values cannot be below or above; nor can the ends of the interval.

    Returns
    -------
    mean, low, high
        ``low`` and ``high`` are NaN when there are fewer than two groups: one patient says
        nothing about the spread between patients. All are NaN without values.
    """
    sample = _Sample.of(values, groups)
    if not len(sample.values):
        return math.nan, math.nan, math.nan
    mean = float(sample.values.mean())
    if sample.count < 2:
        return mean, math.nan, math.nan
    rng = np.random.default_rng(seed)
    low, high = _ends([float(sample.draw(rng).mean()) for _ in range(RESAMPLES)], LEVEL)
    return _widened(mean, low, high, sample.count, LEVEL, limits)


def auc(pos: Values, neg: Values) -> float:
    """Chance that a positive's score is above a negative's; a tie counts one half.

    The Mann-Whitney statistic (Hanley and McNeil, Radiology 143, 1982). NaN without positives or
    negatives.
    """
    first, second = np.asarray(pos, dtype=np.float64), np.sort(np.asarray(neg, dtype=np.float64))
    if not len(first) or not len(second):
        return math.nan
    below = np.searchsorted(second, first, side="left")
    up_to = np.searchsorted(second, first, side="right")
    return float((below + up_to).mean() / (2 * len(second)))


def auc_interval(
    pos: Values,
    neg: Values,
    seed: int,
    groups_pos: Groups | None = None,
    groups_neg: Groups | None = None,
    level: float = LEVEL,
) -> Interval:
    """AUC of scores (see :func:`auc`) with its interval.

    Parameters
    ----------
    pos, neg
        Scores of positives and negatives; higher should mean positive.
    seed
        Of the resampling.
    groups_pos, groups_neg
        Patient of each item; positives and negatives are resampled apart. Default: every item is
        a group of its own.
    level
        Of the interval; higher where the figure was chosen among several.

    Returns
    -------
    auc, low, high
        Where resamples separate perfectly, the interval is at least as wide as Newcombe's score
        interval (Statist. Med. 25, 2006, method 5) for the numbers of groups. The ends are 0 and 1
        when one of the sides has fewer than two groups, and all three are NaN without items.
    """
    value = auc(pos, neg)
    positives, negatives = _Sample.of(pos, groups_pos), _Sample.of(neg, groups_neg)
    if math.isnan(value):
        return math.nan, math.nan, math.nan
    if min(positives.count, negatives.count) < 2:
        return value, 0.0, 1.0
    low, high = _bootstrap(positives, negatives, auc, seed, level)
    return _auc_ends(value, low, high, (positives.count, negatives.count), level)


def pair_auc_interval(
    scores: Values, same: npt.NDArray[np.bool_], first: Groups, second: Groups, seed: int
) -> Interval:
    """AUC of scores of *pairs* of items, with an interval over the patients that are in them.

    A patient is in many pairs, so pairs are not independent either. Whole patients are drawn, and
    a pair weighs as often as both of its patients were drawn (Owen, Ann. Appl. Stat. 1, 2007).

    Parameters
    ----------
    scores, same
        Of each pair its score (higher should mean the same patient) and the truth.
    first, second
        Of each pair the patients of its two items.
    seed
        Of the resampling.

    Returns
    -------
    auc, low, high
        As :func:`auc_interval`.
    """
    array = np.asarray(scores, dtype=np.float64)
    value = auc(array[same], array[~same])
    names = {name: number for number, name in enumerate(dict.fromkeys([*first, *second]))}
    if math.isnan(value) or len(names) < 2:
        return value, 0.0 if len(names) else math.nan, 1.0 if len(names) else math.nan
    one, two = (np.array([names[name] for name in side]) for side in (first, second))
    _, ranks = np.unique(array, return_inverse=True)
    rng = np.random.default_rng(seed)
    figures = []
    for _ in range(RESAMPLES):
        drawn = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
        # Two copies of one drawn patient are one patient: their pairs count once for each copy.
        weights = np.where(one == two, drawn[one], drawn[one] * drawn[two])
        figures.append(_weighted_auc(ranks, same, weights))
    low, high = _ends([figure for figure in figures if not math.isnan(figure)] or [value], LEVEL)
    return _auc_ends(value, low, high, (len(names), len(names)), LEVEL)


def _weighted_auc(
    ranks: npt.NDArray[np.intp], same: npt.NDArray[np.bool_], weights: npt.NDArray[np.intp]
) -> float:
    positives = np.bincount(ranks[same], weights[same], minlength=ranks.max() + 1)
    negatives = np.bincount(ranks[~same], weights[~same], minlength=ranks.max() + 1)
    total = positives.sum() * negatives.sum()
    if not total:
        return math.nan
    below = np.cumsum(negatives) - negatives / 2
    return float((positives * below).sum() / total)


def resolvable(negatives: int, fpr: float) -> bool:
    """Whether so many negatives can tell a false-positive rate from 0."""
    return negatives * fpr >= 1 - 1e-9


def tpr(pos: Values, neg: Values, fpr: float) -> float:
    """The rate of :func:`tpr_at_fpr`, without an interval. NaN without items."""
    first, second = np.asarray(pos, dtype=np.float64), np.sort(np.asarray(neg, dtype=np.float64))
    if not len(first) or not len(second):
        return math.nan
    allowed = math.floor(fpr * len(second) + 1e-9)
    threshold = second[len(second) - 1 - allowed] if allowed < len(second) else -math.inf
    return float((first > threshold).mean())


def tpr_at_fpr(
    pos: Values,
    neg: Values,
    fpr: float,
    *,
    seed: int = 0,
    groups_pos: Groups | None = None,
    groups_neg: Groups | None = None,
) -> Interval:
    """True-positive rate at the threshold that lets through at most ``fpr`` of the negatives.

    A score counts as positive when it is *above* the threshold. Ties: scores equal to the
    threshold are all left out, of positives and of negatives, so an attack that gives every item
    one score has a rate of 0.

    With fewer than ``1 / fpr`` negatives the rate cannot be resolved: not one false positive may
    pass, and the true false-positive rate of that threshold may be well above ``fpr``. The value is
    then the share of positives above every negative, and the interval is 0 to 1, which says that
    nothing is known (see :func:`resolvable`).

    Parameters
    ----------
    pos, neg
        Scores; higher should mean positive.
    fpr
        In (0, 1).
    seed
        Of the resampling.
    groups_pos, groups_neg
        Patient of each item. Default: every item is a group of its own.

    Returns
    -------
    tpr, low, high
        The bootstrap draws positives and negatives, so the threshold's own uncertainty is in the
        interval. Without any spread it is Wilson's, for the number of positive groups; its
        upper end is never below that of Wilson's for 0, nor its lower one above that for 1. NaN
        without items.
    """
    value = tpr(pos, neg, fpr)
    if math.isnan(value):
        return math.nan, math.nan, math.nan
    positives, negatives = _Sample.of(pos, groups_pos), _Sample.of(neg, groups_neg)
    if not resolvable(len(negatives.values), fpr) or min(positives.count, negatives.count) < 2:
        return value, 0.0, 1.0
    low, high = _bootstrap(positives, negatives, lambda p, n: tpr(p, n, fpr), seed, LEVEL)
    if low == high:
        return value, *wilson(value, positives.count)
    value, low, high = _widened(value, low, high, min(positives.count, negatives.count), LEVEL)
    # A slice or two must not narrow what so many patients of none, or of all, leave open.
    none, every = wilson(0.0, positives.count), wilson(1.0, positives.count)
    return value, min(low, every[0]), max(high, none[1])


def wilson(share: float, count: int) -> tuple[float, float]:
    """Wilson's score interval of a share of ``count`` independent trials (JASA 22, 1927)."""
    if count < 1:
        return 0.0, 1.0
    centre = share + _Z**2 / (2 * count)
    half = _Z * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    scale = 1 + _Z**2 / count
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


@dataclass(frozen=True)
class _Sample:
    """Values with, for each group, where its values are."""

    values: npt.NDArray[np.float64]
    members: list[npt.NDArray[np.intp]]

    @classmethod
    def of(cls, values: Values, groups: Groups | None) -> _Sample:
        array = np.asarray(values, dtype=np.float64)
        by_group: dict[Hashable, list[int]] = {}
        for index, group in enumerate(range(len(array)) if groups is None else groups):
            by_group.setdefault(group, []).append(index)
        return cls(array, [np.array(found, dtype=np.intp) for found in by_group.values()])

    @property
    def count(self) -> int:
        return len(self.members)

    def draw(self, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        chosen = rng.integers(self.count, size=self.count)
        if self.count < len(self.values):
            chosen = np.concatenate([self.members[index] for index in chosen])
        drawn: npt.NDArray[np.float64] = self.values[chosen]
        return drawn


def _bootstrap(
    pos: _Sample, neg: _Sample, figure: Callable[[Values, Values], float], seed: int, level: float
) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    draws = max(RESAMPLES, round(LEAST_OUTSIDE / (1 - level)))
    return _ends([figure(pos.draw(rng), neg.draw(rng)) for _ in range(draws)], level)


def _ends(figures: list[float], level: float) -> tuple[float, float]:
    outside = (1 - level) / 2
    low, high = np.quantile(figures, [outside, 1 - outside])
    return float(low), float(high)


def _widened(
    value: float,
    low: float,
    high: float,
    groups: int,
    level: float,
    limits: tuple[float, float] = (0.0, 1.0),
) -> Interval:
    """Move the ends of a bootstrap interval away from the figure, as few groups ask for.

    A bootstrap over n groups has a spread that is too small by √((n - 1) / n), and its ends know
    nothing of the spread being estimated itself. Beyond what the figure can be they do not go.
    """
    tail = (1 + level) / 2
    wider = float(stdtrit(groups - 1, tail) / ndtri(tail))
    factor = math.sqrt(groups / (groups - 1)) * wider
    low, high = value - factor * max(0.0, value - low), value + factor * max(0.0, high - value)
    return value, max(limits[0], low), min(limits[1], high)


def _auc_ends(
    value: float, low: float, high: float, groups: tuple[int, int], level: float
) -> Interval:
    """The interval of an AUC from the ends of its bootstrap.

    Where draws reach 0 or 1, all that the bootstrap knows of the other order are a few slices of
    a patient or two, so its interval is too narrow, if it has one: the score interval bounds it.
    """
    score = _newcombe(value, *groups, level)
    if low == high:
        return value, *score
    reaches = low <= 0 or high >= 1
    value, low, high = _widened(value, low, high, min(groups), level)
    return (value, min(low, score[0]), max(high, score[1])) if reaches else (value, low, high)


def _newcombe(value: float, positives: int, negatives: int, level: float) -> tuple[float, float]:
    """Solve for where ``value`` is z standard errors away, the error taken at the end itself."""
    z = float(ndtri((1 + level) / 2))
    extra = (positives + negatives) / 2 - 1

    def beyond(end: float) -> float:
        factor = 1 + extra * (1 - end) / (2 - end) + extra * end / (1 + end)
        variance = end * (1 - end) * factor / (positives * negatives)
        return abs(value - end) - z * math.sqrt(max(variance, 0.0))

    return _solve(beyond, value, 0.0), _solve(beyond, value, 1.0)


def _solve(beyond: Callable[[float], float], value: float, end: float) -> float:
    """Bisect between the figure itself (inside the interval) and 0 or 1 (outside)."""
    if value == end:
        return end
    inside, outside = value + (end - value) * 1e-9, end
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if beyond(middle) <= 0 else (inside, middle)
    return inside
