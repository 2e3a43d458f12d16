"""Losses against hand-made values."""

import pytest
import torch

from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.training.losses import COARSE_WEIGHT, image_loss, mapping_loss, mask_loss


def pyramid(seed):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"fine": (3, 4, 8, 8), "coarse": (3, 6, 4, 4)}
    return LatentPyramid(
        {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    )


def spreads_of(target):
    return {name: value.std() for name, value in target.items()}


def test_plain_loss_is_the_sum_of_mean_squared_errors():
    mapped, target = pyramid(0), pyramid(1)
    expected = sum(((mapped[name] - target[name]) ** 2).mean() for name in mapped)
    torch.testing.assert_close(mapping_loss(mapped, target, None), expected)


def test_normalised_loss_does_not_change_when_a_scale_is_scaled():
    mapped, target = pyramid(0), pyramid(1)
    plain, loss = (
        mapping_loss(mapped, target, None),
        mapping_loss(mapped, target, spreads_of(target)),
    )
    scaled = [
        LatentPyramid({"fine": 50 * p["fine"], "coarse": p["coarse"]}) for p in (mapped, target)
    ]
    torch.testing.assert_close(mapping_loss(*scaled, spreads_of(scaled[1])), loss)
    assert mapping_loss(*scaled, None) > 100 * plain


def test_a_perfect_mapping_costs_nothing():
    target = pyramid(1)
    assert mapping_loss(target, target, spreads_of(target)) == 0


def test_mean_of_the_targets_costs_the_weight_of_each_scale():
    target = pyramid(1)
    mean = target.map(lambda value: value.mean().expand_as(value))
    for weight in (0.0, COARSE_WEIGHT, 1.0):
        loss = mapping_loss(mean, target, spreads_of(target), weight)
        assert abs(float(loss) - (1 + weight)) < 0.02
    assert 0 < COARSE_WEIGHT < 1


@pytest.mark.parametrize("kind", ["dice-ce", "bce-dice"])
def test_mask_losses_prefer_the_truth(kind):
    truth = torch.zeros(1, 3, 8, 8)
    truth[:, 0], truth[:, 0, 2:6, 2:6], truth[:, 1, 2:6, 2:6] = 1, 0, 1
    loss = mask_loss(kind)
    right, wrong = 20 * (2 * truth - 1), -20 * (2 * truth - 1)
    assert loss(right, truth) < 0.4  # the empty third class may count as missed
    assert loss(wrong, truth) > loss(torch.zeros_like(truth), truth) > loss(right, truth)


def test_the_paper_s_loss_by_hand():
    truth = torch.zeros(1, 1, 2, 2)
    truth[..., 0] = 1
    logits = torch.zeros(1, 1, 2, 2)
    # Every probability ½: BCE = ln 2, Dice = 2·1/(2+2) = ½.
    expected = 0.5 * torch.log(torch.tensor(2.0)) + 0.5 * 0.5
    torch.testing.assert_close(mask_loss("bce-dice")(logits, truth), expected, atol=1e-4, rtol=0)


def test_the_best_answer_to_a_grey_value_is_that_value():
    grey = torch.full((1, 1, 4, 4), 0.3)
    values = torch.linspace(0.02, 0.98, 49)
    losses = [image_loss()(torch.logit(torch.full_like(grey, float(v))), grey) for v in values]
    best = float(values[int(torch.stack(losses).argmin())])
    assert abs(best - 0.3) < 0.03
