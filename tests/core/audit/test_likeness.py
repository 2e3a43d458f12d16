"""Whether a picture is more like its own original than like another patient's."""

import math

import numpy as np
import pytest

from ppcmi_sf.audit.likeness import likeness, own_above_others, specific_measurements
from ppcmi_sf.progress import run


def pictures_of(groups, seed=0):
    """Noise that the slices of one patient share, and a little of their own."""
    rng = np.random.default_rng(seed)
    shared = {group: rng.random((24, 24)) for group in groups}
    noise = rng.random((len(groups), 24, 24))
    return np.array(
        [0.9 * shared[group] + 0.1 * own for group, own in zip(groups, noise, strict=True)],
        dtype=np.float32,
    )


def above(groups, pictures):
    originals = pictures_of(groups)
    found = run(likeness(originals, pictures))
    return run(own_above_others(originals, pictures, found, np.array(groups)))


@pytest.mark.parametrize("groups", [[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0], [3, 3, 1, 1]])
def test_the_originals_themselves_are_more_like_their_own(groups):
    values = above(groups, pictures_of(groups))
    assert values.min() > 0.8


def test_a_patient_with_most_of_the_slices_is_compared_with_others_alone():
    """Compared with a slice of the same patient, a picture would look as if it told nothing."""
    groups = [0] * 7 + [1, 2]
    values = above(groups, pictures_of(groups))
    known = ~np.isnan(values)
    assert known.sum() == 4 and known[7:].all()
    assert values[known].min() > 0.8
    one, _ = specific_measurements(("x", "y"), [values, values], np.array(groups), 0)
    assert one.n == 4 and one.value == pytest.approx(values[known].mean()) and one.met is False


def test_pictures_that_show_nothing_of_the_item_have_zero_in_the_mean():
    groups = [0] * 7 + [1, 2]
    same = np.repeat(pictures_of([9], seed=5), len(groups), axis=0)
    assert np.nanmean(above(groups, same)) == pytest.approx(0, abs=1e-6)


def test_of_one_patient_alone_nothing_is_shown():
    groups = [0, 0, 0]
    values = above(groups, pictures_of(groups))
    one, _ = specific_measurements(("x", "y"), [values, values], np.array(groups), 0)
    assert (one.value, one.low, one.shown) == (0, None, False)
    assert not math.isnan(one.value)


def test_an_interval_that_few_patients_make_wide_does_not_show_that_nothing_is_told():
    """Two patients, of whose slices 0.45 is told: the interval is -0.95 to 1.86."""
    values, groups = np.array([0.3, 0.3, 0.3, 0.62, 0.6, 0.6]), np.repeat([0, 1], 3)
    one, planted = specific_measurements(("as sent", "the right key"), [values, values], groups, 0)
    assert one.value > 0.4 and one.low < 0
    assert one.shown is False
    assert planted.name.endswith("the right key") and planted.met is None

    rng, many = np.random.default_rng(0), np.repeat(np.arange(12), 2)
    nothing, all_of_it = rng.normal(0, 0.02, 24), rng.normal(0.4, 0.02, 24)
    assert specific_measurements(("", ""), [nothing, all_of_it], many, 0)[0].shown is True
    # where the attack cannot tell anything at all, that it tells nothing is no merit
    assert specific_measurements(("", ""), [nothing, nothing[::-1]], many, 0)[0].shown is False
    leak = specific_measurements(("", ""), [all_of_it, all_of_it], many, 0)[0]
    assert (leak.met, leak.shown) == (False, False)
