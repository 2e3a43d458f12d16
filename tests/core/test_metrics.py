"""MONAI's figures against values worked out by hand and by brute force."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.metrics import MEAN, METRICS, image_similarity, score_case, summarise

NAMES = ["background", "head", "cavity"]


def block(shape, *slices, value=1):
    mask = np.zeros(shape, np.uint8)
    mask[slices] = value
    return mask


def surface(mask):
    """Voxels with a face neighbour outside the mask, counting beyond the image as outside."""
    padded = np.pad(mask, 1)
    inner = np.ones_like(mask)
    for axis in range(mask.ndim):
        for step in (-1, 1):
            shifted = np.roll(padded, step, axis)
            inner &= shifted[tuple(slice(1, -1) for _ in mask.shape)]
    return np.argwhere(mask & ~inner)


def brute_distances(pred, truth, spacing):
    a, b = (surface(mask) * np.array(spacing) for mask in (pred, truth))
    between = np.sqrt(((a[:, None] - b[None]) ** 2).sum(-1))
    return between.min(1), between.min(0)


def test_offset_squares_by_hand():
    # 8x8 squares, two rows apart: 48 of 64 pixels in common, 0.5 mm per row, 2 mm per column
    pred = block((20, 30), slice(2, 10), slice(3, 11))
    truth = block((20, 30), slice(4, 12), slice(3, 11))
    (score,) = score_case(pred, truth, NAMES[:2], (0.5, 2.0))
    assert score.dice == pytest.approx(2 * 48 / 128)
    assert score.iou == pytest.approx(48 / 80)
    assert score.sensitivity == pytest.approx(48 / 64)
    assert score.specificity == pytest.approx((600 - 80) / (600 - 64))
    assert score.hd95_mm == pytest.approx(1.0)
    assert not score.empty_pred and not score.empty_truth


def test_spacing_is_of_its_own_axis():
    pred = block((20, 30), slice(4, 12), slice(3, 11))
    truth = block((20, 30), slice(4, 12), slice(6, 14))
    (score,) = score_case(pred, truth, NAMES[:2], (0.5, 2.0))
    assert score.hd95_mm > 2.0 + 1e-6
    (isotropic,) = score_case(pred, truth, NAMES[:2], 1.0)
    assert isotropic.hd95_mm == pytest.approx(3.0)


def test_single_points():
    pred, truth = block((9, 9, 9), 1, 1, 1), block((9, 9, 9), 4, 5, 1)
    (score,) = score_case(pred, truth, NAMES[:2], (1.0, 1.0, 7.0))
    assert (score.hd95_mm, score.asd_mm, score.dice) == (5.0, 5.0, 0.0)
    assert not score.empty_pred


@st.composite
def two_masks(draw):
    shape = tuple(draw(st.lists(st.integers(3, 7), min_size=2, max_size=3)))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    share = draw(st.floats(0.2, 0.8))
    pred, truth = rng.random(shape) < share, rng.random(shape) < share
    pred.flat[0] = truth.flat[-1] = True
    spacing = tuple(draw(st.lists(st.floats(0.2, 4), min_size=len(shape), max_size=len(shape))))
    return pred, truth, spacing


@settings(max_examples=60, deadline=None)
@given(two_masks())
def test_against_brute_force(case):
    pred, truth, spacing = case
    (score,) = score_case(pred.astype(np.uint8), truth.astype(np.uint8), NAMES[:2], spacing)
    there, back = brute_distances(pred, truth, spacing)
    assert_allclose(
        score.hd95_mm, max(np.percentile(there, 95), np.percentile(back, 95)), rtol=1e-5, atol=1e-6
    )
    assert_allclose(score.asd_mm, np.concatenate([there, back]).mean(), rtol=1e-5, atol=1e-6)
    overlap = (pred & truth).sum()
    assert_allclose(score.dice, 2 * overlap / (pred.sum() + truth.sum()), rtol=1e-6)
    assert_allclose(score.iou, overlap / (pred | truth).sum(), rtol=1e-6)
    assert_allclose(score.sensitivity, overlap / truth.sum(), rtol=1e-6)
    if not truth.all():
        assert_allclose(score.specificity, (~pred & ~truth).sum() / (~truth).sum(), rtol=1e-6)


def test_both_empty_is_perfect():
    empty = np.zeros((12, 12), np.uint8)
    (score,) = score_case(empty, empty, NAMES[:2])
    assert (score.dice, score.iou, score.sensitivity, score.specificity) == (1, 1, 1, 1)
    assert (score.hd95_mm, score.asd_mm) == (0, 0)
    assert score.empty_pred and score.empty_truth


@pytest.mark.parametrize("truth_is_empty", [True, False])
def test_one_empty_costs_the_diagonal(truth_is_empty):
    empty, full = np.zeros((30, 40), np.uint8), block((30, 40), slice(3, 9), slice(3, 9))
    pred, truth = (full, empty) if truth_is_empty else (empty, full)
    (score,) = score_case(pred, truth, NAMES[:2], (0.1, 0.1))
    assert (score.dice, score.iou) == (0, 0)
    assert score.hd95_mm == score.asd_mm == pytest.approx(5.0)
    assert score.sensitivity == (1.0 if truth_is_empty else 0.0)
    assert (score.empty_pred, score.empty_truth) == (not truth_is_empty, truth_is_empty)


def test_truth_that_covers_everything():
    truth = np.ones((8, 8), np.uint8)
    (score,) = score_case(truth, truth, NAMES[:2])
    assert score.specificity == 1.0 and score.hd95_mm == 0.0


def test_classes_are_scored_apart():
    truth = block((16, 16), slice(2, 8), slice(2, 8))
    truth[10:14, 10:14] = 2
    pred = np.where(truth == 2, 0, truth)
    head, cavity = score_case(pred, truth, NAMES)
    assert (head.class_name, head.dice) == ("head", 1.0)
    assert (cavity.class_name, cavity.dice, cavity.empty_pred) == ("cavity", 0.0, True)


def test_a_single_slice_is_scored_as_an_image():
    pred = block((20, 30), slice(2, 10), slice(3, 11))
    truth = block((20, 30), slice(5, 13), slice(3, 11))
    flat = score_case(pred, truth, NAMES[:2], (0.5, 2.0))
    assert score_case(pred[:, :, None], truth[:, :, None], NAMES[:2], (0.5, 2.0, 8.0)) == flat
    assert score_case(pred[None], truth[None], NAMES[:2], (8.0, 0.5, 2.0)) == flat


@pytest.mark.parametrize(
    ("pred", "truth", "spacing"),
    [
        (np.zeros((4, 4)), np.zeros((4, 5)), 1.0),
        (np.zeros(4), np.zeros(4), 1.0),
        (np.full((4, 4), 2), np.zeros((4, 4)), 1.0),
        (np.zeros((4, 4)), np.full((4, 4), -1), 1.0),
        (np.zeros((4, 4)), np.zeros((4, 4)), (1.0, 1.0, 1.0)),
        (np.zeros((4, 4)), np.zeros((4, 4)), (1.0, 0.0)),
        (np.zeros((4, 4)), np.zeros((4, 4)), math.nan),
    ],
)
def test_what_cannot_be_scored_is_refused(pred, truth, spacing):
    with pytest.raises(PPCMIError) as caught:
        score_case(pred.astype(int), truth.astype(int), NAMES[:2], spacing)
    assert caught.value.hint


@pytest.mark.parametrize("value", [0.5, math.nan])
@pytest.mark.parametrize("of_truth", [False, True])
def test_probabilities_and_nan_are_no_classes(value, of_truth):
    masks = [block((4, 4), 0), np.full((4, 4), value)]
    with pytest.raises(PPCMIError, match="no class indices"):
        score_case(*(masks if of_truth else masks[::-1]), NAMES[:2])


def test_whole_floats_and_spacings_of_numpy_are_taken():
    mask = block((4, 5), 1, 2).astype(np.float32)
    for spacing in (np.float32(2), np.int64(2), np.array([2, 2])):
        (score,) = score_case(mask, np.roll(mask, 1), NAMES[:2], spacing)
        assert score.hd95_mm == 2


def test_summary():
    truth = block((16, 16), slice(2, 8), slice(2, 8))
    half = block((16, 16), slice(2, 5), slice(2, 8))
    cases = [score_case(pred, truth, NAMES) for pred in (truth, half)]
    head, cavity, mean = summarise(cases)
    dice = [1.0, 2 * 18 / 54]
    assert (head.n, head.class_name, mean.class_name) == (2, "head", MEAN)
    assert head.mean["dice"] == pytest.approx(np.mean(dice))
    assert head.sd["dice"] == pytest.approx(np.std(dice, ddof=1))
    assert (cavity.mean["dice"], cavity.empty_pred, cavity.empty_truth) == (1.0, 2, 2)
    assert mean.mean["dice"] == pytest.approx((1 + np.mean(dice)) / 2)
    assert mean.sd["dice"] == pytest.approx(np.std([1, (1 + dice[1]) / 2], ddof=1))
    assert mean.empty_pred == 2


def test_summary_of_one_case_and_of_none():
    truth = block((16, 16), slice(2, 8), slice(2, 8))
    summaries = summarise([score_case(truth, truth, NAMES)])
    assert all(s.sd == dict.fromkeys(METRICS, 0.0) for s in summaries)
    assert summarise([]) == []


def test_psnr_and_ssim():
    a = np.random.default_rng(0).random((24, 32))
    assert image_similarity(a, a) == (math.inf, pytest.approx(1.0))
    psnr, ssim = image_similarity(a, np.clip(a + 0.1, 0, None))
    assert psnr == pytest.approx(20.0, abs=1e-4)
    assert 0.5 < ssim < 1


def test_ssim_of_flat_images_by_hand():
    # without variance SSIM is its luminance term
    a, b = np.full((16, 16), 0.2), np.full((16, 16), 0.6)
    c1 = 0.01**2
    expected = (2 * 0.2 * 0.6 + c1) / (0.2**2 + 0.6**2 + c1)
    assert image_similarity(a, b)[1] == pytest.approx(expected, abs=1e-4)
    volume = np.full((12, 12, 12), 0.5)
    assert image_similarity(volume, volume)[1] == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(8, 20), (20,), (20, 21)])
def test_images_that_cannot_be_compared(shape):
    with pytest.raises(PPCMIError):
        image_similarity(np.zeros((20, 20)), np.zeros(shape))
    if len(shape) == 2 and min(shape) < 11:
        with pytest.raises(PPCMIError):
            image_similarity(np.zeros(shape), np.zeros(shape))
