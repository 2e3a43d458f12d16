"""Means, and paired differences with intervals in which a patient's images stay together."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import numpy as np

from ppcmi_sf.audit.statistics import mean_interval

LEAST_GROUPS = 3  # two patients say next to nothing about the spread between patients


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
    """Mean of ``own − other`` over the cases of both, with the interval of an audit's figures.

    That is a bootstrap over groups, widened for few of them; see
    :func:`ppcmi_sf.audit.statistics.mean_interval`. ``None`` without a common case. Below 3 groups
    there is no interval.
    """
    cases = [case for case in own if case in other]
    if not cases:
        return None
    values = [own[case] - other[case] for case in cases]
    patients = [groups[case] for case in cases]
    mean, low, high = mean_interval(values, patients, seed=0)
    return Difference(mean, (low, high) if len(set(patients)) >= LEAST_GROUPS else None)


def mean_sd(values: list[float], digits: int) -> str:
    """``mean ± SD``; the mean alone where there is one value."""
    mean = f"{np.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {np.std(values, ddof=1):.{digits}f}"
