"""Augmentation: seeded, image and mask together, within range, no new labels."""

import numpy as np
import pytest

from ppcmi_sf.training.augment import ZOOM, Augmenter
from ppcmi_sf.training.slice_batches import augmenter_for

SIZE = (64, 96)


@pytest.fixture(scope="module")
def pair(ellipses):
    images, masks = ellipses(3, 1, size=SIZE, classes=3)
    return (images / 255).astype(np.float32), masks[0]


@pytest.fixture(scope="module")
def augmenter():
    return Augmenter(SIZE, vertical_flips=True)


def test_the_same_seed_gives_the_same(augmenter, pair):
    one = augmenter(*pair, (1, 2, 3))
    augmenter(*pair, (9, 9, 9))
    two = Augmenter(SIZE, vertical_flips=True)(*pair, (1, 2, 3))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)
    other = augmenter(*pair, (1, 2, 4))
    assert not np.array_equal(one[0], other[0])


def test_types_range_and_labels(augmenter, pair):
    for seed in range(40):
        image, mask = augmenter(*pair, (seed,))
        assert (image.dtype, image.shape) == (np.float32, (1, *SIZE))
        assert (mask.dtype, mask.shape) == (np.uint8, SIZE)
        assert 0 <= image.min() <= image.max() <= 1
        assert set(np.unique(mask)) <= {0, 1, 2}
        assert (mask == 1).sum() > 100


def test_image_and_mask_move_together(augmenter, pair):
    """Draw the mask as the image: wherever it went, the two still agree."""
    mask = (pair[1] > 0).astype(np.uint8)
    moved = 0
    for seed in range(25):
        image, label = augmenter(mask[None].astype(np.float32), mask, (seed,))
        found = image[0] > 0.5
        overlap = 2 * (found & (label == 1)).sum() / (found.sum() + (label == 1).sum())
        assert overlap > 0.93, seed
        moved += not np.array_equal(label, mask)
    assert moved > 15


def test_ultrasound_is_never_turned_over(make_study):
    """A bright upper edge stays up; other modalities are flipped about half of the time."""
    image = np.zeros((1, 64, 64), np.float32)
    image[:, 8:20] = 1
    mask = np.zeros((64, 64), np.uint8)

    def share_upside_down(modality):
        augment = augmenter_for(make_study(modality=modality))
        results = [augment(image, mask, (seed,))[0][0] for seed in range(40)]
        return np.mean([one[32:].sum() > one[:32].sum() for one in results])

    assert share_upside_down("US") == 0
    assert 0.2 < share_upside_down("MR") < 0.8


def test_inputs_stay_as_they_were(augmenter, pair):
    copies = [array.copy() for array in pair]
    augmenter(*pair, (5,))
    for array, copy in zip(pair, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_disc_stays_one_in_an_image_that_is_no_square():
    """Turned by no more than the zooms allow: its two axes differ by at most their ratio."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    disc = ((rows - 32) ** 2 + (columns - 48) ** 2 < 15**2).astype(np.uint8)
    augment = Augmenter(SIZE, vertical_flips=True)
    for seed in range(30):
        moved = augment(disc[None].astype(np.float32), disc, (seed,))[1]
        spreads = np.linalg.eigvalsh(np.cov(np.argwhere(moved).T))
        assert np.sqrt(spreads[1] / spreads[0]) < 1.05 * (1 + ZOOM) / (1 - ZOOM), seed
        assert 0.95 * (1 - ZOOM) ** 2 < disc.sum() / moved.sum() < 1.05 * (1 + ZOOM) ** 2, seed


def test_what_comes_from_outside_is_black_and_background():
    image, mask = np.ones((1, *SIZE), np.float32), np.ones(SIZE, np.uint8)
    augment = Augmenter(SIZE, vertical_flips=True)
    shares = []
    for seed in range(30):
        values, labels = augment(image, mask, (seed,))
        outside = values[0] == 0
        assert (labels[outside] == 0).mean() > 0.99 if outside.any() else (labels == 1).all()
        shares.append(outside.mean())
    assert max(shares) > 0.05


def test_no_copy_is_the_image_itself_or_another_copy(augmenter, pair):
    """Pairs that come twice would count twice, and a server would ask why."""
    copies = {augmenter(*pair, (seed,))[0].tobytes() for seed in range(300)}
    assert len(copies) == 300
    assert pair[0].tobytes() not in copies
