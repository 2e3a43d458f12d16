"""Planted weaknesses for membership inference: models that know ten slices by heart.

The attack must find these out, or a low figure of it means nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ppcmi_sf.audit import likelihood
from ppcmi_sf.audit.item_losses import Losses, mapping_losses, reconstruction_losses
from ppcmi_sf.audit.membership_pool import MembershipPool
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.result import Measurement
from ppcmi_sf.audit.shadow_models import (
    RATE,
    SHADOW_SITE,
    Shadows,
    take_pairs,
    train_shadow_network,
)
from ppcmi_sf.audit.short_training import fit_for_steps, train_on_all
from ppcmi_sf.audit.subject import Subject
from ppcmi_sf.progress import Job
from ppcmi_sf.training.mapping import SitePairs

ITEMS = 10
STEPS = 60


def network_by_heart(subject: Subject, pool: MembershipPool, pairs: SitePairs) -> Job[Measurement]:
    """A mapping network that was trained on ten slices alone, and by heart."""
    chosen = _few_members(pool)
    network = yield from train_shadow_network(
        subject.study,
        take_pairs(pairs, chosen),
        STEPS,
        0,
        subject.device,
        cut_mix=0.0,  # it is there against just this
    )
    losses = yield from mapping_losses(network, SHADOW_SITE, pairs, subject.device)
    return _told_by_heart("mapping network, loss threshold", pool, chosen, -losses)


def autoencoder_by_heart(
    subject: Subject,
    role: str,
    pool: MembershipPool,
    shadows: Shadows,
    options: AuditOptions,
) -> Job[Measurement]:
    """An autoencoder that was trained on ten slices alone, and by heart.

    By the likelihood ratio: how hard a slice is for any autoencoder hides what this one learnt.
    """
    chosen = _few_members(pool)
    fit = fit_for_steps(ITEMS, options.step_limit, 0, batch_size=ITEMS, learning_rate=RATE)
    few = pool.slices.take(np.flatnonzero(chosen))
    model = yield from train_on_all(subject, role, few, fit, augment=False)
    count = subject.study.class_count
    losses = yield from reconstruction_losses(model, pool.slices, count, subject.device)
    how = f"{role} autoencoder, likelihood ratio, offline"
    return _told_by_heart(how, pool, chosen, likelihood.offline(losses, shadows))


def _few_members(pool: MembershipPool) -> npt.NDArray[np.bool_]:
    """Ten slices of the training; they lie patient by patient, so these are of many."""
    chosen = np.zeros(len(pool.slices), dtype=np.bool_)
    members = np.flatnonzero(pool.members)
    chosen[members[np.linspace(0, len(members) - 1, ITEMS).round().astype(int)]] = True
    return chosen


def _told_by_heart(
    how: str, pool: MembershipPool, chosen: npt.NDArray[np.bool_], scores: Losses
) -> Measurement:
    """How well those who were learnt by heart are told from non-members.

    Further slices of the same patients are neither: not learned, and much like those that were.
    """
    rows = np.flatnonzero(chosen | ~pool.members)
    asked = MembershipPool(pool.slices.take(rows), chosen[rows], pool.seed)
    name = f"AUC, {how}, planted weakness: trained on {chosen.sum()} slices by heart"
    return Measurement.aimed(name, asked.interval(scores[rows]), len(rows), 0.5)
