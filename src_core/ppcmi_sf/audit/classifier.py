"""A small classifier for an attacker: ridge regression on ±1, tested on other patients.

With fewer items than features, as here, ridge regression in its dual form does what logistic
regression does, has one answer, and needs no iteration (Rifkin, Yeo and Poggio, 2003).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppcmi_sf.audit.keyless import standardised
from ppcmi_sf.progress import Job, Progress

Labels = npt.NDArray[np.bool_]
Groups = npt.NDArray[np.int64]

RIDGE = 1.0
FOLDS = 4


def predict(features: Tensor, labels: Labels, asked: Tensor) -> Labels:
    """Fit on items with known labels, and answer for others.

    Parameters
    ----------
    features, asked
        float64 ``(N, F)`` and ``(M, F)``.
    labels
        bool ``(N,)``.

    Returns
    -------
    bool ``(M,)``. Both classes weigh alike, however many items each has.
    """
    if labels.all() or not labels.any():
        return np.full(len(asked), bool(labels.any()), dtype=np.bool_)
    known, other = (standardised(values, features) for values in (features, asked))
    scale = known.shape[1] ** -0.5
    known, other = known * scale, other * scale
    truth = torch.from_numpy(labels)
    weights = torch.where(truth, 0.5 / truth.double().mean(), 0.5 / (~truth).double().mean())
    target = torch.where(truth, 1.0, -1.0).double()
    middle = float((weights * target).mean())
    kernel = known @ known.T
    # where all known items are alike the kernel is 0, and nothing is left but the middle
    ridge = RIDGE * kernel.diagonal().mean().clamp_min(1e-12) * torch.diag(1 / weights)
    dual = torch.linalg.solve(kernel + ridge, target - middle)
    answer = other @ known.T @ dual + middle
    guess: Labels = (answer > 0).numpy()
    return guess


def cross_predict(
    features: dict[str, Tensor], labels: Labels, groups: Groups, seed: int
) -> Job[Labels]:
    """Answer for every item by a classifier that saw none of its patient's items.

    In each fold the kind of features is chosen on the patients that are known, too.

    Parameters
    ----------
    features
        Kinds of features by name, ``(N, F)`` each.
    groups
        The patient of each item.
    """
    folds = _folds(groups, seed)
    guesses = np.zeros(len(labels), dtype=np.bool_)
    for number in range(FOLDS):
        yield Progress(number, FOLDS, "classifying")
        known = np.flatnonzero(folds != number)
        asked = np.flatnonzero(folds == number)
        if not len(asked) or not len(known):
            continue
        name = _choose(features, labels, groups, known, seed)
        values = features[name]
        guesses[asked] = predict(values[known], labels[known], values[asked])
    return guesses


def _choose(
    features: dict[str, Tensor],
    labels: Labels,
    groups: Groups,
    known: npt.NDArray[np.intp],
    seed: int,
) -> str:
    """The kind of features that does best within the known patients."""
    inner = _folds(groups[known], seed + 1)

    def quality(name: str) -> float:
        right = []
        for number in range(FOLDS):
            rest, part = known[inner != number], known[inner == number]
            if len(part) and len(rest):
                guess = predict(features[name][rest], labels[rest], features[name][part])
                right.extend(guess == labels[part])
        return float(np.mean(right)) if right else 0.0

    return max(features, key=quality)


def _folds(groups: Groups, seed: int) -> npt.NDArray[np.intp]:
    rng = np.random.default_rng((seed, 0xF01D))
    order = rng.permutation(np.unique(groups))
    number = {int(group): place % FOLDS for place, group in enumerate(order)}
    return np.array([number[int(group)] for group in groups], dtype=np.intp)
