"""Losses, from MONAI where it has them (imported on use: it takes seconds)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeAlias

from torch import Tensor
from torch.nn import functional

from ppcmi_sf.latents import LatentPyramid

MaskLoss = Literal["dice-ce", "bce-dice"]
MappingLoss = Literal["normalised", "mse"]
ReconstructionLoss: TypeAlias = Callable[[Tensor, Tensor], Tensor]

COARSE_WEIGHT = 0.2
ALPHA = 0.5  # of the paper: α·BCE + (1−α)·Dice


def image_loss() -> ReconstructionLoss:
    """The paper's loss for images: α·BCE + (1−α)·Dice of logits and grey values in [0, 1].

    The Dice term uses squared denominators (Milletari et al., 3DV 2016): with
    plain ones its best answer to a grey value would be black or white.
    """
    return _bce_dice(squared=True)


def mask_loss(kind: MaskLoss) -> ReconstructionLoss:
    """Loss of logits ``(B, K, H, W)`` against one-hot masks of that shape.

    ``dice-ce``: softmax over the classes, Dice per foreground class plus
    cross-entropy; learns small structures much sooner. ``bce-dice``: the
    paper's, over all channels.
    """
    if kind == "bce-dice":
        return _bce_dice(squared=False)
    from monai.losses import DiceCELoss

    loss: ReconstructionLoss = DiceCELoss(softmax=True, include_background=False, batch=True)
    return loss


def _bce_dice(*, squared: bool) -> ReconstructionLoss:
    from monai.losses import DiceLoss

    dice = DiceLoss(sigmoid=True, squared_pred=squared)

    def loss(logits: Tensor, target: Tensor) -> Tensor:
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, target)
        total: Tensor = ALPHA * cross_entropy + (1 - ALPHA) * dice(logits, target)
        return total

    return loss


def mapping_loss(
    mapped: LatentPyramid,
    target: LatentPyramid,
    spreads: Mapping[str, Tensor] | None,
    coarse_weight: float = COARSE_WEIGHT,
) -> Tensor:
    """Sum over the scales of the mean squared error.

    Parameters
    ----------
    spreads
        Standard deviation of the targets per scale; each scale's error is
        divided by its square, so that no scale drowns the others. ``None``: the
        paper's plain MSE, in which all scales weigh alike.
    coarse_weight
        Weight of every scale but the finest, which is the one that a mask decoder reads.
    """
    weights, terms = scale_weights(mapped, coarse_weight), []
    for name, value in mapped.items():
        error = functional.mse_loss(value, target[name])
        if spreads is not None:
            error = error / spreads[name].square() * weights[name]
        terms.append(error)
    return sum(terms[1:], terms[0])


def scale_weights(names: Iterable[str], coarse_weight: float = COARSE_WEIGHT) -> dict[str, float]:
    """How much each scale's error counts, finest first: 1, then ``coarse_weight``."""
    return {name: coarse_weight if number else 1.0 for number, name in enumerate(names)}
