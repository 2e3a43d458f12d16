"""How well a mask fits, in the field's terms; every figure is computed by MONAI.

Empty structures follow one rule, so that no case drops out of a mean:

- both masks empty: Dice = IoU = sensitivity = 1 and both distances are 0;
- exactly one empty: Dice = IoU = 0 and both distances are the image's diagonal
  in mm. Sensitivity is 0 when the prediction is the empty one and 1 when the
  truth is (there was nothing to miss; specificity and Dice show the error);
- truth covers the whole image: specificity is 1 (there was nothing to spare).

How often that happened is counted in ``empty_pred`` and ``empty_truth``.

Source: Reinke et al., "Understanding metric-related pitfalls in image analysis
validation", Nature Methods 2024 (doi 10.1038/s41592-023-02150-0); MONAI 1.6.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ppcmi_sf.errors import PPCMIError

if TYPE_CHECKING:
    import torch

METRICS = ("dice", "iou", "sensitivity", "specificity", "hd95_mm", "asd_mm")
"""Names of the figures of a :class:`ClassScore`, in the order of tables."""

MEAN = "mean"
"""``class_name`` of the :class:`Summary` over all foreground classes."""

SSIM_WINDOW = 11


@dataclass(frozen=True)
class ClassScore:
    """Scores of one foreground class in one case.

    Attributes
    ----------
    dice, iou, sensitivity, specificity
        In [0, 1], higher is better.
    hd95_mm
        95th percentile Hausdorff distance, the larger of both directions, in mm.
    asd_mm
        Symmetric average surface distance in mm.
    empty_pred, empty_truth
        Whether the class is absent from the prediction or from the truth.
    """

    class_name: str
    dice: float
    iou: float
    sensitivity: float
    specificity: float
    hd95_mm: float
    asd_mm: float
    empty_pred: bool
    empty_truth: bool


@dataclass(frozen=True)
class CaseScores:
    """Scores of one case: one :class:`ClassScore` for each foreground class."""

    case: str
    scores: tuple[ClassScore, ...]


@dataclass(frozen=True)
class Summary:
    """One class over all cases, or (``class_name == "mean"``) the mean of the classes.

    Attributes
    ----------
    n
        Number of cases.
    mean, sd
        By name of :data:`METRICS`. The SD is over cases with ``ddof=1``, and
        0 when there is one case.
    empty_pred, empty_truth
        In how many cases the class was absent (for the mean: summed over classes).
    """

    class_name: str
    n: int
    mean: dict[str, float]
    sd: dict[str, float]
    empty_pred: int
    empty_truth: int


def score_case(
    pred: npt.NDArray[np.integer[Any]],
    truth: npt.NDArray[np.integer[Any]],
    class_names: Sequence[str],
    spacing: Sequence[float] | float = 1.0,
) -> list[ClassScore]:
    """Score one predicted mask against its truth.

    Surfaces are the voxels of a mask with a neighbour (by a face) outside it;
    a mask's voxels at the image's border count. Axes of length 1 are dropped
    first: a single slice is scored as a 2D mask, since every voxel of it would
    be surface otherwise.

    Parameters
    ----------
    pred, truth
        Class indices, 2D or 3D, of the same shape.
    class_names
        One for each class, the background (class 0) included: class *k* is
        ``class_names[k]``. The background is not scored.
    spacing
        Millimetres between voxels, one for each axis or one for all.

    Returns
    -------
    One score for each foreground class, in the order of ``class_names``.

    Raises
    ------
    PPCMIError
        The shapes differ, a value is not one of the classes, or the spacing
        does not fit.
    """
    steps = _check(pred, truth, class_names, spacing)
    kept = [axis for axis, size in enumerate(truth.shape) if size > 1]
    if len(kept) >= 2:
        pred, truth = pred.squeeze(), truth.squeeze()
        steps = [steps[axis] for axis in kept]
    return [
        _score_class(name, pred == index, truth == index, steps)
        for index, name in enumerate(class_names)
        if index > 0
    ]


def summarise(cases: Sequence[Sequence[ClassScore]]) -> list[Summary]:
    """Mean ± SD over cases: one summary for each class, then their mean.

    Parameters
    ----------
    cases
        For each case what :func:`score_case` gave; all of the same classes.

    Returns
    -------
    Summaries in the order of the classes; the last is named :data:`MEAN` and
    averages, in each case, over the classes. Empty when there is no case.
    """
    if not cases:
        return []
    table = np.array([[[getattr(s, m) for m in METRICS] for s in case] for case in cases])
    absent_pred = np.array([[s.empty_pred for s in case] for case in cases]).sum(axis=0)
    absent_truth = np.array([[s.empty_truth for s in case] for case in cases]).sum(axis=0)
    summaries = [
        _summary(score.class_name, table[:, index], absent_pred[index], absent_truth[index])
        for index, score in enumerate(cases[0])
    ]
    over_classes = table.mean(axis=1)
    return [*summaries, _summary(MEAN, over_classes, absent_pred.sum(), absent_truth.sum())]


def image_similarity(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> tuple[float, float]:
    """PSNR and SSIM of two images or volumes.

    SSIM uses MONAI's defaults: an 11-wide Gaussian window of sigma 1.5,
    ``k1=0.01``, ``k2=0.03`` (Wang et al., IEEE Trans. Image Processing 13(4), 2004).

    Parameters
    ----------
    a, b
        Values in [0, 1], 2D (H, W) or 3D, of the same shape, at least 11 along each axis.

    Returns
    -------
    psnr_db, ssim
        PSNR in dB for a peak of 1 (infinite for equal images), SSIM in [-1, 1].

    Raises
    ------
    PPCMIError
        The shapes differ, or an axis is shorter than the window.
    """
    if a.shape != b.shape or a.ndim not in (2, 3) or min(a.shape) < SSIM_WINDOW:
        raise PPCMIError(
            f"Images of shapes {a.shape} and {b.shape} cannot be compared.",
            hint=f"Give two 2D or 3D images of one shape, at least {SSIM_WINDOW} along each axis.",
        )
    import torch
    from monai.metrics.regression import PSNRMetric, SSIMMetric

    first = torch.from_numpy(np.ascontiguousarray(a, dtype=np.float32))[None, None]
    second = torch.from_numpy(np.ascontiguousarray(b, dtype=np.float32))[None, None]
    psnr = PSNRMetric(max_val=1.0)(first, second)
    ssim = SSIMMetric(spatial_dims=a.ndim, data_range=1.0, win_size=SSIM_WINDOW)(first, second)
    return float(psnr.item()), float(ssim.item())


def _check(
    pred: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    class_names: Sequence[str],
    spacing: Sequence[float] | float,
) -> list[float]:
    """Refuse what cannot be scored; give the spacing of each axis."""
    if pred.shape != truth.shape or truth.ndim not in (2, 3) or truth.size == 0:
        raise PPCMIError(
            f"The prediction has shape {pred.shape}, the truth {truth.shape}.",
            hint="Both must be masks of the same 2D or 3D image.",
        )
    for what, labels in (("prediction", pred), ("truth", truth)):
        if labels.min() < 0 or labels.max() >= len(class_names):
            raise PPCMIError(
                f"The {what} has the values {labels.min()} to {labels.max()}, but there are "
                f"{len(class_names)} classes, the background included.",
                hint="Name every class of the masks, or correct the mask.",
            )
        # NaN is no whole number either, and passes every comparison above.
        if labels.dtype.kind == "f" and (labels != np.rint(labels)).any():
            raise PPCMIError(
                f"The {what} has values that are no class indices, such as probabilities or NaN.",
                hint="Give whole class indices, not probabilities.",
            )
    given = np.asarray(spacing, dtype=np.float64)
    steps: list[float] = (np.full(truth.ndim, given) if given.ndim == 0 else given).tolist()
    if len(steps) != truth.ndim or not all(math.isfinite(s) and s > 0 for s in steps):
        raise PPCMIError(
            f"The spacing {spacing} does not fit an image of shape {truth.shape}.",
            hint="Give a positive number of millimetres for each axis.",
        )
    return steps


def _score_class(
    name: str, pred: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_], spacing: list[float]
) -> ClassScore:
    """Score one class by MONAI, and by the rule of this module where a mask is empty."""
    import torch
    from monai.metrics.confusion_matrix import (
        compute_confusion_matrix_metric,
        get_confusion_matrix,
    )

    tensors = [torch.from_numpy(np.ascontiguousarray(mask))[None, None] for mask in (pred, truth)]
    counts = get_confusion_matrix(tensors[0].float(), tensors[1].float())
    sensitivity = compute_confusion_matrix_metric("sensitivity", counts).item()
    specificity = compute_confusion_matrix_metric("specificity", counts).item()
    empty_pred, empty_truth = not pred.any(), not truth.any()
    if empty_pred and empty_truth:
        dice, iou, hd95, asd = 1.0, 1.0, 0.0, 0.0
    elif empty_pred or empty_truth:
        diagonal = math.hypot(*(n * s for n, s in zip(truth.shape, spacing, strict=True)))
        dice, iou, hd95, asd = 0.0, 0.0, diagonal, diagonal
    else:
        dice, iou, hd95, asd = _overlap_and_distance(tensors[0], tensors[1], spacing)
    return ClassScore(
        class_name=name,
        dice=dice,
        iou=iou,
        sensitivity=1.0 if empty_truth else sensitivity,
        specificity=1.0 if truth.all() else specificity,
        hd95_mm=hd95,
        asd_mm=asd,
        empty_pred=empty_pred,
        empty_truth=empty_truth,
    )


def _overlap_and_distance(
    pred: torch.Tensor, truth: torch.Tensor, spacing: list[float]
) -> tuple[float, float, float, float]:
    """Dice, IoU, HD95 and ASD of two non-empty masks (1, 1, *spatial)."""
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.meandice import compute_dice
    from monai.metrics.meaniou import compute_iou
    from monai.metrics.surface_distance import compute_average_surface_distance

    p, t = pred.float(), truth.float()
    where = {"include_background": True, "spacing": spacing}
    with warnings.catch_warnings():
        # MONAI 1.6 warns about an argument that MONAI itself passes
        warnings.simplefilter("ignore", FutureWarning)
        hd95 = compute_hausdorff_distance(p, t, percentile=95, directed=False, **where)
        asd = compute_average_surface_distance(p, t, symmetric=True, **where)
    dice, iou = compute_dice(p, t, num_classes=1), compute_iou(p, t)
    return dice.item(), iou.item(), hd95.item(), asd.item()


def _summary(
    name: str, values: npt.NDArray[np.float64], empty_pred: int, empty_truth: int
) -> Summary:
    """Summarise ``values`` (cases, METRICS)."""
    count = len(values)
    deviation = values.std(axis=0, ddof=1) if count > 1 else np.zeros(len(METRICS))
    return Summary(
        class_name=name,
        n=count,
        mean=dict(zip(METRICS, values.mean(axis=0).tolist(), strict=True)),
        sd=dict(zip(METRICS, deviation.tolist(), strict=True)),
        empty_pred=int(empty_pred),
        empty_truth=int(empty_truth),
    )
