"""Batches of a site's own slices, shuffled and augmented."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppcmi_sf.flips import ROWS, flips_of
from ppcmi_sf.models.autoencoder import one_hot
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.augment import Augmenter
from ppcmi_sf.training.dataset import GridSlices, SiteData, batch_count, batches
from ppcmi_sf.training.fit_options import FitOptions

SliceBatch = tuple[Tensor, Tensor]
"""Images float32 ``(B, C, H, W)`` in [0, 1], and one-hot masks ``(B, K, H, W)``."""


class SliceBatches:
    """A site's slices as batches on a device, a function of seed and epoch."""

    def __init__(
        self,
        study: StudySpec,
        data: SiteData,
        fit: FitOptions,
        device: torch.device,
        *,
        augment: bool,
    ) -> None:
        self.study, self.data, self.fit, self.device = study, data, fit, device
        self._augment = augmenter_for(study) if augment else None

    def steps(self) -> int:
        """Training batches per epoch."""
        return batch_count(len(self.data.training), self.fit.batch_size)

    def training(self, epoch: int) -> Iterator[SliceBatch]:
        """Shuffled and augmented batches of an epoch."""
        seed = self.fit.seed
        order = np.random.default_rng((seed, epoch)).permutation(len(self.data.training))
        for indices in batches(order, self.steps()):
            yield self._load(self.data.training, indices, (seed, epoch))

    def validation(self) -> Iterator[SliceBatch]:
        """The validation slices in order, as they are."""
        yield from self._as_they_are(self.data.validation)

    def every_slice(self) -> Iterator[SliceBatch]:
        """The training slices and then the validation slices, in order, as they are."""
        yield from self._as_they_are(self.data.training)
        yield from self._as_they_are(self.data.validation)

    def _as_they_are(self, data: GridSlices) -> Iterator[SliceBatch]:
        for start in range(0, len(data), self.fit.batch_size):
            stop = min(start + self.fit.batch_size, len(data))
            yield self._load(data, np.arange(start, stop), None)

    def _load(
        self, data: GridSlices, indices: npt.NDArray[np.intp], seed: tuple[int, int] | None
    ) -> SliceBatch:
        images, masks = [], []
        for index in indices:
            image, mask = data.images[index].astype(np.float32), data.masks[index]
            if self._augment is not None and seed is not None:
                image, mask = self._augment(image, mask, (*seed, int(index)))
            images.append(image)
            masks.append(mask)
        labels = one_hot(torch.from_numpy(np.stack(masks)), self.study.class_count)
        return self._place(torch.from_numpy(np.stack(images))), self._place(labels)

    def _place(self, values: Tensor) -> Tensor:
        return values.to(self.device, memory_format=torch.channels_last)


def augmenter_for(study: StudySpec) -> Augmenter:
    """The augmenter that fits a study's modality."""
    vertical = (ROWS,) in flips_of(study)
    return Augmenter(study.image_size, vertical_flips=vertical)
