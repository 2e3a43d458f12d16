"""What mixing, bias and a new order of the positions do not change: distances, the spectrum.

``z' = P (Qᵀ z + b)``. Taking the mean over the positions away removes ``b``; lengths do not see
``Q``; sorting them, or the eigenvalues of the covariance over the channels, does not see ``P``
either, whatever the key. All of them can be computed by anybody who reads protected latents. The
transform of each item in ``escrow`` (:mod:`ppcmi_sf.item_transform`) mixes the positions too, and
changes them all; the audit measures what they are still good for.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ppcmi_sf.latents import LatentPyramid


def centred(features: Tensor) -> Tensor:
    """``(N, C, H, W)`` to float64 ``(N, C, H·W)`` without each item's mean over the positions."""
    flat = features.double().flatten(2)
    return flat - flat.mean(dim=2, keepdim=True)


def norm_map(features: Tensor) -> Tensor:
    """Length of each position's centred features: ``(N, C, H, W)`` to ``(N, H·W)``."""
    lengths: Tensor = centred(features).norm(dim=1)
    return lengths


def squared_singular_values(matrices: Tensor) -> Tensor:
    """Of ``(N, C, P)``, smallest first; by the smaller Gram matrix, much faster than an SVD.

    Rounding may leave the smallest a little below 0.
    """
    small = matrices if matrices.shape[1] <= matrices.shape[2] else matrices.transpose(1, 2)
    squares: Tensor = torch.linalg.eigvalsh(small @ small.transpose(1, 2))
    return squares


def spectrum(features: Tensor) -> Tensor:
    """Singular values of each item's centred features, largest first; no more than can differ."""
    flat = centred(features)
    rank = min(flat.shape[1], max(1, flat.shape[2] - 1))
    return squared_singular_values(flat).clamp_min(0).sqrt().flip(1)[:, :rank]


def first_component(features: Tensor) -> Tensor:
    """First principal component over the positions: ``(N, C, H, W)`` to ``(N, H·W)``.

    Its sign is not determined.
    """
    flat = centred(features)
    _, directions = torch.linalg.eigh(flat @ flat.transpose(1, 2))
    return torch.einsum("nc,ncp->np", directions[:, :, -1], flat)


def signature(pyramid: LatentPyramid) -> Tensor:
    """All that mixing, bias and order do not change, were they new for each item: ``(N, F)``.

    float64; of each scale the singular values and the sorted lengths, each scaled to unit variance
    over the items by whoever compares them.
    """
    parts = []
    for features in pyramid.values():
        parts.append(spectrum(features))
        parts.append(norm_map(features).sort(dim=1, descending=True).values)
    return torch.cat(parts, dim=1)
