"""Splits by group."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppcmi_sf.data import Case, split_by_group
from ppcmi_sf.errors import PPCMIError


def make(groups):
    """Cases from ``{group: size}``."""
    return [
        Case(f"{group}-{index}", Path(f"{group}-{index}.png"), group=group)
        for group, size in groups.items()
        for index in range(size)
    ]


@given(
    sizes=st.lists(st.integers(1, 6), min_size=3, max_size=40),
    weights=st.lists(st.integers(1, 9), min_size=1, max_size=3),
    seed=st.integers(),
)
def test_every_case_once_no_group_twice_sizes_near(sizes, weights, seed):
    cases = make({f"p{index}": size for index, size in enumerate(sizes)})
    fractions = [weight / sum(weights) for weight in weights]
    parts = split_by_group(cases, fractions, seed)
    assert sorted(case.name for part in parts for case in part) == sorted(c.name for c in cases)
    groups = [{case.group for case in part} for part in parts]
    assert sum(map(len, groups)) == len(set().union(*groups))
    assert all(parts)
    for part, fraction in zip(parts, fractions, strict=True):
        assert abs(len(part) - fraction * len(cases)) <= 2 * max(sizes)


def test_equal_groups_split_exactly():
    cases = make({f"p{index}": 2 for index in range(10)})
    assert [len(part) for part in split_by_group(cases, [0.6, 0.2, 0.2], 0)] == [12, 4, 4]


def test_seed_and_nothing_else_decides():
    cases = make({f"p{index}": 1 + index % 3 for index in range(20)})
    first = split_by_group(cases, [0.7, 0.3], 1)
    assert split_by_group(cases[::-1], [0.7, 0.3], 1) == first
    assert split_by_group(cases, [0.7, 0.3], 2) != first


def test_the_same_split_on_every_machine():
    cases = make({f"p{index}": 1 for index in range(8)})
    assert [case.group for case in split_by_group(cases, [0.75, 0.25], 42)[1]] == ["p3", "p6"]


def test_a_small_part_is_not_left_empty():
    cases = make({"a": 5, "b": 5, "c": 5})
    assert [len(part) for part in split_by_group(cases, [0.98, 0.02], 0)] == [10, 5]


@pytest.mark.parametrize("fractions", [[], [0.5], [0.6, 0.6], [1.2, -0.2], [1.0, 0.0]])
def test_fractions_that_do_not_split(fractions):
    with pytest.raises(PPCMIError, match="fractions"):
        split_by_group(make({"a": 1, "b": 1}), fractions, 0)


def test_too_few_groups():
    with pytest.raises(PPCMIError, match="1 groups"):
        split_by_group(make({"a": 9}), [0.5, 0.5], 0)
