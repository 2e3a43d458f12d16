"""MONAI's U-Net on raw images: central, at one site, or by federated averaging."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from monai.losses import DiceCELoss
from monai.networks.nets import UNet
from torch import Tensor, nn

from harness.budget import Cost, Stage, fit_within, measure, options_for, timed, validation_loss
from harness.plan import Plan
from ppcmi_sf.device import place
from ppcmi_sf.progress import Job
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.dataset import GridSlices, SiteData, batch_count, batches
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.loop import FitReport, fit
from ppcmi_sf.training.slice_batches import augmenter_for
from ppcmi_sf.workflows.batches import BATCH

Batch = tuple[Tensor, Tensor]


def make_unet(study: StudySpec) -> UNet:
    """MONAI's U-Net with 16 to 256 channels and two residual units a level."""
    return UNet(
        spatial_dims=2,
        in_channels=study.channels,
        out_channels=study.class_count,
        channels=(16, 32, 64, 128, 256),
        strides=(2, 2, 2, 2),
        num_res_units=2,
    )


class UNetTask:
    """A U-Net's batches and loss (see ppcmi_sf.training.loop.Task)."""

    name = "U-Net"

    def __init__(
        self,
        study: StudySpec,
        training: list[GridSlices],
        validation: list[GridSlices],
        options: FitOptions,
        device: torch.device,
    ) -> None:
        self.study, self.options, self.device = study, options, device
        self.training, self.validation = GridSlices.join(training), GridSlices.join(validation)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.seed)
            network = make_unet(study)
        self.model: nn.Module = place(network, device)
        self._loss = DiceCELoss(
            softmax=True, to_onehot_y=True, include_background=False, batch=True
        )
        self._augment = augmenter_for(study)

    def steps(self) -> int:
        return batch_count(len(self.training), self.options.batch_size)

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        order = np.random.default_rng((self.options.seed, epoch)).permutation(len(self.training))
        for indices in batches(order, self.steps()):
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

    def predict(self, planes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Class probabilities ``(N, K, H, W)`` of images ``(N, C, H, W)``."""
        self.model.eval()
        parts = []
        for start in range(0, len(planes), BATCH):  # a whole CT scan at once takes gigabytes
            images = torch.from_numpy(planes[start : start + BATCH])
            images = images.to(self.device, memory_format=torch.channels_last)
            with torch.inference_mode():
                parts.append(torch.softmax(self.model(images), 1).cpu().numpy())
        return np.concatenate(parts)

    def _batch(
        self, images: list[npt.NDArray[np.float32]], masks: list[npt.NDArray[np.uint8]]
    ) -> Batch:
        tensor = torch.from_numpy(np.stack(images)).to(self.device)
        labels = torch.from_numpy(np.stack(masks))[:, None].to(self.device)
        return tensor.contiguous(memory_format=torch.channels_last), labels


def train_unet(
    study: StudySpec,
    sites: list[SiteData],
    seed: int,
    budget: float,
    plan: Plan,
    stage: Stage,
    device: torch.device,
) -> UNetTask:
    """Train one U-Net on the raw images of some sites."""
    options = options_for(plan.steps.unet, seed)
    task = UNetTask(
        study,
        [site.training for site in sites],
        [site.validation for site in sites],
        options,
        device,
    )
    fit_within(task, options, budget, plan, stage)
    return task


def train_fedavg(
    study: StudySpec,
    sites: Mapping[str, SiteData],
    seed: int,
    budget: float,
    plan: Plan,
    stage: Stage,
    device: torch.device,
) -> UNetTask:
    """Federated averaging (McMahan et al., AISTATS 2017), weighted by the sites' slices.

    Each site keeps its optimiser; the learning rate falls over all rounds. After each round the
    sites tell their validation loss of the average; as in all trainings here, the last one is kept.
    """
    options = options_for(plan.steps.unet, seed)
    tasks = {
        name: UNetTask(study, [site.training], [site.validation], options, device)
        for name, site in sites.items()
    }
    weights = {name: float(len(site.training)) for name, site in sites.items()}
    costs = {name: measure(task, options, budget) for name, task in tasks.items()}
    rounds = _rounds(costs, tasks, budget, plan)
    with timed(stage):
        _average_rounds(tasks, weights, options, rounds, plan.local_epochs, stage)
    steps = sum(task.steps() for task in tasks.values()) * plan.local_epochs
    stage.steps, stage.epochs = rounds * steps, float(rounds * plan.local_epochs)
    stage.notes |= {"rounds": rounds, "local_epochs": plan.local_epochs}
    return next(iter(tasks.values()))


def _rounds(
    costs: Mapping[str, Cost], tasks: Mapping[str, UNetTask], budget: float, plan: Plan
) -> int:
    one = sum(
        cost.step * tasks[name].steps() * plan.local_epochs + cost.validation
        for name, cost in costs.items()
    )
    return max(1, min(int(budget / max(one, 1e-6)), plan.max_epochs // plan.local_epochs))


class _Local:
    """A site's own part: its task with several passes as one epoch, and no validation in it."""

    def __init__(self, task: UNetTask, passes: int) -> None:
        self.name, self.model, self._task, self._passes = task.name, task.model, task, passes

    def steps(self) -> int:
        return self._task.steps() * self._passes

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        for number in range(self._passes):
            yield from self._task.train_batches(epoch * self._passes + number)

    def validation_batches(self) -> Iterator[Batch]:
        return iter(())

    def loss(self, batch: Batch) -> Tensor:
        return self._task.loss(batch)


def _average_rounds(
    tasks: Mapping[str, UNetTask],
    weights: Mapping[str, float],
    options: FitOptions,
    rounds: int,
    local_epochs: int,
    stage: Stage,
) -> None:
    local = {name: _Local(task, local_epochs) for name, task in tasks.items()}
    whole = replace(options, epochs=rounds)
    jobs = {name: fit(one, whole) for name, one in local.items()}
    curve: list[float] = []
    for number in range(rounds):
        for name, job in jobs.items():
            _advance(job, (number + 1) * local[name].steps())
        average = _average({name: task.model.state_dict() for name, task in tasks.items()}, weights)
        losses = []
        for task in tasks.values():
            task.model.load_state_dict(average)
            losses.append(validation_loss(task))
        known = [loss for loss in losses if loss is not None]
        if known:
            curve.append(sum(known) / len(known))
    for job in jobs.values():
        job.close()
    stage.losses = {"validation": curve}


def _advance(job: Job[FitReport], done: int) -> None:
    """Let a site train until so many of its steps are done."""
    while next(job).done < done:
        pass


def _average(
    states: Mapping[str, Mapping[str, Tensor]], weights: Mapping[str, float]
) -> dict[str, Tensor]:
    total = sum(weights.values())
    first = next(iter(states.values()))
    return {
        key: sum(
            (states[name][key].float() * (weights[name] / total) for name in states),
            torch.zeros_like(first[key], dtype=torch.float32),
        ).to(first[key].dtype)
        for key in first
    }
