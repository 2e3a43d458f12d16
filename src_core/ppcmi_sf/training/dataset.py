"""A site's cases on the network grid, in memory, slice by slice."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.data.cases import Case, load_case_mask
from ppcmi_sf.data.splits import split_by_group
from ppcmi_sf.device import require_memory
from ppcmi_sf.errors import PPCMIError, TrainingError
from ppcmi_sf.imaging import (
    fit_to_grid,
    iter_grid_slices,
    mask_to_grid,
    read_image,
    slice_axis_for,
)
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.study import StudySpec


@dataclass(frozen=True)
class GridSlices:
    """Slices of several cases.

    Attributes
    ----------
    images
        float16 ``(N, C, H, W)`` in [0, 1].
    masks
        uint8 ``(N, H, W)``, class indices.
    cases
        For each slice the name of its case.
    """

    images: npt.NDArray[np.float16]
    masks: npt.NDArray[np.uint8]
    cases: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def byte_count(self) -> int:
        """Bytes held."""
        return self.images.nbytes + self.masks.nbytes

    def take(self, indices: npt.NDArray[np.intp]) -> GridSlices:
        """Some of the slices, in this order."""
        cases = tuple(self.cases[index] for index in indices)
        return GridSlices(self.images[indices], self.masks[indices], cases)

    def digests(self) -> tuple[str, ...]:
        """Of each slice's image 16 hex digits, by which the same image is known again."""
        return tuple(hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in self.images)

    @staticmethod
    def join(parts: Sequence[GridSlices]) -> GridSlices:
        """One after the other."""
        return GridSlices(
            np.concatenate([part.images for part in parts]),
            np.concatenate([part.masks for part in parts]),
            tuple(case for part in parts for case in part.cases),
        )


@dataclass(frozen=True)
class SiteData:
    """Training and validation slices of a site; no patient is in both."""

    training: GridSlices
    validation: GridSlices
    failures: list[tuple[str, PPCMIError]] = field(default_factory=list)

    def signature(self, *settings: object) -> str:
        """Names a training with these settings on these slices; for checkpoints."""
        digest = hashlib.sha256(repr(settings).encode())
        for part in (self.training, self.validation):
            digest.update(part.images.tobytes())
            digest.update(part.masks.tobytes())
        return digest.hexdigest()


def choose_validation_groups(cases: Sequence[Case], fraction: float, seed: int) -> frozenset[str]:
    """Choose the groups (patients) to set apart; none where there is only one group."""
    if fraction <= 0 or len({case.group for case in cases}) < 2:
        return frozenset()
    held_out = split_by_group(cases, [1 - fraction, fraction], seed)[1]
    return frozenset(case.group for case in held_out)


def load_site_data(
    cases: Sequence[Case],
    study: StudySpec,
    *,
    validation_groups: Collection[str],
    slice_axis: int | None = None,
    frame: int | None = None,
) -> Job[SiteData]:
    """Read every case onto the network grid; cases of ``validation_groups`` are set apart.

    A case that cannot be read is left out and listed in ``failures``.

    Parameters
    ----------
    slice_axis, frame
        How volumes are cut (2D images are taken as they are), and which frame of 4D files is
        taken (see :func:`ppcmi_sf.imaging.fit_to_grid` and
        :func:`ppcmi_sf.imaging.read_image`).

    Raises
    ------
    TrainingError
        No case could be read.
    ResourceError
        The slices do not fit into memory.
    """
    parts = {apart: _Collector(study, slice_axis, frame) for apart in (False, True)}
    failures: list[tuple[str, PPCMIError]] = []
    for index, case in enumerate(cases):
        yield Progress(index, len(cases), f"Reading {case.name}")
        try:
            parts[case.group in validation_groups].add(case)
        except PPCMIError as error:
            failures.append((case.name, error))
    data = SiteData(parts[False].finish(), parts[True].finish(), failures)
    if len(data.training) == 0:
        raise TrainingError(
            "No case could be used for training.",
            hint=str(failures[0][1]) if failures else "The data folder has no cases.",
        )
    return data


class _Collector:
    def __init__(self, study: StudySpec, slice_axis: int | None, frame: int | None) -> None:
        self.study, self.slice_axis, self.frame = study, slice_axis, frame
        self.images: list[npt.NDArray[np.float16]] = []
        self.masks: list[npt.NDArray[np.uint8]] = []
        self.cases: list[str] = []

    def add(self, case: Case) -> None:
        image = read_image(case.image, frame=self.frame, channel_axis=case.channel_axis)
        labels = load_case_mask(case, self.study.class_count, image.geometry)
        axis = slice_axis_for(image.geometry, None, self.slice_axis)
        fit = fit_to_grid(image.geometry, self.study, slice_axis=axis)
        rows, columns = self.study.image_size
        needed = fit.slice_count * rows * columns * (2 * self.study.channels + 1)
        require_memory(needed, torch.device("cpu"), f"Loading {case.name}")
        slices = [item.astype(np.float16) for item in iter_grid_slices(image, self.study, fit)]
        masks = mask_to_grid(labels, fit, self.study.class_count)
        self.images.extend(slices)
        self.masks.extend(masks)
        self.cases.extend([case.name] * len(slices))

    def finish(self) -> GridSlices:
        rows, columns = self.study.image_size
        shape = (len(self.images), self.study.channels, rows, columns)
        images = np.stack(self.images) if self.images else np.empty(shape, np.float16)
        masks = np.stack(self.masks) if self.masks else np.empty((0, rows, columns), np.uint8)
        return GridSlices(images, masks, tuple(self.cases))


def batches(order: npt.NDArray[np.intp], count: int) -> Iterator[npt.NDArray[np.intp]]:
    """Cut an order into ``count`` batches whose sizes differ by one at most."""
    yield from np.array_split(order, count)


def batch_count(items: int, batch_size: int) -> int:
    """Batches per epoch; never a batch of one item where there are more (batch norm needs two)."""
    if items == 0:
        return 0
    return max(1, min(-(-items // batch_size), items // 2))


def needs_two_items(study: StudySpec) -> bool:
    """Whether the coarsest latent is one pixel, of which batch norm needs two."""
    return study.image_size == (32, 32)


def require_two_values(items: int, study: StudySpec) -> None:
    """Refuse a single item where :func:`needs_two_items` says so.

    Raises
    ------
    TrainingError
        There is one item, and the study's images are 32 × 32.
    """
    if items == 1 and needs_two_items(study):
        raise TrainingError(
            "One slice of 32 x 32 pixels is too little to train on.", hint="Add more cases."
        )
