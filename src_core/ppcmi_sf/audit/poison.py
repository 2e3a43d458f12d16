"""Pairs that a site sends by a fault, or to spoil the network of all."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.training.mapping import SitePairs

Poison = Literal["not-a-number", "huge", "constant", "duplicated", "exchanged", "flipped"]

POISON_WORDS: dict[Poison, str] = {
    "not-a-number": "numbers that are none",
    "huge": "values 10 000 times too large",
    "constant": "the same value at every place",
    "duplicated": "one pair with a flipped mask, four times as often as all honest pairs together",
    "exchanged": "masks of other images",
    "flipped": "all classes of all masks exchanged",
}
HUGE = 1e4
FLOOD = 4


def poisoned(kind: Poison, honest: SitePairs, flipped: LatentPyramid, others: int) -> SitePairs:
    """What the site sends instead of its honest pairs.

    Parameters
    ----------
    honest
        The site's pairs.
    flipped
        Latents of its masks with the order of the classes reversed.
    others
        How many pairs all other sites send, for a flood.
    """
    inputs, targets = honest.inputs, honest.targets
    if kind == "not-a-number":
        inputs = inputs.map(lambda value: torch.full_like(value, float("nan")))
    elif kind == "huge":
        inputs, targets = inputs.map(_enlarged), targets.map(_enlarged)
    elif kind == "constant":
        inputs, targets = inputs.map(torch.ones_like), targets.map(torch.ones_like)
    elif kind == "duplicated":
        index = torch.zeros(FLOOD * others, dtype=torch.int64)
        inputs, targets = inputs.items_at(index), flipped.items_at(index)
    elif kind == "exchanged":
        index = torch.roll(torch.arange(inputs.batch_size), inputs.batch_size // 2)
        targets = targets.items_at(index)
    else:
        targets = flipped
    return SitePairs(inputs, targets, np.zeros(inputs.batch_size, dtype=np.bool_))


def _enlarged(value: Tensor) -> Tensor:
    return value * HUGE


def flip_classes(labels: Tensor, class_count: int) -> Tensor:
    """Reverse the order of the classes: the background becomes the last, and so on."""
    flipped: Tensor = class_count - 1 - labels.long()
    return flipped
