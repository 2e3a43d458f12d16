"""In which bundle and in which order training pairs leave a site."""

import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ppcmi_sf.data import Case
from ppcmi_sf.errors import TrainingError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.training import cross_fit
from ppcmi_sf.training.dataset import GridSlices, SiteData
from ppcmi_sf.training.mapping import SitePairs
from ppcmi_sf.workflows.folders import TrainingRecord
from ppcmi_sf.workflows.pairs_plan import MAX_TRAINING_ITEMS, bundle_numbers, pair_plans
from ppcmi_sf.workflows.protect import _PairMaker

RECORD = TrainingRecord(
    site="north", seed=3, validation_groups=("p0",), slice_axis=None, frame=None
)
COPIES = 6
NOTHING = LatentPyramid({"bottleneck": torch.zeros(1, 1, 1, 1)})  # folds ask for no numbers


def test_slice_numbers_of_many_slices_take_no_quadratic_time():
    """40 000 slices in 6 copies took minutes, before there was any progress."""
    cases = [Case(f"volume{n}", Path(f"volume{n}"), None, f"p{n}") for n in range(400)]
    data = SiteData(slices(cases, 100), slices([], 0), [])
    site = SimpleNamespace(study=StudySpec(name="s", modality="US", classes=make_classes(["a"])))
    started = time.process_time()
    pairs = _PairMaker(site, data, {case.name: case for case in cases}, 0, 0)
    plan = [(data.training, index, 0) for index in range(40_000)]
    items = pairs.items(plan)[1]
    assert time.process_time() - started < 5
    assert [item.slice for item in items] == [*range(100)] * 400


def slices(cases, count):
    names = [case.name for case in cases for _ in range(count)]
    empty = np.zeros((len(names), 1, 1, 1), np.float32)
    return GridSlices(empty, empty[:, 0].astype(np.uint8), tuple(names))


def site(patients, count=10, each=2):
    """Cases of patients, each of two volumes, and their slices."""
    cases = [
        Case(f"c{p}-{n}", Path(f"c{p}-{n}"), None, f"p{p}")
        for p in range(patients)
        for n in range(each)
    ]
    apart = [case for case in cases if case.group in RECORD.validation_groups]
    learned = [case for case in cases if case.group not in RECORD.validation_groups]
    return cases, SiteData(slices(learned, count), slices(apart, count))


def patients_of(plan, cases):
    group = {case.name: case.group for case in cases}
    return Counter(group[part.cases[index]] for part, index, _ in plan)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(("patients", "count"), [(4, 2), (30, 10), (7, 42), (6, 60)])
def test_all_pairs_of_a_patient_are_in_one_bundle(parts, patients, count):
    cases, data = site(patients, count)
    plans = pair_plans(data, cases, COPIES, parts, RECORD)
    found = [patients_of(plan, cases) for plan in plans]
    assert sum(found, Counter()) == {
        f"p{p}": 2 * count * (1 if p == 0 else COPIES) for p in range(patients)
    }
    assert sum(len(one) for one in found) == patients  # nobody is in two
    assert len(plans) >= parts
    for one in found:
        assert one.total() <= MAX_TRAINING_ITEMS or len(one) == 1
    entries = [(id(part), index, copy) for plan in plans for part, index, copy in plan]
    assert len(set(entries)) == len(entries)


def test_a_large_site_without_parts_can_be_cross_fitted_by_patients():
    """Folds are bundles; copies of a slice in two of them would protect nothing."""
    cases, data = site(30)
    plans = pair_plans(data, cases, COPIES, 1, RECORD)
    parts = np.repeat(np.arange(len(plans)), [len(plan) for plan in plans])
    validation = np.array([part is data.validation for plan in plans for part, _, _ in plan])
    folds = cross_fit._folds("north", SitePairs(NOTHING, NOTHING, validation, parts))
    group = {case.name: case.group for case in cases}
    of = {}
    for fold, (part, index, _) in zip(folds, (e for plan in plans for e in plan), strict=True):
        if fold >= 0:
            of.setdefault(group[part.cases[index]], set()).add(fold)
    assert len(of) == 29 and all(len(one) == 1 for one in of.values())
    assert set.union(*of.values()) == {0, 1, 2}


def test_one_bundle_is_no_part():
    cases, data = site(4, 2)
    (plan,) = pair_plans(data, cases, COPIES, 1, RECORD)
    pairs = SitePairs(NOTHING, NOTHING, np.zeros(len(plan), np.bool_))
    with pytest.raises(TrainingError, match="came in one bundle"):
        cross_fit._folds("north", pairs)


def test_neither_neighbours_nor_strides_tell_what_belongs_together():
    cases, data = site(4)
    (plan,) = pair_plans(data, cases, COPIES, 1, RECORD)
    (again,) = pair_plans(data, cases, COPIES, 1, RECORD)
    places = [(part is data.validation, index, copy) for part, index, copy in plan]
    assert places != [(part is data.validation, index, copy) for part, index, copy in again]
    learned = np.array([index for apart, index, _ in places if not apart])
    same = learned[len(data.training) :] == learned[: -len(data.training)]
    assert same.mean() < 0.2  # copies of a slice
    assert (np.diff(learned) == 1).mean() < 0.2  # slices of a volume


def test_numbers_are_the_same_each_time_so_that_a_review_tells_them():
    cases, _ = site(30)
    counts = {case.name: 60 for case in cases}
    first = bundle_numbers(cases, counts, 3, RECORD)
    assert first == bundle_numbers(cases, counts, 3, RECORD)
    assert sorted(set(first.values())) == list(range(max(first.values()) + 1))
