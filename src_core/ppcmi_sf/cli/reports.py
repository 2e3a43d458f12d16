"""How results of trainings and scores look, to people and to scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ppcmi_sf.metrics import METRICS, Summary

if TYPE_CHECKING:
    from ppcmi_sf.latent_noise import LatentNoise
    from ppcmi_sf.study import StudySpec
    from ppcmi_sf.training.loop import FitReport

SHORT = {
    "dice": "Dice",
    "iou": "IoU",
    "sensitivity": "Sens",
    "specificity": "Spec",
    "hd95_mm": "HD95",
    "asd_mm": "ASD",
}
DISTANCES = ("hd95_mm", "asd_mm")


def fit_fields(fit: FitReport) -> dict[str, Any]:
    """Fields of a training for JSON."""
    return vars(fit) | {"kept_loss": fit.kept_loss}


def fit_line(fit: FitReport) -> str:
    """``weights of epoch 3 of 10, validation loss 0.1234``."""
    loss = "" if fit.kept_loss is None else f", validation loss {fit.kept_loss:.4f}"
    return f"weights of epoch {fit.kept_epoch} of {fit.epochs}{loss}"


def already(skipped: Sequence[object], how_to_replace: str = "") -> str:
    """Say how many results were there before, or nothing."""
    if not skipped:
        return ""
    more = f" ({how_to_replace})" if how_to_replace else ""
    return f"; {len(skipped)} {'was' if len(skipped) == 1 else 'were'} there already{more}"


def count(number: int, noun: str) -> str:
    """``1 mask``, ``2 masks``; ``1 reply``, ``2 replies``."""
    if number == 1:
        return f"1 {noun}"
    return f"{number} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{number} {noun}s"


def score_headings(unit: str, metrics: Sequence[str] = METRICS) -> list[str]:
    """Short headings; distances with their unit."""
    return [f"{SHORT[m]} {unit}" if m in DISTANCES else SHORT[m] for m in metrics]


def score_cells(summary: Summary, metrics: Sequence[str] = METRICS, between: str = "") -> list[str]:
    """Mean ± SD of each metric; with ``between`` a line feed they take half the width."""
    digits = {m: 2 if m in DISTANCES else 3 for m in metrics}
    return [
        f"{summary.mean[m]:.{digits[m]}f}{between}±{summary.sd[m]:.{digits[m]}f}" for m in metrics
    ]


def noise_line(noise: LatentNoise, study: StudySpec, sent: int) -> str:
    """What noise on latents amounts to, for an image of which latents leave ``sent`` times."""
    told = noise.in_words(study, sent=sent)
    return (
        f"{told[0].upper()}{told[1:]}. What it does against the attacks that are known, "
        "'ppcmi audit --noise' measures."
    )
