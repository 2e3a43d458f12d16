"""Find the order of scrambled positions by comparing them with images of the same kind.

An attacker with public images knows which places of such images go together: that makes a graph of
likenesses between places. The scrambled positions have such a graph, too, in an unknown order. To
lay the one over the other is the quadratic assignment problem.

Source: Vogelstein et al., "Fast approximate quadratic programming for graph matching", PLoS ONE
10(4), 2015; started from what each position's likenesses look like by themselves.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ppcmi_sf.audit.invariants import norm_map
from ppcmi_sf.audit.neighbours import Places, likeness_over_items
from ppcmi_sf.progress import Job, Progress

QUANTILES = 17
CERTAINTY = 0.5  # of the start; the rest is spread evenly
MOST_PLACES = 1024  # a step is of their third power

Matrix = npt.NDArray[np.float64]


def match_layout(features: Tensor, public: Tensor, rounds: int) -> Job[Places]:
    """Guess where each position lies, from public features of the same kind.

    Parameters
    ----------
    features
        Protected latents ``(N, C, H, W)`` with one unknown order of the positions.
    public
        Latents of public images by the attacker's own encoder, in order, ``(M, C, H, W)``.
    rounds
        Steps of the graph matching.

    Returns
    -------
    A place in [0, H·W) for each position, each once.
    """
    ours = likeness_over_items(features.flatten(2))
    theirs = likeness_over_items(public.flatten(2))
    apart = torch.cdist(_portrait(ours, features), _portrait(theirs, public)).numpy()
    yield Progress(0, rounds, "matching positions")
    count = len(apart)
    start = np.zeros((count, count))
    start[linear_sum_assignment(apart)] = 1
    guess = CERTAINTY * start + (1 - CERTAINTY) / count
    first, second = (_without_diagonal(alike) for alike in (ours, theirs))
    for number in range(rounds):
        yield Progress(number, rounds, "matching positions")
        direction = np.zeros_like(guess)
        slope = first @ guess @ second
        direction[linear_sum_assignment(-slope)] = 1
        direction -= guess
        yield Progress(number, rounds, "matching positions")
        step = _step(slope, first @ direction @ second, direction)
        guess += step * direction
        if step < 1e-3:
            break
    return np.asarray(linear_sum_assignment(-guess)[1], dtype=np.intp)


def _step(slope: Matrix, change: Matrix, direction: Matrix) -> float:
    """How far to go for the best agreement, in [0, 1]: the maximum of a parabola."""
    square = float((change * direction).sum())
    linear = 2 * float((slope * direction).sum())
    if square >= 0:
        return 1.0 if square + linear > 0 else 0.0
    return min(1.0, max(0.0, -linear / (2 * square)))


def _without_diagonal(alike: Tensor) -> Matrix:
    matrix: Matrix = alike.numpy().copy()
    np.fill_diagonal(matrix, 0.0)
    return matrix


def _portrait(alike: Tensor, features: Tensor) -> Tensor:
    """What a position is like, whatever its number: its likenesses, and its lengths."""
    at = torch.linspace(0.02, 0.98, QUANTILES, dtype=alike.dtype)
    lengths = norm_map(features)
    lengths = lengths / lengths.mean(dim=1, keepdim=True).clamp_min(1e-12)
    parts = [
        torch.quantile(alike, at, dim=1).T,
        lengths.mean(dim=0)[:, None],
        lengths.std(dim=0, correction=0)[:, None],
    ]
    values = torch.cat(parts, dim=1)
    return (values - values.mean(dim=0)) / values.std(dim=0, correction=0).clamp_min(1e-12)
