"""The privacy-agnostic ceiling: a MONAI U-Net trained centrally on all sites' raw images.

    python benchmarks/central_unet.py SPLIT --study study.yaml --out OUT --epochs 60

SPLIT is what split_sites.py wrote. The U-Net sees the same network grid, the
same augmentation and the same validation patients as the sites, and its masks
are written to OUT/masks in the grid of the test files, so that `ppcmi evaluate`
scores both alike.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch import Tensor, nn

from ppcmi_sf.data import find_cases
from ppcmi_sf.device import choose_device, place
from ppcmi_sf.imaging import (
    assemble,
    fit_to_grid,
    iter_grid_slices,
    labels_from_grid,
    read_image,
    write_mask,
)
from ppcmi_sf.progress import Progress, run
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.autoencoders import augmenter_for
from ppcmi_sf.training.dataset import (
    GridSlices,
    batch_count,
    choose_validation_groups,
    load_site_data,
)
from ppcmi_sf.training.loop import FitOptions, fit
from ppcmi_sf.workflows.protect import PAIR_STRENGTH

Batch = tuple[Tensor, Tensor]
VALIDATION_FRACTION = 0.15  # the default of `ppcmi site train`


class UNetTask:
    """The central U-Net's batches and loss (see ppcmi_sf.training.loop.Task)."""

    name = "Central U-Net"

    def __init__(
        self,
        study: StudySpec,
        training: list[GridSlices],
        validation: list[GridSlices],
        options: FitOptions,
        device: torch.device,
    ) -> None:
        self.study, self.options, self.device = study, options, device
        self.training, self.validation = join(training), join(validation)
        torch.manual_seed(options.seed)
        network = UNet(
            spatial_dims=2,
            in_channels=study.channels,
            out_channels=study.class_count,
            channels=(16, 32, 64, 128, 256),
            strides=(2, 2, 2, 2),
            num_res_units=2,
        )
        self.model: nn.Module = place(network, device)
        self._loss = DiceCELoss(
            softmax=True, to_onehot_y=True, include_background=False, batch=True
        )
        self._augment = augmenter_for(study, strength=PAIR_STRENGTH)

    def steps(self) -> int:
        return batch_count(len(self.training), self.options.batch_size)

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        order = np.random.default_rng((self.options.seed, epoch)).permutation(len(self.training))
        for indices in np.array_split(order, self.steps()):
            pairs = [
                self._augment(
                    self.training.images[index].astype(np.float32),
                    self.training.masks[index],
                    (self.options.seed, epoch, int(index)),
                )
                for index in indices
            ]
            yield self._batch([p[0] for p in pairs], [p[1] for p in pairs])

    def validation_batches(self) -> Iterator[Batch]:
        for start in range(0, len(self.validation), self.options.batch_size):
            part = slice(start, start + self.options.batch_size)
            yield self._batch(
                list(self.validation.images[part].astype(np.float32)),
                list(self.validation.masks[part]),
            )

    def loss(self, batch: Batch) -> Tensor:
        images, labels = batch
        loss: Tensor = self._loss(self.model(images), labels)
        return loss

    def _batch(self, images: list[np.ndarray], masks: list[np.ndarray]) -> Batch:
        tensor = torch.from_numpy(np.stack(images)).to(self.device)
        labels = torch.from_numpy(np.stack(masks))[:, None].to(self.device)
        return tensor.contiguous(memory_format=torch.channels_last), labels


def join(parts: list[GridSlices]) -> GridSlices:
    """Put the sites' slices together."""
    return GridSlices(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.masks for part in parts]),
        tuple(name for part in parts for name in part.cases),
    )


def main() -> None:
    """Train on all sites, then write the test set's masks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("split", type=Path)
    parser.add_argument("--study", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    study, device, started = StudySpec.load(arguments.study), choose_device(), time.monotonic()
    sites = sorted(folder for folder in arguments.split.iterdir() if folder.name != "test")
    data = []
    for site in sites:
        cases = find_cases(site, need_masks=True)
        apart = choose_validation_groups(cases, VALIDATION_FRACTION, arguments.seed)
        data.append(run(load_site_data(cases, study, validation_groups=apart)))
    options = FitOptions(
        epochs=arguments.epochs,
        batch_size=8,
        learning_rate=2e-3,
        patience=arguments.epochs,
        seed=arguments.seed,
    )
    task = UNetTask(
        study, [d.training for d in data], [d.validation for d in data], options, device
    )
    shown = 0.0

    def show(step: Progress) -> None:
        nonlocal shown
        if time.monotonic() - shown > 30:
            shown = time.monotonic()
            print(f"{shown - started:.0f} s {step.message} {step.values}", flush=True)

    report = run(fit(task, options), show)
    print(
        f"Trained in {time.monotonic() - started:.0f} s, best epoch {report.best_epoch} "
        f"of {report.epochs}, {sum(p.numel() for p in task.model.parameters())} parameters"
    )
    task.model.eval()
    for case in find_cases(arguments.split / "test"):
        image = read_image(case.image)
        grid = fit_to_grid(image.geometry, study)
        planes = {}
        for index, plane in enumerate(iter_grid_slices(image, study, grid)):
            with torch.inference_mode():
                logits = task.model(torch.from_numpy(plane)[None].to(device))
            planes[index] = labels_from_grid(torch.softmax(logits, 1)[0].cpu().numpy(), grid)
        labels = assemble(planes, grid, image.geometry.shape)
        write_mask(labels, image.geometry, arguments.out / "masks", case.name)
    print(f"Masks: {arguments.out / 'masks'}")


if __name__ == "__main__":
    main()
