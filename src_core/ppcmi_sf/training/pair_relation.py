"""Whether a site's masks have anything to do with its images, seen from the latents alone.

A mapping network can only learn what is there: images that resemble each other have masks that
do. The Mantel test (Cancer Research 27, 1967) asks for that: the distances between the items' image
latents are correlated with those between their mask latents, and compared with what comes out when
the masks are dealt out at random. Distances do not change when latents are turned or shifted, so a
``blind`` server can do it, too.

On sunnybrook (three sites of 55 to 60 slices of 256 × 256) the right masks were 6 to 9 standard
deviations from random ones.

What it cannot see: a site that changes *every* mask in one way (all classes exchanged, all masks
moved). The relation is then as good as before, only another one, and since every site has
autoencoders of its own there is nothing to compare it with.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ppcmi_sf.latents import LatentPyramid

GRID = 8
DEALS = 200
MIN_ITEMS = 24
MAX_ITEMS = 400


@dataclass(frozen=True)
class Relation:
    """How images and masks of a site belong together.

    Attributes
    ----------
    correlation
        Of the distances between images with those between masks, in [-1, 1].
    deviations
        How many standard deviations it is above that of masks dealt out at random: about 0 where
        masks and images have nothing to do with each other.
    items
        How many were looked at.
    """

    correlation: float
    deviations: float
    items: int


def relate(inputs: LatentPyramid, targets: LatentPyramid, seed: int = 0) -> Relation | None:
    """Measure it; ``None`` where there are too few items to tell.

    Parameters
    ----------
    inputs, targets
        Image and mask latents of a site, N items each; at most 400, evenly chosen, are used.
    seed
        Of the random dealing.
    """
    count = min(MAX_ITEMS, inputs.batch_size)
    if count < MIN_ITEMS:
        return None
    chosen = torch.from_numpy(np.linspace(0, inputs.batch_size - 1, count).round().astype(np.int64))
    images, masks = (_distances(pyramid, chosen) for pyramid in (inputs, targets))
    scale = images.norm() * masks.norm()
    if float(scale) < 1e-9:
        return Relation(0.0, 0.0, count)
    rng = np.random.default_rng(seed)
    dealt = []
    for _ in range(DEALS):
        order = torch.from_numpy(rng.permutation(count))
        dealt.append(float((images * masks[order][:, order]).sum() / scale))
    correlation = float((images * masks).sum() / scale)
    spread = max(float(np.std(dealt)), 1e-9)
    return Relation(correlation, (correlation - float(np.mean(dealt))) / spread, count)


def _distances(pyramid: LatentPyramid, chosen: Tensor) -> Tensor:
    """Distances between items at the finest scale, centred in rows and columns, diagonal 0."""
    finest = next(iter(pyramid.values()))[chosen]
    grid = (min(GRID, finest.shape[2]), min(GRID, finest.shape[3]))
    flat = functional.adaptive_avg_pool2d(finest.float(), grid).flatten(1)
    distances = torch.cdist(flat, flat)
    centred = distances - distances.mean(dim=0) - distances.mean(dim=1, keepdim=True)
    centred = centred + distances.mean()
    return centred.fill_diagonal_(0.0)
