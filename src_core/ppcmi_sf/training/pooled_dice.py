"""Dice of masks that a network reads, over many slices at once, and of a mask autoencoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ppcmi_sf.models.autoencoder import Autoencoder, one_hot
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.slice_batches import SliceBatch, SliceBatches


def pooled_dice(
    study: StudySpec,
    read: Callable[[SliceBatch], Tensor],
    batches: Iterator[SliceBatch],
    told: Callable[[int], Progress],
) -> Job[dict[str, float]]:
    """Dice of each foreground class, pooled over all slices.

    Parameters
    ----------
    read
        A batch to scores ``(B, K, H, W)``; the largest of a pixel is its class.
    told
        Progress after so many slices.

    Returns
    -------
    dict
        By the class's name, in [0, 1]; without the classes that neither mask shows.
    """
    both, total = torch.zeros(study.class_count), torch.zeros(study.class_count)
    done = 0
    for batch in batches:
        yield told(done)
        with torch.inference_mode():
            found = one_hot(read(batch).argmax(1), study.class_count)
        both += (found * batch[1]).sum(dim=(0, 2, 3)).cpu()
        total += (found + batch[1]).sum(dim=(0, 2, 3)).cpu()
        done += len(found)
    names = [item.name for item in study.classes]
    return {
        names[k]: float(2 * both[k] / total[k]) for k in range(1, study.class_count) if total[k] > 0
    }


def mask_fidelity(
    study: StudySpec, autoencoder: Autoencoder, slices: SliceBatches
) -> Job[dict[str, float]]:
    """How well a mask autoencoder gives back the site's own masks; see :func:`pooled_dice`.

    Over all slices, those of the training included: no mask that the site decodes can be
    expected to be better than this, whatever the mapping network does.
    """
    count = len(slices.data.training) + len(slices.data.validation)
    return (
        yield from pooled_dice(
            study,
            lambda batch: autoencoder(batch[1]),
            slices.every_slice(),
            lambda done: Progress(done, count, "Looking at what comes back of the site's masks"),
        )
    )
