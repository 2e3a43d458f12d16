"""Likelihood-ratio membership scores (LiRA) from the losses under shadow models.

Source: Carlini et al., "Membership inference attacks from first principles", IEEE S&P 2022. Like
there, an item's loss is taken as normal after a transformation: here the logarithm, since the
losses are no probabilities. With few shadow models one spread serves all items, as they advise, and
what membership changes is drawn towards its mean over all items.

The attacked model was trained longer or shorter than the shadow models, which moves and stretches
all losses alike. What an item's loss should be is therefore regressed on what the shadow models
say; that needs no knowledge of who is a member. Where they say nothing, the score becomes the loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ppcmi_sf.audit.item_losses import Losses
from ppcmi_sf.audit.shadow_models import Shadows

TINY = 1e-12
TRUST = 4.0  # so many models inside and outside weigh as much as the mean over all items
GAP_RANGE = (0.25, 4.0)  # of what membership changes, in units of its mean


@dataclass(frozen=True)
class _Normals:
    """Of each item: mean logarithm of its loss inside and outside, and what is between."""

    inside: Losses
    outside: Losses
    gap: Losses


def online(losses: Losses, shadows: Shadows) -> Losses:
    """Log-likelihood ratio of "inside" against "outside", for each item; higher means member.

    Parameters
    ----------
    losses
        Of the attacked model, ``(N,)``, positive.
    shadows
        Of the same items.
    """
    normals = _normals(shadows)
    below, slope, spread = _below(losses, (normals.inside + normals.outside) / 2)
    gap = slope * normals.gap
    ratio: Losses = gap * below / spread**2
    return ratio


def offline(losses: Losses, shadows: Shadows) -> Losses:
    """How far an item's loss lies below what models say that were not trained on it."""
    below, _, spread = _below(losses, _normals(shadows).outside)
    score: Losses = below / spread
    return score


def difficulty(shadows: Shadows) -> Losses:
    """Loss under models that were not trained on the item, negative: no membership is in it."""
    return -_normals(shadows).outside


def _below(losses: Losses, expected: Losses) -> tuple[Losses, float, float]:
    """How far each loss is below its regression on ``expected``; the slope, and the spread."""
    own = np.log(np.maximum(losses, TINY))
    centred = expected - expected.mean()
    variance = float((centred**2).mean())
    slope = float((centred * own).mean()) / variance if variance > TINY else 0.0
    # A negative slope is an accident of few items: difficulty does not turn round.
    slope = max(slope, 0.0)
    below = own.mean() + slope * centred - own
    return below, max(slope, 0.1), max(float(below.std()), 1e-6)


def _normals(shadows: Shadows) -> _Normals:
    logs = np.log(np.maximum(shadows.losses, TINY))
    # One model is better than another for all items; of few models that would look like an item's.
    logs += logs.mean() - logs.mean(axis=1, keepdims=True)
    means, counts = [], []
    for chosen in (shadows.inside, ~shadows.inside):
        count = chosen.sum(axis=0)
        # An item that never was on this side gets the mean of all items there.
        general = float(logs[chosen].mean())
        total = np.where(chosen, logs, 0.0).sum(axis=0)
        means.append(np.where(count > 0, total / np.maximum(count, 1), general))
        counts.append(count)
    gap = means[1] - means[0]
    usual = max(float(gap.mean()), 1e-3)
    models = np.minimum(*counts)
    trust = models / (models + TRUST)
    drawn = trust * gap + (1 - trust) * usual
    return _Normals(means[0], means[1], np.clip(drawn, GAP_RANGE[0] * usual, GAP_RANGE[1] * usual))
