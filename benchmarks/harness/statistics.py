"""Means, and paired differences with intervals in which a patient's images stay together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

DRAWS = 10_000
LEAST_GROUPS = 3  # resampling one group shows no spread at all, and two next to none


@dataclass(frozen=True)
class Difference:
    """A mean difference and its 95 % interval; ``None`` where there are too few groups for one."""

    mean: float
    interval: tuple[float, float] | None

    def __str__(self) -> str:
        mean = f"{self.mean:+.3f}"
        if self.interval is None:
            return mean
        low, high = self.interval
        return f"{mean} [{low:+.3f}, {high:+.3f}]"


def paired_difference(
    own: Mapping[Hashable, float], other: Mapping[Hashable, float], groups: Mapping[Hashable, str]
) -> Difference | None:
    """Mean of ``own − other`` over the cases of both; the interval resamples groups.

    A percentile bootstrap with 10 000 draws, always the same ones. ``None`` without a common case.
    Below 3 groups there is no interval. With few groups it is too narrow: a percentile bootstrap
    spreads only as far as the groups that were seen, so fewer than about 20 cover less than 95 %.
    """
    by_group: dict[str, list[float]] = {}
    for case in own:
        if case in other:
            by_group.setdefault(groups[case], []).append(own[case] - other[case])
    if not by_group:
        return None
    sums = np.array([sum(values) for values in by_group.values()])
    counts = np.array([len(values) for values in by_group.values()])
    mean = float(sums.sum() / counts.sum())
    if len(sums) < LEAST_GROUPS:
        return Difference(mean, None)
    drawn = np.random.default_rng(0).integers(len(sums), size=(DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Difference(mean, (float(low), float(high)))


def mean_sd(values: list[float], digits: int) -> str:
    """``mean ± SD``; the mean alone where there is one value."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"
