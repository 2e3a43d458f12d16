"""CutMix of latents: a rectangle of a pair, in image and mask latents alike, is another pair's.

A latent cannot be turned or scaled afterwards, but it lies where its part of the image lies, so it
can be cut. The network then hardly sees a pair twice as it is, however few copies a site sends.

Sources: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable
Features", ICCV 2019; for segmentation French et al., "Semi-supervised semantic segmentation needs
strong, varied perturbations", BMVC 2020. Both cut images.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppcmi_sf.latents import LatentPyramid

SIDES = (0.25, 0.625)  # of a rectangle, as shares of the image's


def cut_mix(
    inputs: LatentPyramid, targets: LatentPyramid, share: float, rng: np.random.Generator
) -> tuple[LatentPyramid, LatentPyramid]:
    """Give a batch of one site's pairs in which some have a rectangle of another one.

    Parameters
    ----------
    inputs, targets
        Image and mask latents of the same items, positions where they are in the image.
    share
        How likely an item gets a rectangle, 0 to 1.
    rng
        Draws the items and where their rectangles are: whole cells of the coarsest scale.
    """
    if inputs.batch_size < 2 or share <= 0:
        return inputs, targets
    coarsest = min(inputs.values(), key=lambda value: value.shape[-1])
    cells = torch.from_numpy(_rectangles(coarsest.shape, share, rng)).to(coarsest.device)
    mixed = [pyramid.map(lambda value: _mixed(value, cells)) for pyramid in (inputs, targets)]
    return mixed[0], mixed[1]


def _rectangles(shape: torch.Size, share: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Cells ``(B, 1, H, W)`` that come from another item."""
    items, _, *grid = shape
    cells = np.zeros((items, 1, *grid), np.bool_)
    for item in np.flatnonzero(rng.random(items) < share):
        sides = [max(1, round(side * rng.uniform(*SIDES))) for side in grid]
        top, left = (rng.integers(0, side - own + 1) for side, own in zip(grid, sides, strict=True))
        cells[item, 0, top : top + sides[0], left : left + sides[1]] = True
    return cells


def _mixed(value: Tensor, cells: Tensor) -> Tensor:
    """A rectangle comes from the item before, so each item gives to one other at most."""
    rows, columns = (value.shape[axis] // cells.shape[axis] for axis in (2, 3))
    there = cells.repeat_interleave(rows, dim=2).repeat_interleave(columns, dim=3)
    return torch.where(there, value.roll(1, dims=0), value)
