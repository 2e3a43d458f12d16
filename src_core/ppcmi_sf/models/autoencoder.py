"""Skip-connected convolutional autoencoders for images and for masks.

The encoder has stride-2 stages, five in the paper's preset and four in ``fine``. Its last three
outputs, before the activation, are the latent pyramid: ``skip3`` (H/8), ``skip4`` (H/16) and
``bottleneck`` (H/32), in ``fine`` ``skip2`` (H/4), ``skip3`` (H/8) and ``bottleneck`` (H/16). The
decoder reads all of them; without skips (the Privacy-SF form, Chen et al.,
doi 10.1016/j.imavis.2024.105246) only the last.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.blocks import ConvNorm, ConvNormRelu
from ppcmi_sf.study import AUTOENCODER_WIDTHS, StudySpec


class Encoder(nn.Module):
    """``(B, C, H, W)`` in [0, 1] to a latent pyramid.

    Parameters
    ----------
    channels
        Input channels: the image's, or K for one-hot masks.
    study
        Decides the stages' widths, and which of them belong to the pyramid.
    """

    def __init__(self, channels: int, study: StudySpec) -> None:
        super().__init__()
        self.names = [scale.name for scale in study.scales]
        stages = []
        for width in AUTOENCODER_WIDTHS[study.autoencoder]:
            stages.append(
                nn.Sequential(ConvNormRelu(channels, width, stride=2), ConvNorm(width, width))
            )
            channels = width
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> LatentPyramid:
        """Encode a batch."""
        latents = []
        features = images
        for stage in self.stages:
            latents.append(stage(features))
            features = functional.relu(latents[-1])
        return LatentPyramid(dict(zip(self.names, latents[-len(self.names) :], strict=True)))


class _UpStep(nn.Module):
    """Reduce channels, double the size, join the skip where there is one, convolve."""

    def __init__(self, channels_in: int, channels_skip: int, channels_out: int) -> None:
        super().__init__()
        self.reduce = ConvNormRelu(channels_in, channels_out, kernel=1)
        self.convolve = ConvNormRelu(channels_out + channels_skip, channels_out)

    def forward(self, features: Tensor, skip: Tensor | None = None) -> Tensor:
        features = functional.interpolate(self.reduce(features), scale_factor=2.0, mode="nearest")
        if skip is not None:
            features = torch.cat([features, skip], dim=1)
        convolved: Tensor = self.convolve(features)
        return convolved


class Decoder(nn.Module):
    """A latent pyramid to logits ``(B, channels, H, W)``; the mirror of :class:`Encoder`."""

    def __init__(self, channels: int, study: StudySpec) -> None:
        super().__init__()
        widths = AUTOENCODER_WIDTHS[study.autoencoder]
        self.names = [scale.name for scale in study.scales]
        self.steps: list[str] = []  # by name, as files of weights name them
        finest = len(widths) - len(self.names) + 1  # the first stage that is exchanged
        for stage in range(len(widths) - 1, 0, -1):
            skip = widths[stage - 1] if stage >= finest else 0
            self.steps.append(f"to_{2**stage}")
            self.add_module(self.steps[-1], _UpStep(widths[stage], skip, widths[stage - 1]))
        # Not a sub-pixel convolution: with few images, one of its four phases can lose a class.
        self.head = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(widths[0], channels, 3, padding=1),
        )

    def forward(self, pyramid: LatentPyramid) -> Tensor:
        """Decode a batch."""
        *skips, bottleneck = self.names
        features = pyramid[bottleneck]
        for step in self.steps:
            features = getattr(self, step)(features, pyramid[skips.pop()] if skips else None)
        logits: Tensor = self.head(features)
        return logits


class Autoencoder(nn.Module):
    """Encoder and decoder of one role at one site.

    Parameters
    ----------
    study
        Decides widths, skips and channels.
    role
        ``image``: input and reconstruction have the study's channels.
        ``mask``: input is one-hot over the K classes, output is logits over them.
    """

    def __init__(self, study: StudySpec, role: str) -> None:
        super().__init__()
        self.role = role
        channels = study.channels if role == "image" else study.class_count
        self.encoder = Encoder(channels, study)
        self.decoder = Decoder(channels, study)

    def encode(self, images: Tensor) -> LatentPyramid:
        """``(B, C, H, W)`` to its latent pyramid."""
        pyramid: LatentPyramid = self.encoder(images)
        return pyramid

    def decode(self, pyramid: LatentPyramid) -> Tensor:
        """Pyramid to grey values in [0, 1] (image) or class probabilities (mask)."""
        logits: Tensor = self.decoder(pyramid)
        return torch.sigmoid(logits) if self.role == "image" else torch.softmax(logits, dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstruct: ``(B, C, H, W)`` to logits of the same shape."""
        logits: Tensor = self.decoder(self.encoder(images))
        return logits


def one_hot(labels: Tensor, class_count: int) -> Tensor:
    """Class indices ``(B, H, W)`` to float32 ``(B, K, H, W)``."""
    encoded = functional.one_hot(labels.long(), class_count)
    return encoded.permute(0, 3, 1, 2).float().contiguous()
