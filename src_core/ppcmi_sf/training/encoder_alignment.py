"""Encoder alignment: a site teaches its image encoder to feed the network that it was given.

A site that has the mapping network itself can train through it: image → encoder → network →
mask decoder → loss against the site's own masks. Network and decoder stay as they are and hold
what all sites' pairs taught, so the encoder learns to say what the network reads well.
Nothing leaves the site. The encoder that training pairs and queries were made with stays, too:
the aligned one is a copy, good for this one network.

It is the local fine-tuning (personalisation) of federated learning, e.g. Collins et al.,
"Exploiting Shared Representations for Personalized Federated Learning", ICML 2021, with the
halves exchanged: there a shared representation gets a head of one's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ppcmi_sf.device import activation_bytes, place, require_memory, training_bytes
from ppcmi_sf.keys import TransformShare
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.autoencoder import Autoencoder, Decoder, Encoder
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.dataset import SiteData, require_two_values
from ppcmi_sf.training.fit_options import ENCODER_ALIGNMENT_FIT, FitOptions
from ppcmi_sf.training.loop import FitReport, fit
from ppcmi_sf.training.losses import MaskLoss, mask_loss
from ppcmi_sf.training.pooled_dice import pooled_dice
from ppcmi_sf.training.slice_batches import SliceBatch, SliceBatches
from ppcmi_sf.transform import KeyedLatentTransform


@dataclass(frozen=True)
class EncoderAlignmentOptions:
    """How a site aligns its image encoder.

    Parameters
    ----------
    mask_loss
        As in the training of the mask autoencoder.
    augment
        Whether slices are augmented.
    """

    fit: FitOptions = field(default_factory=lambda: ENCODER_ALIGNMENT_FIT)
    mask_loss: MaskLoss = "dice-ce"
    augment: bool = True


class LatentReader(nn.Module):
    """What reads a site's image latents: mapping network and mask decoder, frozen.

    Parameters
    ----------
    study
        What all sites agreed on.
    network, name
        A mapping network, and what it calls the site.
    decoder
        The site's mask decoder.
    share
        The site's transform share. It is needed in ``blind``, where the network has learned
        from protected latents; in ``escrow`` it has learned from recovered ones.
    """

    def __init__(
        self,
        study: StudySpec,
        network: UnifiedMappingNetwork,
        name: str,
        decoder: Decoder,
        share: TransformShare,
    ) -> None:
        super().__init__()
        self.name = name
        # Copies: whoever goes on using these networks must not find them frozen.
        self.network, self.decoder = deepcopy(network), deepcopy(decoder)
        self.transforms: tuple[KeyedLatentTransform, KeyedLatentTransform] | None = None
        if study.arrangement == "blind":
            self.transforms = (
                KeyedLatentTransform(share, study, "image"),
                KeyedLatentTransform(share, study, "mask"),
            )
        self.requires_grad_(False).eval()

    def forward(self, latents: LatentPyramid) -> Tensor:
        """Image latents to logits ``(B, K, H, W)``."""
        if self.transforms is None:
            logits: Tensor = self.decoder(self.network({self.name: latents})[self.name])
            return logits
        image, mask = self.transforms
        mapped = self.network({self.name: image.protect(latents, ())})[self.name]
        logits = self.decoder(mask.recover(mapped, ()))
        return logits


class EncoderAlignmentTask:
    """The encoder's batches and loss (see :class:`ppcmi_sf.training.loop.Task`)."""

    name = "Encoder alignment"

    def __init__(
        self,
        study: StudySpec,
        encoder: Encoder,
        reader: LatentReader,
        data: SiteData,
        options: EncoderAlignmentOptions,
        device: torch.device,
    ) -> None:
        self.model = place(deepcopy(encoder), device)
        self.reader = place(reader, device)
        self._loss = mask_loss(options.mask_loss)
        self._batches = SliceBatches(study, data, options.fit, device, augment=options.augment)

    def steps(self) -> int:
        """Batches per epoch."""
        return self._batches.steps()

    def train_batches(self, epoch: int) -> Iterator[SliceBatch]:
        """Shuffled and augmented batches, a function of seed and epoch."""
        return self._batches.training(epoch)

    def validation_batches(self) -> Iterator[SliceBatch]:
        """The validation slices in order, as they are."""
        return self._batches.validation()

    def loss(self, batch: SliceBatch) -> Tensor:
        """Loss of the masks that come out at the end."""
        images, target = batch
        logits: Tensor = self.reader(self.model(images))
        return self._loss(logits, target)


def align_encoder(
    study: StudySpec,
    autoencoder: Autoencoder,
    reader: LatentReader,
    data: SiteData,
    options: EncoderAlignmentOptions,
    *,
    device: torch.device,
    checkpoint: Path | None = None,
    signature: str = "",
) -> Job[tuple[Autoencoder, FitReport]]:
    """Give a copy of an image autoencoder whose encoder is aligned with a mapping network.

    Its decoder stays as it was, so it no longer reconstructs well. See
    :func:`ppcmi_sf.training.loop.fit`.

    Raises
    ------
    TrainingError
        There is nothing to train on, or the loss is not finite.
    ResourceError
        Memory will not do.
    """
    require_two_values(len(data.training), study)
    needed = encoder_alignment_bytes(study, reader, options.fit.batch_size)
    require_memory(needed + data.training.byte_count, device, "Aligning the image encoder")
    task = EncoderAlignmentTask(study, autoencoder.encoder, reader, data, options, device)
    report = yield from fit(task, options.fit, checkpoint=checkpoint, signature=signature)
    return with_encoder(autoencoder, task), report


def with_encoder(autoencoder: Autoencoder, task: EncoderAlignmentTask) -> Autoencoder:
    """A copy of the autoencoder with the encoder that was trained."""
    aligned = deepcopy(autoencoder)
    aligned.encoder.load_state_dict(task.model.state_dict())
    return aligned.eval()


def reading_dice(
    study: StudySpec, encoder: Encoder, reader: LatentReader, slices: SliceBatches
) -> Job[float | None]:
    """Dice of what is read from the validation slices: pooled over them, mean of the classes.

    ``None`` where there are no such slices, or none that shows a class.
    """
    count = len(slices.data.validation)
    dice = yield from pooled_dice(
        study,
        lambda batch: reader(encoder(batch[0])),
        slices.validation(),
        lambda done: Progress(done, count, "Comparing with the masks of patients set apart"),
    )
    return sum(dice.values()) / len(dice) if dice else None


def encoder_alignment_bytes(study: StudySpec, reader: LatentReader, batch_size: int) -> int:
    """Estimate the peak memory of an alignment without its data, in bytes."""
    with torch.device("meta"):
        encoder = Autoencoder(study, "image").encoder
        network = UnifiedMappingNetwork(study, [reader.name], adapters=reader.network.has_adapters)
        decoder = Autoencoder(study, "mask").decoder
        latents = LatentPyramid({s.name: torch.empty(batch_size, *s.shape) for s in study.scales})
        images = torch.empty(batch_size, study.channels, *study.image_size)
        activations = (
            activation_bytes(encoder, images)
            + activation_bytes(network, {reader.name: latents})
            + activation_bytes(decoder, latents)
        )
    return training_bytes(sum(value.numel() for value in encoder.parameters()), activations, 0)
