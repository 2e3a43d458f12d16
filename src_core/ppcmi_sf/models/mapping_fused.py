"""The ``fused`` trunk: one network over all scales, information flowing both ways.

A small residual U-Net whose every level takes in the latents of its scale on
the way down and gives out what it made of them on the way up, so the fine scale knows
the context and the coarse scale the detail.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.blocks import ConvNormRelu, ResidualBlock, upsample
from ppcmi_sf.study import ScaleSpec


class FusedTrunk(nn.Module):
    """Latent pyramid to mask latents, or to features, of the same heights and widths.

    Parameters
    ----------
    scales
        Finest first; each half the size of the one before.
    widths
        Channels of each level. Levels beyond the scales have no latents of their own; they are
        context for the finer ones.
    coarse_blocks
        Residual blocks at the coarsest level.
    read_out
        Whether it reads the mask latents out of its features, in one way for every site. If not,
        it gives these features, of as many channels as ``widths`` says.
    """

    def __init__(
        self,
        scales: Sequence[ScaleSpec],
        widths: Sequence[int],
        *,
        coarse_blocks: int = 2,
        read_out: bool = True,
    ) -> None:
        super().__init__()
        self.names = [scale.name for scale in scales]
        taken = [scale.channels for scale in scales] + [0] * (len(widths) - len(scales))
        self.enter = nn.ModuleList(
            # At the coarser levels 1×1 is enough: what comes down has seen its neighbours, and
            # residual blocks follow. 3×3 would cost a fifth of all weights.
            ConvNormRelu(
                channels + (widths[level - 1] if level else 0),
                width,
                kernel=1 if level else 3,
            )
            for level, (channels, width) in enumerate(zip(taken, widths, strict=True))
        )
        blocks = [1] * (len(widths) - 1) + [coarse_blocks]
        self.down_blocks = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(count)))
            for width, count in zip(widths, blocks, strict=True)
        )
        self.up_merge = nn.ModuleList(
            ConvNormRelu(fine + coarse, fine, kernel=1) for fine, coarse in pairwise(widths)
        )
        self.up_blocks = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.leave = nn.ModuleList(
            nn.Conv2d(width, scale.channels, 1) if read_out else nn.Identity()
            for scale, width in zip(scales, widths, strict=False)
        )
        self.halve = nn.AvgPool2d(2)

    def forward(self, pyramid: LatentPyramid) -> LatentPyramid:
        """Map a batch."""
        levels: list[Tensor] = []
        for level, (enter, blocks) in enumerate(zip(self.enter, self.down_blocks, strict=True)):
            taken = [pyramid[name] for name in self.names[level : level + 1]]
            if levels:
                taken.append(self.halve(levels[-1]))
            levels.append(blocks(enter(torch.cat(taken, dim=1))))
        for level in reversed(range(len(levels) - 1)):
            coarse = upsample(levels[level + 1], levels[level].shape[-2:])
            merged = self.up_merge[level](torch.cat([levels[level], coarse], dim=1))
            levels[level] = self.up_blocks[level](merged)
        return LatentPyramid(
            {
                name: leave(features)
                for name, leave, features in zip(self.names, self.leave, levels, strict=False)
            }
        )
