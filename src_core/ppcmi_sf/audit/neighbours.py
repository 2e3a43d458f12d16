"""Lay scrambled positions out again: which of them go together, and a map made of that.

Neighbouring places of an image look alike, so do the features there. Neither mixing nor bias
changes how alike two positions are, and a new order of the positions only renames them.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

Places = npt.NDArray[np.intp]

NEAREST = 4
GRAPH_NEIGHBOURS = 8
TURNS = 16


def likeness_over_items(features: Tensor) -> Tensor:
    """How alike two positions are over many items, with one transform for all of them.

    Parameters
    ----------
    features
        Protected latents ``(N, C, H·W)``, two items or more.

    Returns
    -------
    Correlations ``(H·W, H·W)``, float64 in [-1, 1], about each position's mean over the items.
    """
    values = features.double()
    values = values - values.mean(dim=0, keepdim=True)
    # what all positions of an item have in common says nothing of neighbours
    values = values - values.mean(dim=2, keepdim=True)
    return _correlations(values.flatten(0, 1))


def likeness_within(features: Tensor) -> Tensor:
    """How alike two positions of one item are: ``(C, H·W)`` to ``(H·W, H·W)`` in [-1, 1]."""
    values = features.double()
    return _correlations(values - values.mean(dim=1, keepdim=True))


def _correlations(values: Tensor) -> Tensor:
    unit = values / values.norm(dim=0, keepdim=True).clamp_min(1e-12)
    products: Tensor = unit.T @ unit
    return products


def neighbour_precision(alike: Tensor, places: Places, shape: tuple[int, int]) -> float:
    """Share of the pairs taken for neighbours that touch each other, by a side or a corner.

    Parameters
    ----------
    alike
        ``(H·W, H·W)``; of each position the four most alike are taken.
    places
        Where each position really lies, as a number in [0, H·W).
    shape
        H and W.
    """
    scores = alike.clone()
    scores.fill_diagonal_(-math.inf)
    taken = scores.topk(NEAREST, dim=1).indices.numpy()
    rows, columns = np.divmod(places, shape[1])
    apart = np.maximum(
        np.abs(rows[taken] - rows[:, None]), np.abs(columns[taken] - columns[:, None])
    )
    return float((apart == 1).mean())


def chance_precision(shape: tuple[int, int]) -> float:
    """What guessing gives for :func:`neighbour_precision`."""
    rows, columns = shape
    touching = (rows - 1) * columns + rows * (columns - 1) + 2 * (rows - 1) * (columns - 1)
    places = rows * columns
    return 2 * touching / (places * (places - 1))


def lay_out(alike: Tensor, shape: tuple[int, int]) -> Places:
    """Guess where each position lies, up to a turn by right angles or a reflection.

    The two slowest modes of the graph of nearest neighbours (Laplacian eigenmaps) are spread
    evenly over a grid, in several turns; the one in which neighbours are most alike is taken.

    Returns
    -------
    A place in [0, H·W) for each position, each once.
    """
    points, similar = _slow_modes(alike), alike.numpy()
    best, best_score = np.arange(len(points)), -math.inf
    for turn in range(TURNS):
        angle = math.pi * turn / TURNS
        turned = points @ np.array(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        places = _on_grid(turned, shape)
        score = _agreement(similar, places, shape)
        if score > best_score:
            best, best_score = places, score
    return np.asarray(best, dtype=np.intp)


def _on_grid(points: npt.NDArray[np.float64], shape: tuple[int, int]) -> Places:
    """Rows by the first coordinate, and within a row by the second."""
    places = np.empty(len(points), dtype=np.intp)
    by_first = np.argsort(points[:, 0], kind="stable").reshape(shape)
    for row, members in enumerate(by_first):
        by_second = members[np.argsort(points[members, 1], kind="stable")]
        places[by_second] = row * shape[1] + np.arange(shape[1])
    return places


def _slow_modes(alike: Tensor) -> npt.NDArray[np.float64]:
    """Second and third eigenvector of the graph of nearest neighbours, each of unit variance."""
    scores = alike.clone()
    scores.fill_diagonal_(-math.inf)
    near = scores.topk(GRAPH_NEIGHBOURS, dim=1).indices
    graph = torch.zeros_like(alike).scatter_(1, near, 1.0)
    graph = torch.maximum(graph, graph.T) + 1e-6  # keeps islands together
    root = graph.sum(dim=1).rsqrt()
    _, vectors = torch.linalg.eigh(root[:, None] * graph * root[None, :])
    modes = (vectors[:, [-2, -3]] * root[:, None]).numpy()
    modes = modes - modes.mean(axis=0)
    return np.asarray(modes / np.maximum(modes.std(axis=0), 1e-12), dtype=np.float64)


def _agreement(alike: npt.NDArray[np.float64], places: Places, shape: tuple[int, int]) -> float:
    """How alike those are that lie side by side in a layout."""
    at = np.empty(len(places), dtype=np.intp)
    at[places] = np.arange(len(places))
    grid = at.reshape(shape)
    across = alike[grid[:, :-1], grid[:, 1:]].sum()
    down = alike[grid[:-1], grid[1:]].sum()
    return float(across + down)


def laid_out(values: npt.NDArray[np.float64], places: Places) -> npt.NDArray[np.float64]:
    """Values of positions, put where they are thought to lie; both ``(H·W,)``."""
    result = np.empty_like(values)
    result[places] = values
    return result


def symmetries(picture: npt.NDArray[np.float64]) -> list[npt.NDArray[np.float64]]:
    """A square picture turned and reflected in all eight ways (one that is not square: in four)."""
    square = picture.shape[0] == picture.shape[1]
    turned = [np.rot90(picture, turn) for turn in (range(4) if square else (0, 2))]
    return turned + [one[:, ::-1] for one in turned]


def shrink(pictures: npt.NDArray[np.float32], shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Average pictures ``(N, H, W)`` down to the size of the features."""
    small = functional.adaptive_avg_pool2d(torch.from_numpy(pictures)[:, None].double(), shape)
    return np.asarray(small[:, 0].numpy(), dtype=np.float64)


def correlation(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> float:
    """Pearson's |r|; 0 where one of the two is of a single value."""
    first, second = one.ravel() - one.mean(), other.ravel() - other.mean()
    lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
    return abs(float(first @ second)) / lengths if lengths > 1e-9 else 0.0
