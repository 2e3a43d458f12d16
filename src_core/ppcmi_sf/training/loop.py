"""The one training loop: seeded, resumable after a kill, cancellable between two batches.

Everything random is a function of the seed and the epoch, so a checkpoint needs
no random state: a training that is resumed goes on as if it had not stopped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ppcmi_sf.errors import ResourceError, TrainingError
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.training.checkpoint import load_checkpoint, save_checkpoint
from ppcmi_sf.training.fit_options import FitOptions

Batch = TypeVar("Batch")

WARMUP_SHARE = 0.05
FINAL_RATE = 0.01
GRADIENT_NORM = 5.0


class Task(Protocol[Batch]):
    """What is trained: a model, its batches and its loss."""

    @property
    def name(self) -> str:
        """What progress messages call it."""

    @property
    def model(self) -> nn.Module:
        """The network whose parameters are trained."""

    def steps(self) -> int:
        """Training batches per epoch."""

    def train_batches(self, epoch: int) -> Iterator[Batch]:
        """Training batches of an epoch (counted from 0)."""

    def validation_batches(self) -> Iterator[Batch]:
        """Batches of the validation part; none if there is no such part."""

    def loss(self, batch: Batch) -> Tensor:
        """Mean loss of a batch; in training or evaluation mode as the model is."""


@dataclass
class FitReport:
    """How a training went.

    Attributes
    ----------
    epochs
        Passes that were made.
    kept_epoch
        The one whose weights were kept: the last, or with patience the best.
    best_epoch, best_loss
        Where the validation loss was lowest; ``None`` and the last epoch without validation.
    train_losses, validation_losses
        One for each epoch.
    """

    epochs: int = 0
    kept_epoch: int = 0
    best_epoch: int = 0
    best_loss: float | None = None
    train_losses: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)

    @property
    def kept_loss(self) -> float | None:
        """Validation loss of the weights that were kept; ``None`` without validation."""
        return self.validation_losses[self.kept_epoch - 1] if self.validation_losses else None


class _Fit(Generic[Batch]):
    def __init__(self, task: Task[Batch], options: FitOptions) -> None:
        self.task, self.options = task, options
        self.optimizer = torch.optim.AdamW(
            task.model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self.report = FitReport()
        self.kept: dict[str, Tensor] = {}

    def rate(self, step: int) -> float:
        total = self.options.epochs * self.task.steps()
        warmup = max(1, int(total * WARMUP_SHARE))
        if step < warmup:
            return self.options.learning_rate * (step + 1) / warmup
        cosine = 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
        return self.options.learning_rate * (FINAL_RATE + (1 - FINAL_RATE) * cosine)

    def progress(self, step: int, what: str) -> Progress:
        """Where the training is; its values are of the last epoch that is finished."""
        steps, report = self.task.steps(), self.report
        epoch = min(report.epochs + 1, self.options.epochs)
        values = {}
        if report.train_losses:
            values = {"epoch": float(report.epochs), "loss": report.train_losses[-1]}
        if report.validation_losses:
            values["validation_loss"] = report.validation_losses[-1]
        message = f"{self.task.name}: {what}, epoch {epoch} of {self.options.epochs}"
        return Progress(step, self.options.epochs * steps, message, values)

    def train_epoch(self) -> Job[float]:
        epoch, steps = self.report.epochs, self.task.steps()
        losses = []
        self.task.model.train()
        for index, batch in enumerate(self.task.train_batches(epoch)):
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate(epoch * steps + index)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.task.loss(batch)
            value = float(loss.detach())
            self._require_finite(value)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.task.model.parameters(), GRADIENT_NORM)
            self.optimizer.step()
            losses.append(value)
            yield self.progress(epoch * steps + index + 1, "training")
        return sum(losses) / len(losses)

    def validate(self) -> Job[float | None]:
        self.task.model.eval()
        losses = []
        for batch in self.task.validation_batches():
            with torch.no_grad():
                losses.append(float(self.task.loss(batch)))
            self._require_finite(losses[-1])
            yield self.progress((self.report.epochs + 1) * self.task.steps(), "validating")
        return sum(losses) / len(losses) if losses else None

    def _require_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise TrainingError(
                f"{self.task.name}: the loss is not a finite number any more.",
                hint="Use a lower learning rate, and check the images for extreme values.",
            )

    def finish_epoch(self, train_loss: float, validation_loss: float | None) -> None:
        report = self.report
        report.epochs += 1
        report.train_losses.append(train_loss)
        if validation_loss is not None:
            report.validation_losses.append(validation_loss)
        best = math.inf if report.best_loss is None else report.best_loss
        better = validation_loss is None or validation_loss < best
        if better:
            report.best_loss, report.best_epoch = validation_loss, report.epochs
        # A patient or two that are set apart cannot tell which of two epochs is the better one
        # (docs/decisions/0029), so without patience the last weights are kept.
        if better or self.options.patience is None:
            report.kept_epoch = report.epochs
            self.kept = deepcopy(self.task.model.state_dict())

    @property
    def finished(self) -> bool:
        report, patience = self.report, self.options.patience
        waited = report.epochs - report.best_epoch
        return report.epochs >= self.options.epochs or (patience is not None and waited >= patience)


def fit(
    task: Task[Batch], options: FitOptions, *, checkpoint: Path | None = None, signature: str = ""
) -> Job[FitReport]:
    """Train ``task.model`` and leave the last weights in it, or with patience the best.

    Parameters
    ----------
    checkpoint
        Where to write the state after every epoch, and to go on from when it is
        there. The caller removes it once the result is written.
    signature
        Names settings and data. A checkpoint of another signature is not used.

    Raises
    ------
    TrainingError
        There is nothing to train on, or the loss is not finite.
    ResourceError
        Memory ran out.
    """
    if task.steps() == 0:
        raise TrainingError(
            f"{task.name}: there is nothing to train on.", hint="Add cases to the data folder."
        )
    state = _Fit(task, options)
    if checkpoint is not None and checkpoint.is_file():
        loaded = load_checkpoint(checkpoint, task.model, state.optimizer, signature)
        if loaded is not None:
            fields, state.kept = loaded
            state.report = FitReport(**fields)
    try:
        yield state.progress(state.report.epochs * task.steps(), "starting")
        while not state.finished:
            train_loss = yield from state.train_epoch()
            validation_loss = yield from state.validate()
            state.finish_epoch(train_loss, validation_loss)
            if checkpoint is not None:
                save_checkpoint(
                    checkpoint,
                    task.model,
                    state.optimizer,
                    state.kept,
                    vars(state.report),
                    signature,
                )
            yield state.progress(state.report.epochs * task.steps(), "training")
    except torch.OutOfMemoryError as error:
        raise ResourceError(
            f"{task.name}: the device ran out of memory.",
            hint="Use a smaller batch size (--batch-size) or another device (--device cpu).",
        ) from error
    task.model.load_state_dict(state.kept)
    task.model.eval()
    return state.report
