"""Averaging over mirrored images: four looks at a slice in place of one (two in ultrasound)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ppcmi_sf.study import StudySpec

ROWS, COLUMNS = -2, -1


def flips_of(study: StudySpec) -> tuple[tuple[int, ...], ...]:
    """Ways to mirror a slice that still looks like one: the axes of each, none first.

    The top of an ultrasound image is always the probe, so only its columns are mirrored.
    """
    sideways: tuple[tuple[int, ...], ...] = ((), (COLUMNS,))
    if study.modality == "US":
        return sideways
    return (*sideways, (ROWS,), (ROWS, COLUMNS))


def predict_flips(predict: Callable[[Tensor], Tensor], images: Tensor, study: StudySpec) -> Tensor:
    """What is predicted for an image and for its mirror images, mirrored back; as it is first.

    Parameters
    ----------
    predict
        Images ``(B, C, H, W)`` to class probabilities ``(B, K, H, W)``.

    Returns
    -------
    Tensor
        ``(F, B, K, H, W)``, F as many as :func:`flips_of` tells.
    """
    flips = flips_of(study)
    parts = [torch.flip(predict(torch.flip(images, axes)), axes) for axes in flips]
    return torch.stack(parts)


def average_over_flips(
    predict: Callable[[Tensor], Tensor], images: Tensor, study: StudySpec
) -> Tensor:
    """Mean of :func:`predict_flips`: ``(B, K, H, W)``."""
    return predict_flips(predict, images, study).mean(dim=0)
