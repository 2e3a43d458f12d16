"""Noise on latents while a network trains on them, so that it tolerates what is not exact."""

from __future__ import annotations

import torch
from torch import Tensor

from ppcmi_sf.latents import LatentPyramid


class TrainingNoise:
    """Noise on the latents of training batches, a function of seed and epoch.

    Parameters
    ----------
    level
        See :func:`noisy`; at 0 latents stay as they are.
    """

    def __init__(self, level: float, seed: int) -> None:
        self._level, self._seed = level, seed
        self._generator = torch.Generator(device="cpu")

    def begin(self, epoch: int) -> None:
        """Draw from the beginning of an epoch (counted from 0)."""
        self._generator.manual_seed(self._seed * 1_000_003 + epoch)

    def __call__(self, pyramid: LatentPyramid) -> LatentPyramid:
        """Latents with fresh noise."""
        if self._level <= 0:
            return pyramid
        return pyramid.map(lambda value: noisy(value, self._level, self._generator))


def noisy(latents: Tensor, level: float, generator: torch.Generator) -> Tensor:
    """Latents ``(B, C, H, W)`` with Gaussian noise.

    Parameters
    ----------
    level
        Standard deviation, in units of each channel's own spread over the batch.
    generator
        On the CPU, so that a seed gives the same noise on every device.
    """
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    # A channel of a single value has no spread: no noise then, and not NaN.
    spread = latents.detach().std(dim=(0, 2, 3), keepdim=True, correction=0)
    return latents + level * spread * noise
