"""Noise on latents while a network trains on them, so that it tolerates what is not exact."""

from __future__ import annotations

import torch
from torch import Tensor


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
