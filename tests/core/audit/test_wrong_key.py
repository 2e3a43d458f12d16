"""The right key opens, a wrong one or none does not, and parts tell what each part hides."""

import pytest

from ppcmi_sf.audit.attacks import wrong_key
from ppcmi_sf.progress import run


@pytest.fixture(scope="module")
def result(escrow_subject, quick):
    return run(wrong_key.run(escrow_subject, quick))


def test_the_right_key_makes_the_number_jump(result, figure):
    right = figure(result, "right key")
    for without in ("a wrong key", "no key", "all known but what is drawn"):
        assert right.low > figure(result, "SSIM with the original", without).high + 0.1


def test_without_the_key_it_is_near_the_mean_image(result, figure):
    for words in ("a wrong key", "no key"):
        assert figure(result, "above", words).value < 0.1


def test_each_part_is_measured(result, figure):
    order = figure(result, "and the order of the positions")
    mixing = figure(result, "and mixing and bias")
    assert order.value != mixing.value
    right = figure(result, "right key")
    assert max(order.value, mixing.value) < right.value


def test_blind_has_no_order_to_know(blind_subject, quick, figure):
    found = run(wrong_key.run(blind_subject, quick))
    assert not any("order of the positions" in m.name for m in found.measurements)
    assert figure(found, "right key").low > figure(found, "SSIM with the original", "no key").high


def test_the_same_seed_gives_the_same_numbers(escrow_subject, quick, result):
    assert run(wrong_key.run(escrow_subject, quick)).measurements == result.measurements
