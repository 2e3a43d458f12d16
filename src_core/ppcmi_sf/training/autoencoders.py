"""Training of a site's autoencoders on its own slices."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ppcmi_sf.device import activation_bytes, place, require_memory, training_bytes
from ppcmi_sf.models.autoencoder import Autoencoder, Decoder
from ppcmi_sf.progress import Job
from ppcmi_sf.study import AutoencoderPreset, StudySpec
from ppcmi_sf.training.dataset import SiteData, require_two_values
from ppcmi_sf.training.fit_options import AUTOENCODER_FIT, FitOptions
from ppcmi_sf.training.loop import FitReport, fit
from ppcmi_sf.training.losses import MaskLoss, image_loss, mask_loss
from ppcmi_sf.training.noise import TrainingNoise
from ppcmi_sf.training.slice_batches import SliceBatch, SliceBatches

GUIDANCE: dict[AutoencoderPreset, float] = {"fine": 0.0, "ppcmi-sf": 1.0, "small": 1.0}


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
    guidance
        Weight of a second loss of the image autoencoder: a decoder of its own, which is thrown
        away afterwards, has to read the site's masks out of the image latents. They then hold
        what segmentation needs, not only what reconstruction needs. 0 switches it off. ``None``:
        what :data:`GUIDANCE` says; none with ``fine``, whose latents hold all that is needed
        (docs/decisions/0030).
    """

    fit: FitOptions = field(default_factory=lambda: AUTOENCODER_FIT)
    mask_loss: MaskLoss = "dice-ce"
    augment: bool = True
    latent_noise: float = 0.25
    guidance: float | None = None

    def guidance_for(self, study: StudySpec) -> float:
        """The weight of the guide's loss in a study."""
        if self.guidance is not None:
            return self.guidance
        return GUIDANCE[study.autoencoder]


class _Guided(nn.Module):
    """An image autoencoder, and a decoder that reads masks out of its latents."""

    def __init__(self, study: StudySpec) -> None:
        super().__init__()
        self.autoencoder = Autoencoder(study, "image")
        self.reader = Decoder(study.class_count, study)


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
        self._guidance = options.guidance_for(study)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.fit.seed)
            guided = role == "image" and self._guidance > 0
            model = _Guided(study) if guided else Autoencoder(study, role)
        self.model: nn.Module = place(model, device)
        self._loss = image_loss() if role == "image" else mask_loss(options.mask_loss)
        self._guide = mask_loss(options.mask_loss)
        level = options.latent_noise if role == "mask" else 0.0
        self._noise = TrainingNoise(level, options.fit.seed)
        self._batches = SliceBatches(study, data, options.fit, device, augment=options.augment)

    @property
    def autoencoder(self) -> Autoencoder:
        """What is trained, without what only helps to train it."""
        found = self.model.autoencoder if isinstance(self.model, _Guided) else self.model
        assert isinstance(found, Autoencoder)
        return found

    def steps(self) -> int:
        """Batches per epoch."""
        return self._batches.steps()

    def train_batches(self, epoch: int) -> Iterator[SliceBatch]:
        """Shuffled and augmented batches, a function of seed and epoch."""
        self._noise.begin(epoch)
        yield from self._batches.training(epoch)

    def validation_batches(self) -> Iterator[SliceBatch]:
        """The validation slices in order, as they are."""
        yield from self._batches.validation()

    def loss(self, batch: SliceBatch) -> Tensor:
        """Reconstruction loss of a batch, and that of the guide."""
        images, masks = batch
        values = masks if self.role == "mask" else images
        pyramid = self.autoencoder.encode(values)
        if self.model.training:
            pyramid = self._noise(pyramid)
        logits: Tensor = self.autoencoder.decoder(pyramid)
        loss = self._loss(logits, values)
        if isinstance(self.model, _Guided):
            loss = loss + self._guidance * self._guide(self.model.reader(pyramid), masks)
        return loss


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
        autoencoder_training_bytes(study, role, options, data.training.byte_count),
        device,
        f"Training the {role} autoencoder",
    )
    task = AutoencoderTask(study, role, data, options, device)
    report = yield from fit(task, options.fit, checkpoint=checkpoint, signature=signature)
    return task.autoencoder, report


def autoencoder_training_bytes(
    study: StudySpec, role: str, options: AutoencoderOptions, data_bytes: int
) -> int:
    """Estimate the peak memory of a training, in bytes."""
    channels = study.channels if role == "image" else study.class_count
    with torch.device("meta"):
        model = Autoencoder(study, role)
        batch = torch.empty(options.fit.batch_size, channels, *study.image_size)
        activations = activation_bytes(model, batch)
    parameters = sum(value.numel() for value in model.parameters())
    if role == "image" and options.guidance_for(study) > 0:
        parameters, activations = 2 * parameters, 2 * activations  # the reader is half as large
    return training_bytes(parameters, activations, data_bytes)
