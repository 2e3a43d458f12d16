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


def average_over_flips(
    predict: Callable[[Tensor], Tensor], images: Tensor, study: StudySpec
) -> Tensor:
    """Mean of what is predicted for an image and its mirror images, mirrored back.

    Parameters
    ----------
    predict
        Images ``(B, C, H, W)`` to class probabilities ``(B, K, H, W)``.
    """
    flips = flips_of(study)
    parts = [torch.flip(predict(torch.flip(images, axes)), axes) for axes in flips]
    return torch.stack(parts).mean(dim=0)
