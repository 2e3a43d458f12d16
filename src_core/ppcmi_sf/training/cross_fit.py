"""Cross-fitting against membership inference: no pair's own truth is what the network learns.

The patients of each site are in a few parts. For each part a mapping network is trained without
it, and answers for it as it would for patients whom it has never seen. The network that is
kept learns these answers in place of the true mask latents: it may learn them by heart, and is
still no nearer to the truth of a patient of the training than to that of another.

Source: "Split-AI" and self-distillation (SELENA): Tang et al., "Mitigating Membership Inference
Attacks by Self-Distillation Through a Novel Ensemble Architecture", USENIX Security 2022. There
each network leaves out random items; here a patient's slices and their copies stay together,
since they are nearly the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.errors import TrainingError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.stages import Stages
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.fit_options import CROSS_FIT_FOLDS as FOLDS
from ppcmi_sf.training.loop import FitReport
from ppcmi_sf.training.mapping import MappingOptions, SitePairs, train_mapping

BATCH = 16


def train_cross_fitted(
    study: StudySpec,
    pairs: Mapping[str, SitePairs],
    options: MappingOptions,
    *,
    device: torch.device,
    checkpoint: Path | None = None,
    signature: str = "",
) -> Job[tuple[UnifiedMappingNetwork, FitReport]]:
    """Train as :func:`~ppcmi_sf.training.mapping.train_mapping` does, by cross-fitting.

    It takes :data:`~ppcmi_sf.training.fit_options.CROSS_FIT_FOLDS` trainings more. Pairs that were
    set apart for validation keep their truth: nothing is learned from them.

    Parameters
    ----------
    checkpoint
        Of the last training; the others' stand beside it (:func:`fold_checkpoints`), and the
        caller removes all of them.

    Raises
    ------
    TrainingError
        All training pairs of a site came in one part, or as ``train_mapping``.
    ResourceError
        Memory will not do.
    """
    folds = {name: _folds(name, site) for name, site in pairs.items()}
    answers = {name: site.targets.map(torch.clone) for name, site in pairs.items()}
    checkpoints = fold_checkpoints(checkpoint) if checkpoint is not None else [None] * FOLDS
    stages = Stages(FOLDS + 1)
    for fold, kept in enumerate(checkpoints):
        if not any((numbers == fold).any() for numbers in folds.values()):
            continue  # every site's patients are in two parts
        job = train_mapping(
            study,
            # Held by this training alone: two such copies at once would not fit where one does.
            {name: site.take(np.flatnonzero(folds[name] != fold)) for name, site in pairs.items()},
            options,
            device=device,
            checkpoint=kept,
            signature=signature,
        )
        words = f"Without part {fold + 1} of {FOLDS}"
        network, _ = yield from stages.run(job, message=words)
        for name, site in pairs.items():
            chosen = np.flatnonzero(folds[name] == fold)
            answering = _answer(network, name, site, chosen, answers[name])
            yield from stages.run(answering, weight=0)
    learned = {name: replace(site, targets=answers[name]) for name, site in pairs.items()}
    job = train_mapping(
        study, learned, options, device=device, checkpoint=checkpoint, signature=signature
    )
    return (yield from stages.run(job, message="Learning what they answer"))


def fold_checkpoints(checkpoint: Path) -> list[Path]:
    """Checkpoints of the trainings before the last one."""
    return [checkpoint.with_suffix(f".part-{fold + 1}{checkpoint.suffix}") for fold in range(FOLDS)]


def _folds(name: str, site: SitePairs) -> npt.NDArray[np.int64]:
    """The fold that each pair is left out of; -1 for those set apart for validation."""
    parts = np.zeros(len(site.validation), np.int64) if site.parts is None else site.parts
    known = np.unique(parts[~site.validation])
    if len(known) < 2:
        raise TrainingError(
            f"All training pairs of site '{name}' came in one bundle: no patient can be left out.",
            hint=f"Ask '{name}' to protect its pairs again with --parts {FOLDS}, or train without "
            "cross-fitting.",
        )
    return np.where(site.validation, -1, np.searchsorted(known, parts) % FOLDS)


def _answer(
    network: UnifiedMappingNetwork,
    name: str,
    site: SitePairs,
    chosen: npt.NDArray[np.intp],
    answers: LatentPyramid,
) -> Job[None]:
    """Put what a network makes of some pairs' image latents in the place of their truth."""
    device = next(network.parameters()).device
    network.eval()
    for start in range(0, len(chosen), BATCH):
        yield Progress(start, len(chosen), f"Answering for pairs of {name}")
        index = torch.from_numpy(chosen[start : start + BATCH])
        with torch.inference_mode():
            inputs = site.inputs.items_at(index).to(device).to(torch.float32)
            mapped: LatentPyramid = network({name: inputs})[name]
            for scale, value in mapped.items():
                answers[scale][index] = value.to(answers[scale])
