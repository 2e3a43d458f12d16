"""Shadow models: what an attacker trains to learn how membership changes an item's loss.

Each is trained, by the engine's own training, on a random half of the patients, and each half's
complement trains the next one, so that every item is inside one and outside the other of a pair.
Source: Carlini et al., "Membership inference attacks from first principles", IEEE S&P 2022.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.audit.item_losses import Losses, mapping_losses, reconstruction_losses
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.short_training import fit_for_steps, train_on_all
from ppcmi_sf.audit.subject import GroupedSlices, Subject
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.progress import Job
from ppcmi_sf.stages import Stages
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.mapping import MappingOptions, SitePairs, train_mapping

BATCH_SIZE = 8
RATE = 3e-3
SHADOW_SITE = "shadow"


@dataclass(frozen=True, eq=False)
class Shadows:
    """Losses of all items under all shadow models.

    Attributes
    ----------
    losses
        float64 ``(models, N)``.
    inside
        bool ``(models, N)``: whether the model was trained on the item.
    """

    losses: Losses
    inside: npt.NDArray[np.bool_]


def halves(groups: npt.NDArray[np.int64], models: int, seed: int) -> npt.NDArray[np.bool_]:
    """Which items each model is trained on, ``(models, N)``: halves of the groups, in pairs."""
    rng = np.random.default_rng((seed, 0x5AD0))
    rows = []
    for _ in range(models // 2):
        order = rng.permutation(np.unique(groups))
        row = np.isin(groups, order[: len(order) // 2])
        rows += [row, ~row]
    return np.array(rows, dtype=np.bool_).reshape(-1, len(groups))


def mapping_shadows(
    subject: Subject,
    pairs: SitePairs,
    groups: npt.NDArray[np.int64],
    models: int,
    options: AuditOptions,
) -> Job[Shadows]:
    """Train mapping networks on halves of the pairs; see :class:`Shadows`."""
    inside = halves(groups, models, options.seed)
    losses, stages = [], Stages(len(inside))
    for number, row in enumerate(inside):
        job = train_shadow_network(
            subject.study, take_pairs(pairs, row), options.step_limit, number, subject.device
        )
        words = f"shadow mapping network {number + 1} of {len(inside)}"
        network = yield from stages.run(job, message=words)
        asking = mapping_losses(network, SHADOW_SITE, pairs, subject.device)
        losses.append((yield from stages.run(asking, weight=0)))
    return Shadows(np.array(losses).reshape(inside.shape), inside)


def autoencoder_shadows(
    subject: Subject, role: str, slices: GroupedSlices, models: int, options: AuditOptions
) -> Job[Shadows]:
    """Train autoencoders on halves of the slices; see :class:`Shadows`."""
    inside, count = halves(slices.groups, models, options.seed), subject.study.class_count
    losses, stages = [], Stages(len(inside))
    for number, row in enumerate(inside):
        half = slices.take(np.flatnonzero(row))
        fit = _fit(len(half), options.step_limit, number)
        job = train_on_all(subject, role, half, fit, augment=False)
        words = f"shadow {role} autoencoder {number + 1} of {len(inside)}"
        model = yield from stages.run(job, message=words)
        asking = reconstruction_losses(model, slices, count, subject.device)
        losses.append((yield from stages.run(asking, weight=0)))
    return Shadows(np.array(losses).reshape(inside.shape), inside)


def train_shadow_network(
    study: StudySpec,
    pairs: SitePairs,
    steps: int,
    number: int,
    device: torch.device,
    *,
    cut_mix: float | None = None,
) -> Job[UnifiedMappingNetwork]:
    """Train a mapping network of one site, by the server's own training.

    ``cut_mix`` is that of :class:`~ppcmi_sf.training.mapping.MappingOptions`.
    """
    fit = _fit(pairs.inputs.batch_size, steps, number)
    options = MappingOptions(fit=fit, cut_mix=cut_mix)
    network, _ = yield from train_mapping(study, {SHADOW_SITE: pairs}, options, device=device)
    return network


def _fit(items: int, steps: int, number: int) -> FitOptions:
    return fit_for_steps(items, steps, number, batch_size=BATCH_SIZE, learning_rate=RATE)


def take_pairs(pairs: SitePairs, chosen: npt.NDArray[np.bool_]) -> SitePairs:
    """Some of the pairs, all of them for training."""
    picked = pairs.take(np.flatnonzero(chosen))
    return replace(picked, validation=np.zeros_like(picked.validation))
