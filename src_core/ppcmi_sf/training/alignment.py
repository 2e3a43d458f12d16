"""Decoder alignment: a site teaches its mask decoder to read what the mapping network writes.

After the mapping network is trained, a site asks for the mapped latents of its own
training images and fine-tunes its own mask decoder on (mapped latents, its masks).
Nothing new leaves the site but those queries. The images should not be the very ones that the
mapping network was trained on, on which it is better than it will be on new ones: slices held
back from the training pairs, or freshly augmented copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppcmi_sf.device import activation_bytes, place, require_memory, training_bytes
from ppcmi_sf.errors import TrainingError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.autoencoder import Autoencoder, one_hot
from ppcmi_sf.progress import Job
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.dataset import batch_count, batches, require_two_values
from ppcmi_sf.training.fit_options import ALIGNMENT_FIT, FitOptions
from ppcmi_sf.training.loop import FitReport, fit
from ppcmi_sf.training.losses import MaskLoss, mask_loss


@dataclass(frozen=True)
class AlignmentPairs:
    """What a site aligns its decoder on.

    Attributes
    ----------
    mapped
        Mask latents that came back from the server, recovered; N items, float16 or float32.
    masks
        uint8 ``(N, H, W)``, class indices: the masks of the same images.
    validation
        bool ``(N,)``: items of the patients that the site set apart.
    """

    mapped: LatentPyramid
    masks: npt.NDArray[np.uint8]
    validation: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class AlignmentOptions:
    """How a site aligns its decoder.

    Parameters
    ----------
    mask_loss
        As in the training of the mask autoencoder.
    """

    fit: FitOptions = field(default_factory=lambda: ALIGNMENT_FIT)
    mask_loss: MaskLoss = "dice-ce"


Batch = tuple[LatentPyramid, Tensor]


class AlignmentTask:
    """The decoder's batches and loss (see :class:`ppcmi_sf.training.loop.Task`)."""

    name = "Decoder alignment"

    def __init__(
        self,
        study: StudySpec,
        autoencoder: Autoencoder,
        pairs: AlignmentPairs,
        options: AlignmentOptions,
        device: torch.device,
    ) -> None:
        self.study, self.pairs, self.options, self.device = study, pairs, options, device
        self.model = place(deepcopy(autoencoder.decoder), device)
        self._training = np.flatnonzero(~pairs.validation)
        self._validation = np.flatnonzero(pairs.validation)
        self._loss = mask_loss(options.mask_loss)

    def steps(self) -> int:
        """Batches per epoch."""
        return batch_count(len(self._training), self.options.fit.batch_size)

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """Shuffled batches, a function of seed and epoch."""
        rng = np.random.default_rng((self.options.fit.seed, epoch))
        for indices in batches(rng.permutation(self._training), self.steps()):
            yield self._load(indices)

    def validation_batches(self) -> Iterator[Batch]:
        """The validation items in order."""
        size = self.options.fit.batch_size
        for start in range(0, len(self._validation), size):
            yield self._load(self._validation[start : start + size])

    def loss(self, batch: Batch) -> Tensor:
        """Loss of the masks that the decoder makes of a batch."""
        mapped, target = batch
        logits: Tensor = self.model(mapped)
        return self._loss(logits, target)

    def _load(self, indices: npt.NDArray[np.intp]) -> Batch:
        index = torch.from_numpy(indices)
        mapped = self.pairs.mapped.map(
            lambda value: value[index].to(
                self.device, torch.float32, memory_format=torch.channels_last
            )
        )
        labels = torch.from_numpy(self.pairs.masks[indices]).to(self.device)
        return mapped, one_hot(labels, self.study.class_count)


def align_decoder(
    study: StudySpec,
    autoencoder: Autoencoder,
    pairs: AlignmentPairs,
    options: AlignmentOptions,
    *,
    device: torch.device,
    checkpoint: Path | None = None,
    signature: str = "",
) -> Job[tuple[Autoencoder, FitReport]]:
    """Give a copy of a mask autoencoder whose decoder reads mapped latents better.

    Its encoder stays as it is, so the mapping network's targets still hold. See
    :func:`ppcmi_sf.training.loop.fit`.

    Raises
    ------
    TrainingError
        There is nothing to train on, or the loss is not finite.
    ResourceError
        Memory will not do.
    """
    if pairs.validation.all():
        raise TrainingError(
            "There is no image to align the decoder on: all are set apart for validation.",
            hint="Add training images of other patients.",
        )
    require_two_values(int((~pairs.validation).sum()), study)
    require_memory(
        alignment_bytes(study, options.fit.batch_size), device, "Aligning the mask decoder"
    )
    task = AlignmentTask(study, autoencoder, pairs, options, device)
    report = yield from fit(task, options.fit, checkpoint=checkpoint, signature=signature)
    return with_decoder(autoencoder, task), report


def with_decoder(autoencoder: Autoencoder, task: AlignmentTask) -> Autoencoder:
    """A copy of the autoencoder with the decoder that was trained."""
    aligned = deepcopy(autoencoder)
    aligned.decoder.load_state_dict(task.model.state_dict())
    return aligned.eval()


def alignment_bytes(study: StudySpec, batch_size: int) -> int:
    """Estimate the peak memory of an alignment, in bytes."""
    with torch.device("meta"):
        decoder = Autoencoder(study, "mask").decoder
        latents = LatentPyramid({s.name: torch.empty(batch_size, *s.shape) for s in study.scales})
        activations = activation_bytes(decoder, latents)
    return training_bytes(sum(value.numel() for value in decoder.parameters()), activations, 0)
