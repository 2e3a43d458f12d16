"""Averaging over mirror images: which ones, and that each comes back as it was."""

import pytest
import torch

from ppcmi_sf.flips import COLUMNS, ROWS, average_over_flips, flips_of


@pytest.mark.parametrize(
    ("modality", "flips"),
    [("US", ((), (COLUMNS,))), ("MR", ((), (COLUMNS,), (ROWS,), (ROWS, COLUMNS)))],
)
def test_an_ultrasound_image_is_never_turned_upside_down(make_study, modality, flips):
    assert flips_of(make_study(modality=modality)) == flips


@pytest.mark.parametrize("modality", ["US", "MR"])
def test_what_does_not_care_for_mirrors_is_left_as_it_is(make_study, modality):
    images = torch.rand(2, 1, 8, 6)
    average = average_over_flips(lambda x: x.square(), images, make_study(modality=modality))
    assert torch.allclose(average, images.square())


def test_what_does_care_is_averaged(make_study):
    """A prediction that is always the left half: half of the time it is the right one."""
    left = torch.zeros(1, 1, 4, 4)
    left[..., :2] = 1
    average = average_over_flips(lambda x: left, torch.rand(1, 1, 4, 4), make_study(modality="US"))
    assert torch.allclose(average, torch.full_like(average, 0.5))
