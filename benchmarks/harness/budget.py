"""Trainings that fit into a budget of processor time.

The engine's ``fit`` counts epochs, and its learning rate falls over all of them. So a few steps
are timed first, and what the budget allows is asked for: the rate always falls to its end.
Processor time and not wall time, because machines are shared. A process that waits for its GPU does
so busily, so there it holds the GPU's time as well.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.plan import Plan, Step
from ppcmi_sf.progress import run
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.loop import FitReport, Task, fit

FEWEST_TRIAL_STEPS, TRIAL_STEPS, MOST_TRIAL_STEPS = 5, 12, 1000
SURE_SHARE, TRIAL_SHARE = 0.01, 0.05  # of the budget, for timing; it is not counted as training
VALIDATION_SHARE = 0.15  # of the budget, at most, for looking at the validation part


@dataclass
class Stage:
    """What one part of a row's training took.

    Attributes
    ----------
    name, site
        Which training, and whose; ``site`` is empty where it is of all.
    cpu_seconds, wall_seconds
        Processor time of all threads, and wall time.
    epochs
        Passes over the training part.
    losses
        ``train`` and ``validation`` at each check, for curves.
    """

    name: str
    site: str = ""
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    steps: int = 0
    epochs: float = 0.0
    losses: dict[str, list[float]] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@contextmanager
def timed(stage: Stage) -> Iterator[Stage]:
    """Add what the block takes to a stage."""
    cpu, wall = time.process_time(), time.perf_counter()
    try:
        yield stage
    finally:
        stage.cpu_seconds += time.process_time() - cpu
        stage.wall_seconds += time.perf_counter() - wall


class Portioned:
    """A task whose epochs are so many batches, however long a pass over its data is.

    Validation then comes evenly, and a budget that ends in the middle of a pass is used up.
    """

    def __init__(self, task: Task[Any], steps: int) -> None:
        self._task, self._steps = task, steps
        self._stream = itertools.chain.from_iterable(
            task.train_batches(epoch) for epoch in itertools.count()
        )

    @property
    def name(self) -> str:
        return self._task.name

    @property
    def model(self) -> nn.Module:
        return self._task.model

    def steps(self) -> int:
        return self._steps

    def train_batches(self, epoch: int) -> Iterator[Any]:
        """The next portion; ``fit`` asks for them in turn."""
        return itertools.islice(self._stream, self._steps)

    def validation_batches(self) -> Iterator[Any]:
        return self._task.validation_batches()

    def loss(self, batch: Any) -> Tensor:
        return self._task.loss(batch)


@dataclass(frozen=True)
class Cost:
    """Processor seconds of a step, and of one look at the validation part."""

    step: float
    validation: float


def options_for(step: Step, seed: int) -> FitOptions:
    """Engine options that do not stop early; epochs are set by the budget."""
    return FitOptions(batch_size=step.batch_size, learning_rate=step.learning_rate, seed=seed)


def measure(task: Task[Any], options: FitOptions, budget: float) -> Cost:
    """Time some steps and one validation, and put the weights back."""
    before = deepcopy(task.model.state_dict())
    job = fit(Portioned(task, MOST_TRIAL_STEPS), replace(options, epochs=1))
    steps: list[float] = []
    started = last = time.process_time()
    for progress in job:
        now = time.process_time()
        if progress.done > len(steps):
            steps.append(now - last)
        last = now
        enough = FEWEST_TRIAL_STEPS if now - started < 4 * TRIAL_SHARE * budget else 1
        over = now - started > TRIAL_SHARE * budget and len(steps) >= enough
        sure = now - started > SURE_SHARE * budget and len(steps) >= TRIAL_STEPS
        if over or sure:
            break
    job.close()
    task.model.load_state_dict(before)
    task.model.train()
    started = time.process_time()
    validation_loss(task)
    validation = time.process_time() - started
    # The first steps also choose and build the machine code of each layer.
    return Cost(statistics.median(steps[min(3, len(steps) - 1) :]), validation)


def validation_loss(task: Task[Any]) -> float | None:
    """Mean loss over the validation part, as ``fit`` has it."""
    task.model.eval()
    with torch.no_grad():
        losses = [float(task.loss(batch)) for batch in task.validation_batches()]
    return sum(losses) / len(losses) if losses else None


def portions(cost: Cost, budget: float, most_steps: int, checks: int) -> tuple[int, int]:
    """How many portions, of how many steps each, use up a budget."""
    if cost.validation > 0:
        checks = min(checks, int(VALIDATION_SHARE * budget / cost.validation))
    checks = max(1, checks)
    steps = int((budget - checks * cost.validation) / max(cost.step, 1e-6))
    steps = max(1, min(steps, most_steps))
    each = -(-steps // checks)
    return steps // each, each


def fit_within(
    task: Task[Any], options: FitOptions, budget: float, plan: Plan, stage: Stage
) -> FitReport:
    """Train a task for a budget, leave the last weights in it, and note what it took."""
    cost = measure(task, options, budget)
    checks, steps = portions(cost, budget, plan.max_epochs * task.steps(), plan.checks)
    with timed(stage):
        report = run(fit(Portioned(task, steps), replace(options, epochs=checks)))
    stage.steps += checks * steps
    stage.epochs += checks * steps / task.steps()
    stage.losses = {"train": report.train_losses, "validation": report.validation_losses}
    stage.notes |= {
        "best_check": report.best_epoch,
        "checks": checks,
        "step_seconds": round(cost.step, 5),
    }
    return report
