"""A decoder that an attacker trains on latents: from what was sent to the image."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ppcmi_sf.audit.short_training import fit_for_steps
from ppcmi_sf.audit.subject import Subject
from ppcmi_sf.device import place
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.progress import Job
from ppcmi_sf.training.dataset import batch_count, batches, require_two_values
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.loop import fit
from ppcmi_sf.training.losses import image_loss

BATCH_SIZE = 4
RATE = 4e-3

Scramble = Callable[[LatentPyramid, int], LatentPyramid]
Example = tuple[LatentPyramid, Tensor]


class InversionTask:
    """Latents to images (see :class:`ppcmi_sf.training.loop.Task`).

    Parameters
    ----------
    latents, images
        Known pairs, N each; on the CPU.
    scramble
        What is done to a batch of latents before each step, with the number of the step: an
        attacker who simulates victims draws new transforms all the time.
    """

    name = "The attacker's decoder"

    def __init__(
        self,
        subject: Subject,
        latents: LatentPyramid,
        images: Tensor,
        options: FitOptions,
        scramble: Scramble | None = None,
    ) -> None:
        self.latents, self.images, self.options = latents, images, options
        self.scramble = scramble
        self.device = subject.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            self.autoencoder = Autoencoder(subject.study, "image")
        self.autoencoder.requires_grad_(requires_grad=False)
        self.model = place(self.autoencoder.decoder, self.device)
        self.model.requires_grad_(requires_grad=True)
        self._loss = image_loss()

    def steps(self) -> int:
        """Batches per epoch."""
        return batch_count(len(self.images), self.options.batch_size)

    def train_batches(self, epoch: int) -> Iterator[Example]:
        """Shuffled batches, a function of seed and epoch."""
        order = np.random.default_rng((self.options.seed, epoch)).permutation(len(self.images))
        for number, indices in enumerate(batches(order, self.steps())):
            index = torch.from_numpy(indices)
            latents = self.latents.items_at(index)
            if self.scramble is not None:
                latents = self.scramble(latents, epoch * self.steps() + number)
            yield latents.to(self.device), self.images[index].to(self.device)

    def validation_batches(self) -> Iterator[Example]:
        """None: the last weights are kept."""
        return iter(())

    def loss(self, batch: Example) -> Tensor:
        """Reconstruction loss of a batch."""
        logits: Tensor = self.model(batch[0])
        return self._loss(logits, batch[1])


def train_inversion(
    subject: Subject,
    latents: LatentPyramid,
    images: Tensor,
    steps: int,
    seed: int,
    scramble: Scramble | None = None,
) -> Job[Autoencoder]:
    """Train a decoder on pairs of latents and images; give it as an autoencoder to decode with.

    Raises
    ------
    TrainingError
        The loss is not finite, or there is one pair alone of the smallest images.
    """
    require_two_values(len(images), subject.study)
    options = fit_for_steps(len(images), steps, seed, batch_size=BATCH_SIZE, learning_rate=RATE)
    task = InversionTask(subject, latents, images, options, scramble)
    yield from fit(task, options)
    return task.autoencoder.eval()
