"""Training of a site's autoencoders on its own slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppcmi_sf.device import activation_bytes, place, require_memory, training_bytes
from ppcmi_sf.models.autoencoder import Autoencoder, one_hot
from ppcmi_sf.progress import Job
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.augment import Augmenter
from ppcmi_sf.training.dataset import (
    GridSlices,
    SiteData,
    batch_count,
    batches,
    require_two_values,
)
from ppcmi_sf.training.loop import FitOptions, FitReport, fit
from ppcmi_sf.training.losses import MaskLoss, image_loss, mask_loss


@dataclass(frozen=True)
class AutoencoderOptions:
    """What a site may choose for its own autoencoders.

    Parameters
    ----------
    fit
        Epochs, batch size, rate, patience, seed.
    mask_loss
        ``dice-ce`` (ours) or ``bce-dice`` (the paper's).
    augment
        Whether slices are augmented.
    latent_noise
        Standard deviation of Gaussian noise on the mask latents while the mask
        autoencoder trains, in units of each channel's own spread. A decoder
        that has seen noise reads what a mapping network writes better.
    """

    fit: FitOptions = field(default_factory=FitOptions)
    mask_loss: MaskLoss = "dice-ce"
    augment: bool = True
    latent_noise: float = 0.25


class AutoencoderTask:
    """One autoencoder's batches and loss (see :class:`ppcmi_sf.training.loop.Task`)."""

    def __init__(
        self,
        study: StudySpec,
        role: str,
        data: SiteData,
        options: AutoencoderOptions,
        device: torch.device,
    ) -> None:
        self.name = "Image autoencoder" if role == "image" else "Mask autoencoder"
        self.study, self.role, self.data, self.options, self.device = (
            study,
            role,
            data,
            options,
            device,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.fit.seed)
            model = Autoencoder(study, role)
        self.model = place(model, device)
        self._loss = image_loss() if role == "image" else mask_loss(options.mask_loss)
        self._noise = torch.Generator(device="cpu")
        self._augment = augmenter_for(study) if options.augment else None

    def steps(self) -> int:
        """Batches per epoch."""
        return batch_count(len(self.data.training), self.options.fit.batch_size)

    def train_batches(self, epoch: int) -> Iterator[Tensor]:
        """Shuffled and augmented batches, a function of seed and epoch."""
        seed = self.options.fit.seed
        self._noise.manual_seed(seed * 1_000_003 + epoch)
        order = np.random.default_rng((seed, epoch)).permutation(len(self.data.training))
        for indices in batches(order, self.steps()):
            yield self._load(self.data.training, indices, (seed, epoch))

    def validation_batches(self) -> Iterator[Tensor]:
        """The validation slices in order, as they are."""
        data = self.data.validation
        for start in range(0, len(data), self.options.fit.batch_size):
            stop = min(start + self.options.fit.batch_size, len(data))
            yield self._load(data, np.arange(start, stop), None)

    def loss(self, batch: Tensor) -> Tensor:
        """Reconstruction loss of a batch."""
        pyramid = self.model.encode(batch)
        if self.model.training and self.role == "mask" and self.options.latent_noise > 0:
            pyramid = pyramid.map(self._noisy)
        logits: Tensor = self.model.decoder(pyramid)
        return self._loss(logits, batch)

    def _noisy(self, latents: Tensor) -> Tensor:
        noise = torch.randn(latents.shape, generator=self._noise).to(latents.device)
        spread = latents.detach().std(dim=(0, 2, 3), keepdim=True)
        return latents + self.options.latent_noise * spread * noise

    def _load(
        self, data: GridSlices, indices: npt.NDArray[np.intp], seed: tuple[int, int] | None
    ) -> Tensor:
        images, masks = [], []
        for index in indices:
            image, mask = data.images[index].astype(np.float32), data.masks[index]
            if self._augment is not None and seed is not None:
                image, mask = self._augment(image, mask, (*seed, int(index)))
            images.append(image)
            masks.append(mask)
        if self.role == "image":
            batch = torch.from_numpy(np.stack(images))
        else:
            batch = one_hot(torch.from_numpy(np.stack(masks)), self.study.class_count)
        return batch.to(self.device, memory_format=torch.channels_last)


def augmenter_for(study: StudySpec, *, strength: float = 1.0) -> Augmenter:
    """The augmenter that fits a study's modality."""
    vertical_flips = study.modality != "US"
    return Augmenter(study.image_size, vertical_flips=vertical_flips, strength=strength)


def train_autoencoder(
    study: StudySpec,
    role: str,
    data: SiteData,
    options: AutoencoderOptions,
    *,
    device: torch.device,
    checkpoint: Path | None = None,
    signature: str = "",
) -> Job[tuple[Autoencoder, FitReport]]:
    """Train one autoencoder; see :func:`ppcmi_sf.training.loop.fit`.

    Raises
    ------
    TrainingError, ResourceError
        As :func:`~ppcmi_sf.training.loop.fit`; also when memory will not do.
    """
    require_two_values(len(data.training), study)
    require_memory(
        autoencoder_training_bytes(study, role, options.fit.batch_size, data.training.byte_count),
        device,
        f"Training the {role} autoencoder",
    )
    task = AutoencoderTask(study, role, data, options, device)
    report = yield from fit(task, options.fit, checkpoint=checkpoint, signature=signature)
    return task.model, report


def autoencoder_training_bytes(
    study: StudySpec, role: str, batch_size: int, data_bytes: int
) -> int:
    """Estimate the peak memory of a training, in bytes."""
    channels = study.channels if role == "image" else study.class_count
    with torch.device("meta"):
        model = Autoencoder(study, role)
        activations = activation_bytes(model, torch.empty(batch_size, channels, *study.image_size))
    parameters = sum(value.numel() for value in model.parameters())
    return training_bytes(parameters, activations, data_bytes)
