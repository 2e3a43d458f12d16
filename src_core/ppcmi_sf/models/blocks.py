"""Building blocks that the autoencoders and the mapping networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ConvNorm(nn.Sequential):
    """Convolution (3×3 unless told) and batch normalisation, without activation."""

    def __init__(self, channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1):
        super().__init__(
            nn.Conv2d(
                channels_in, channels_out, kernel, stride=stride, padding=kernel // 2, bias=False
            ),
            nn.BatchNorm2d(channels_out),
        )


class ConvNormRelu(nn.Sequential):
    """:class:`ConvNorm` with a ReLU."""

    def __init__(self, channels_in: int, channels_out: int, *, kernel: int = 3, stride: int = 1):
        super().__init__(
            ConvNorm(channels_in, channels_out, kernel=kernel, stride=stride),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions around an identity (He et al., CVPR 2016)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvNormRelu(channels, channels), ConvNorm(channels, channels))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        return functional.relu(features + self.body(features))


class PyramidPooling(nn.Module):
    """Pyramid pooling module (Zhao et al., CVPR 2017): context from several grids.

    Each branch averages the features over its own grid (1×1, 3×3, 5×5, 7×7),
    projects them to a quarter of the channels and is stretched back; all
    branches and the input are then fused to C channels.
    """

    def __init__(self, channels: int, grids: tuple[int, ...] = (1, 3, 5, 7)) -> None:
        super().__init__()
        self.grids = grids
        reduced = channels // len(grids)
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, reduced, 1), nn.ReLU(inplace=True)) for _ in grids
        )
        self.fuse = ConvNormRelu(channels + reduced * len(grids), channels, kernel=1)

    def pooled(self, features: Tensor) -> list[Tensor]:
        """Averages per branch: ``(B, C, g, g)`` for each grid g."""
        return [functional.adaptive_avg_pool2d(features, grid) for grid in self.grids]

    def forward(self, features: Tensor) -> Tensor:
        """``(B, C, H, W)`` to the same shape."""
        branches = [
            upsample(project(pool), features.shape[-2:])
            for project, pool in zip(self.projections, self.pooled(features), strict=True)
        ]
        fused: Tensor = self.fuse(torch.cat([features, *branches], dim=1))
        return fused


def upsample(features: Tensor, size: torch.Size | tuple[int, int]) -> Tensor:
    """Bilinear resize to ``size`` (rows, columns), half-pixel centres."""
    return functional.interpolate(features, size=tuple(size), mode="bilinear", align_corners=False)
