"""A site's slices: split by patient, bad cases left out and listed."""

import numpy as np
import pytest

from ppcmi_sf.data import Case
from ppcmi_sf.errors import InputFileError, TrainingError
from ppcmi_sf.progress import run
from ppcmi_sf.training.dataset import batch_count, batches, choose_validation_groups, load_site_data


@pytest.fixture
def cases(make_cases, ellipses, tmp_path):
    return make_cases(tmp_path / "data", *ellipses(0, 10, size=(48, 64)))


def load(cases, study, fraction=0.2, seed=0):
    return run(
        load_site_data(
            cases, study, validation_groups=choose_validation_groups(cases, fraction, seed)
        )
    )


@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_in_both_parts(seed, cases, make_study):
    data = load(cases, make_study(), 0.4, seed)
    groups = {case.name: case.group for case in cases}
    parts = [{groups[name] for name in part.cases} for part in (data.training, data.validation)]
    assert parts[0].isdisjoint(parts[1])
    assert parts[0] | parts[1] == set(groups.values())
    assert len(data.validation) == 4
    assert len(data.training) == 6


def test_slices_are_on_the_grid(cases, make_study):
    data = load(cases, make_study(size=(32, 32))).training
    assert data.images.shape == (8, 1, 32, 32)
    assert data.masks.shape == (8, 32, 32)
    assert (data.images.dtype, data.masks.dtype) == (np.float16, np.uint8)
    assert 0 <= data.images.min() < data.images.max() <= 1
    assert set(np.unique(data.masks)) == {0, 1}
    assert data.byte_count == 8 * 32 * 32 * 3


def test_a_single_patient_gives_no_validation_part(cases, make_study):
    one = [Case(case.name, case.image, case.mask, "p") for case in cases]
    data = load(one, make_study())
    assert (len(data.training), len(data.validation)) == (10, 0)


def test_bad_cases_are_left_out_and_listed(cases, make_study, tmp_path):
    cases[0].image.write_bytes(b"not a picture")
    cases[3].mask.unlink()
    cases[4] = Case(cases[4].name, cases[4].image, None, cases[4].group)
    data = load(cases, make_study(), 0)
    assert [name for name, _ in data.failures] == [cases[i].name for i in (0, 3, 4)]
    assert all(isinstance(error, InputFileError) and error.hint for _, error in data.failures)
    assert str(cases[0].image) in data.failures[0][1].message
    assert len(data.training) == 7
    assert cases[0].name not in data.training.cases


def test_a_class_outside_the_study_is_listed(make_cases, ellipses, make_study, tmp_path):
    images, masks = ellipses(0, 4)
    masks[2, 5, 5] = 7
    data = load(make_cases(tmp_path / "data", images, masks), make_study(), 0)
    assert [name for name, _ in data.failures] == ["case_002"]


def test_no_good_case_is_an_error_with_a_reason(cases, make_study):
    for case in cases:
        case.image.write_bytes(b"")
    with pytest.raises(TrainingError, match="No case could be used") as caught:
        load(cases, make_study())
    assert cases[0].name in caught.value.hint
    with pytest.raises(TrainingError, match="No case could be used"):
        load([], make_study())


def test_progress_names_cases(cases, make_study):
    steps = list(load_site_data(cases, make_study(), validation_groups=()))
    assert len(steps) == len(cases)
    assert steps[3].message == f"Reading {cases[3].name}"


@pytest.mark.parametrize(
    ("items", "size", "count"),
    [(0, 8, 0), (1, 8, 1), (2, 8, 1), (9, 8, 2), (3, 1, 1), (16, 8, 2), (17, 8, 3), (10, 1, 5)],
)
def test_batches_are_even_and_never_of_one(items, size, count):
    assert batch_count(items, size) == count
    if items:
        parts = list(batches(np.arange(items), count))
        sizes = [len(part) for part in parts]
        assert max(sizes) - min(sizes) <= 1
        assert items == 1 or min(sizes) >= 2
        np.testing.assert_array_equal(np.concatenate(parts), np.arange(items))
