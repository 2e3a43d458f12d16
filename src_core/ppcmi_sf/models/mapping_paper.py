"""The ``paper`` trunk (arXiv 2603.05541): one mapping block per scale, each alone.

A block is an inverted hierarchy: it first goes up in size (bilinear) while its
channels double, to four times the input's (1024 at the bottleneck), takes in
global context with a pyramid pooling module, and comes down again by max
pooling with skip connections to the way up.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.blocks import ConvNormRelu, PyramidPooling, upsample
from ppcmi_sf.study import ScaleSpec


def _double(channels_in: int, channels_out: int) -> nn.Sequential:
    return nn.Sequential(
        ConvNormRelu(channels_in, channels_out), ConvNormRelu(channels_out, channels_out)
    )


class MappingBlock(nn.Module):
    """``(B, C, H, W)`` to the same shape through 2C at 2H×2W and 4C at 4H×4W."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.level_0 = _double(channels, channels)
        self.level_1 = _double(channels, 2 * channels)
        self.level_2 = _double(2 * channels, 4 * channels)
        self.context = PyramidPooling(4 * channels)
        self.back_1 = _double(4 * channels + 2 * channels, 2 * channels)
        self.back_0 = _double(2 * channels + channels, channels)
        self.leave = nn.Conv2d(channels, channels, 1)

    def forward(self, latents: Tensor) -> Tensor:
        """Map one scale of a batch."""
        rows, columns = latents.shape[-2:]
        at_0 = self.level_0(latents)
        at_1 = self.level_1(upsample(at_0, (2 * rows, 2 * columns)))
        at_2 = self.context(self.level_2(upsample(at_1, (4 * rows, 4 * columns))))
        at_1 = self.back_1(torch.cat([functional.max_pool2d(at_2, 2), at_1], dim=1))
        at_0 = self.back_0(torch.cat([functional.max_pool2d(at_1, 2), at_0], dim=1))
        mapped: Tensor = self.leave(at_0)
        return mapped


class PaperTrunk(nn.Module):
    """Latent pyramid to latent pyramid of the same shapes, scale by scale."""

    def __init__(self, scales: Sequence[ScaleSpec]) -> None:
        super().__init__()
        self.blocks = nn.ModuleDict({scale.name: MappingBlock(scale.channels) for scale in scales})

    def forward(self, pyramid: LatentPyramid) -> LatentPyramid:
        """Map a batch."""
        return LatentPyramid({name: block(pyramid[name]) for name, block in self.blocks.items()})
