"""Images from latents by kernel regression: an attack that needs no training and no key.

A kernel of distances does not see an orthogonal transform, nor an order of the positions, so long
as all items have the same one. What comes out is a mixture of the known images.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppcmi_sf.latents import LatentPyramid

WIDTHS = (0.3, 0.6, 1.2, 2.4)  # of the kernel, in medians of the distances
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def regress(
    known: LatentPyramid, images: npt.NDArray[np.float32], attacked: LatentPyramid
) -> npt.NDArray[np.float32]:
    """Guess the images of attacked latents from known pairs.

    Kernel ridge regression with a Gaussian kernel (Saunders et al., ICML 1998) about the mean of
    the known images. Width and ridge are those that do best when each known item is left out.

    Parameters
    ----------
    known, attacked
        Protected latents of n and of N items.
    images
        Of the known items, ``(n, H, W)`` in [0, 1].

    Returns
    -------
    float32 ``(N, H, W)`` in [0, 1]; the mean image where fewer than three pairs are known.
    """
    values = torch.from_numpy(images).double().flatten(1)
    mean = values.mean(dim=0)
    count = len(values)
    guess = mean.expand(attacked.batch_size, -1)
    if count >= 3:
        inside, across = _distances(known, known), _distances(attacked, known)
        median = inside[~torch.eye(count, dtype=torch.bool)].median().clamp_min(1e-12)
        centred = values - mean
        short = _same_products(centred)
        tries = [
            (*_left_out((-((inside / (width * median)) ** 2)).exp(), ridge, short), width)
            for width in WIDTHS
            for ridge in RIDGES
        ]
        _, inverse, width = min(tries, key=lambda entry: entry[0])
        guess = mean + (-((across / (width * median)) ** 2)).exp() @ inverse @ centred
    shape = (attacked.batch_size, *images.shape[1:])
    return np.asarray(guess.clamp(0, 1).reshape(shape).float().numpy(), dtype=np.float32)


def _distances(first: LatentPyramid, second: LatentPyramid) -> Tensor:
    """Distances of items over all scales, each scale weighing alike: ``(N, M)``."""
    total = torch.zeros(first.batch_size, second.batch_size, dtype=torch.float64)
    for name, value in second.items():
        one, other = first[name].double().flatten(1), value.double().flatten(1)
        spread = (other - other.mean(dim=0)).square().sum(dim=1).mean().clamp_min(1e-12)
        total += torch.cdist(one, other).square() / spread
    return total.sqrt()


def _same_products(values: Tensor) -> Tensor:
    """``(n, P)`` to ``(n, n)`` with the same inner products: as good for errors, and short."""
    lengths, axes = torch.linalg.eigh(values @ values.T)
    short: Tensor = axes * lengths.clamp_min(0).sqrt()
    return short


def _left_out(kernel: Tensor, ridge: float, values: Tensor) -> tuple[float, Tensor]:
    """Squared error when each item is left out (in closed form), and the inverse of the kernel."""
    inverse = torch.linalg.inv(kernel + ridge * torch.eye(len(kernel), dtype=kernel.dtype))
    residual = inverse @ values / inverse.diagonal()[:, None]
    return float(residual.square().sum()), inverse
