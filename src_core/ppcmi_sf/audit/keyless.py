"""What anybody can compute from protected latents without a key, as numbers to compare items by.

Some of it is invariant under mixing, bias and a new order of the positions, whatever the key (see
:mod:`ppcmi_sf.audit.invariants`). The rest is comparable only where two items went through one and
the same transform, and costs nothing to try.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ppcmi_sf.audit.invariants import centred, squared_singular_values
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import Job, Progress

CHUNK = 8
QUANTILES = 32
MOST_PLACES = 256  # distances between all positions, up to so many positions


def features(pyramid: LatentPyramid) -> Job[dict[str, Tensor]]:
    """Features of each item by their name, ``(N, F)`` float64 each.

    Parameters
    ----------
    pyramid
        Latents of N items, protected or not.
    """
    parts: dict[str, list[Tensor]] = {}
    for start in range(0, pyramid.batch_size, CHUNK):
        yield Progress(start, pyramid.batch_size, "computing features without a key")
        for name, values in _features(pyramid.items_at(slice(start, start + CHUNK))).items():
            parts.setdefault(name, []).append(values)
    return {name: torch.cat(values) for name, values in parts.items()}


def _features(pyramid: LatentPyramid) -> dict[str, Tensor]:
    found: dict[str, list[Tensor]] = {}
    for latents in pyramid.values():
        flat, about_mean = latents.double().flatten(2), centred(latents)
        means, deviations = flat.mean(dim=2), about_mean.square().mean(dim=2).sqrt()
        for name, values in (
            ("singular values", _singular_values(about_mean)),
            ("sorted lengths about the mean", about_mean.norm(dim=1).sort(dim=1).values),
            ("sorted lengths", flat.norm(dim=1).sort(dim=1).values),
            ("sorted means and spreads of the channels", _sorted(means, deviations)),
            ("means and spreads of the channels", torch.cat([means, deviations], dim=1)),
        ):
            found.setdefault(name, []).append(values)
        if flat.shape[2] <= MOST_PLACES:
            found.setdefault("sorted distances between positions", []).append(_distances(flat))
    joined = {name: torch.cat(values, dim=1) for name, values in found.items()}
    coarsest = list(pyramid.values())[-1]
    return joined | {"the values themselves": coarsest.double().flatten(1)}


def _singular_values(about_mean: Tensor) -> Tensor:
    """Logarithms of the singular values."""
    squares = squared_singular_values(about_mean)
    largest = squares[:, -1:].clamp_min(1e-12)
    return squares.clamp_min(1e-9 * largest).log() / 2


def _sorted(*values: Tensor) -> Tensor:
    return torch.cat([one.sort(dim=1).values for one in values], dim=1)


def _distances(flat: Tensor) -> Tensor:
    """Quantiles of the distances between all positions of an item."""
    places = flat.transpose(1, 2)
    rows, columns = np.triu_indices(places.shape[1], 1)
    between = torch.cdist(places, places)[:, rows, columns]
    if not between.shape[1]:
        return torch.zeros(len(flat), 1, dtype=torch.float64)
    steps = np.linspace(0, between.shape[1] - 1, QUANTILES).round().astype(np.int64)
    return between.sort(dim=1).values[:, torch.from_numpy(steps)]


def standardised(values: Tensor, reference: Tensor) -> Tensor:
    """Each column about the mean of ``reference``, in units of its spread."""
    return (values - reference.mean(dim=0)) / reference.std(dim=0).clamp_min(1e-9)
