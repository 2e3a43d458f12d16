"""Differences are paired by case, and their intervals resample patients."""

import numpy as np
import pytest

from harness.statistics import mean_sd, paired_difference


def test_a_constant_difference_has_no_spread():
    own = {f"c{n}": 0.1 * n + 0.05 for n in range(6)}
    other = {f"c{n}": 0.1 * n for n in range(6)}
    found = paired_difference(own, other, {case: case for case in own})
    assert (found.mean, *found.interval) == pytest.approx((0.05, 0.05, 0.05))
    assert str(found) == "+0.050 [+0.050, +0.050]"


def test_only_common_cases_count():
    found = paired_difference({"a": 1.0, "b": 0.5}, {"a": 0.5, "c": 0.0}, {"a": "p", "b": "q"})
    assert found.mean == 0.5
    assert paired_difference({"a": 1.0}, {"b": 1.0}, {"a": "p"}) is None


def test_images_of_one_patient_do_not_narrow_the_interval():
    rng = np.random.default_rng(0)
    effects = rng.normal(0, 0.1, 8)
    once = {f"p{n}": effects[n] for n in range(8)}
    often = {f"p{n}-{k}": effects[n] for n in range(8) for k in range(10)}
    few = paired_difference(once, dict.fromkeys(once, 0.0), {case: case for case in once})
    groups = {case: case.split("-")[0] for case in often}
    many = paired_difference(often, dict.fromkeys(often, 0.0), groups)
    assert many.interval == pytest.approx(few.interval)
    assert few.interval[0] < few.mean < few.interval[1]


def test_the_interval_of_few_patients_reaches_as_far_as_students_t():
    rng = np.random.default_rng(1)
    differences = rng.normal(0, 0.1, 9)
    own = {f"c{n}": differences[n] for n in range(9)}
    found = paired_difference(own, dict.fromkeys(own, 0.0), {case: case for case in own})
    half = (found.interval[1] - found.interval[0]) / 2
    textbook = 2.306 * differences.std(ddof=1) / 3  # t of 8 degrees of freedom
    assert half == pytest.approx(textbook, rel=0.1)


@pytest.mark.parametrize("patients", [1, 2])
def test_too_few_patients_have_a_mean_and_no_interval(patients):
    own = {f"c{n}": 0.1 * n for n in range(6)}
    groups = {f"c{n}": f"p{n % patients}" for n in range(6)}
    found = paired_difference(own, dict.fromkeys(own, 0.0), groups)
    assert found.interval is None
    assert str(found) == "+0.250"


def test_the_mean_alone_where_there_is_one_value():
    assert mean_sd([0.5], 3) == "0.500"
    assert mean_sd([0.4, 0.6], 2) == "0.50 ± 0.14"
