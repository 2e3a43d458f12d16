"""Which training pairs there are, and in which bundle and order they leave a site.

All pairs of a patient are in one bundle. A server that trains by cross-fitting
(:mod:`ppcmi_sf.training.cross_fit`) leaves out bundles, and has to leave out whole patients.

Within a bundle the pairs are in a random order: in the order of slices and copies, neighbours and
strides would tell which pairs are of one slice or patient, which is to stay at the site.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence

from ppcmi_sf.data import Case, split_by_group
from ppcmi_sf.training.dataset import GridSlices, SiteData
from ppcmi_sf.workflows.folders import TrainingRecord

Plan = list[tuple[GridSlices, int, int]]
"""Part, slice and copy of each pair; copy 0 is the slice as it is."""

MAX_TRAINING_ITEMS = 512  # about 120 MB in int8, 240 in float16 at the paper's size


def pair_plans(
    data: SiteData, cases: Sequence[Case], copies: int, parts: int, record: TrainingRecord
) -> list[Plan]:
    """The pairs of each bundle, as :func:`bundle_numbers` has them, shuffled.

    Raises
    ------
    PPCMIError
        There are fewer patients to learn from than parts.
    """
    plan = _plan(data, copies)
    counts = Counter(part.cases[index] for part, index, _ in plan)
    number = bundle_numbers([case for case in cases if case.name in counts], counts, parts, record)
    plans: list[Plan] = [[] for _ in range(max(number.values()) + 1)]
    for entry in plan:
        part, index, _ = entry
        plans[number[part.cases[index]]].append(entry)
    for one in plans:
        secrets.SystemRandom().shuffle(one)
    return plans


def bundle_numbers(
    cases: Sequence[Case], counts: Mapping[str, int], parts: int, record: TrainingRecord
) -> dict[str, int]:
    """The bundle that each case's pairs come in, by name; a patient's cases come in one.

    A bundle holds at most :data:`MAX_TRAINING_ITEMS` pairs, or one patient who has more.

    Parameters
    ----------
    counts
        Pairs of each case, by name.
    parts
        Into how many parts the patients are divided first, for cross-fitting.

    Raises
    ------
    PPCMIError
        There are fewer patients to learn from than parts.
    """
    part = _part_numbers(cases, parts, record)
    patients: Counter[tuple[int, str]] = Counter()
    for case in cases:
        patients[part[case.name], case.group] += counts[case.name]
    bundles: list[tuple[int, int]] = []  # of which part, and how many pairs
    number = {}
    for (of, group), count in patients.items():
        fits = (
            at
            for at, (other, held) in enumerate(bundles)
            if other == of and held + count <= MAX_TRAINING_ITEMS
        )
        at = next(fits, len(bundles))
        if at == len(bundles):
            bundles.append((of, 0))
        bundles[at] = of, bundles[at][1] + count
        number[group] = at
    return {case.name: number[case.group] for case in cases}


def _part_numbers(cases: Sequence[Case], parts: int, record: TrainingRecord) -> dict[str, int]:
    """The part of each case, by name; a patient's cases are in one."""
    # What is set apart for validation is never learned from, so it may be in any part.
    number = dict.fromkeys((case.name for case in cases), 0)
    if parts == 1:
        return number
    learned = [case for case in cases if case.group not in record.validation_groups]
    for at, part in enumerate(split_by_group(learned, [1 / parts] * parts, record.seed)):
        number |= dict.fromkeys((case.name for case in part), at)
    return number


def _plan(data: SiteData, copies: int) -> Plan:
    return [
        (part, index, copy)
        for part, copies_of_part in ((data.training, copies), (data.validation, 1))
        for copy in range(copies_of_part)
        for index in range(len(part))
    ]
