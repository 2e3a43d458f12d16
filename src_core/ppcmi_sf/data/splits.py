"""Splits that keep a patient's cases together."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence

from ppcmi_sf.data.cases import Case
from ppcmi_sf.errors import PPCMIError


def split_by_group(
    cases: Sequence[Case], fractions: Sequence[float], seed: int
) -> list[list[Case]]:
    """Split cases into parts so that no group is in two parts.

    Groups are taken largest first (those of one size in an order drawn from the
    seed) and go to the part that lacks most cases. The order comes from SHA-256
    of seed and group, so a split is the same on every machine and version.

    Parameters
    ----------
    cases
        The cases; their order does not matter.
    fractions
        Wanted share of the cases for each part; positive, adding up to 1.
    seed
        Another seed, another split.

    Returns
    -------
    One list for each fraction, none empty, each sorted by case name. Sizes are as
    near to the fractions as whole groups allow.

    Raises
    ------
    PPCMIError
        The fractions do not add up to 1, or there are fewer groups than parts.
    """
    if not fractions or min(fractions) <= 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise PPCMIError(
            f"The fractions {list(fractions)} do not split a set.",
            hint="Give positive fractions that add up to 1, such as 0.8 and 0.2.",
        )
    groups: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        groups[case.group].append(case)
    if len(groups) < len(fractions):
        raise PPCMIError(
            f"{len(groups)} groups (patients) cannot be split into {len(fractions)} parts.",
            hint="Add patients, or ask for fewer parts.",
        )
    order = sorted(groups, key=lambda group: (-len(groups[group]), _draw(seed, group)))
    parts: list[list[str]] = [[] for _ in fractions]
    missing = [fraction * len(cases) for fraction in fractions]
    for group in order:
        target = max(range(len(parts)), key=lambda index: missing[index])
        parts[target].append(group)
        missing[target] -= len(groups[group])
    _fill_empty(parts)
    return [
        sorted((case for group in part for case in groups[group]), key=lambda case: case.name)
        for part in parts
    ]


def _draw(seed: int, group: str) -> bytes:
    """Draw for a group what depends on nothing but the seed and its name."""
    return hashlib.sha256(f"{seed}:{group}".encode()).digest()


def _fill_empty(parts: list[list[str]]) -> None:
    """Give each empty part the smallest (last) group of the part with most groups."""
    for part in parts:
        if not part:
            part.append(max(parts, key=len).pop())
