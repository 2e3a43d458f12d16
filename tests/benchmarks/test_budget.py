"""Trainings take the processor time they were given, and their rate falls to its end."""

import time

import numpy as np
import pytest
import torch
from torch import nn

from harness.budget import Cost, Portioned, Stage, fit_within, measure, options_for, portions, timed
from harness.plan import Step

STEP = 0.01  # processor seconds


class Slow:
    """Three batches a pass; a step and a validation take a known processor time."""

    name = "Slow"

    def __init__(self, validation=1):
        torch.manual_seed(0)
        self.model = nn.Linear(1, 1)
        self.validation, self.seen, self.rates = validation, [], []

    def steps(self):
        return 3

    def train_batches(self, epoch):
        for number in range(3):
            self.seen.append((epoch, number))
            yield torch.ones(2, 1)

    def validation_batches(self):
        return iter([torch.ones(2, 1)] * self.validation)

    def loss(self, batch):
        until = time.process_time() + STEP
        while time.process_time() < until:
            pass
        return (self.model(batch) - 2).square().mean()


class FewEpochs:
    """The part of a plan that a training reads."""

    max_epochs, checks = 10**6, 5


def test_a_training_uses_its_budget():
    task, stage = Slow(), Stage("slow")
    fit_within(task, options_for(Step(batch_size=2, learning_rate=0.1), 0), 1.0, FewEpochs, stage)
    assert 0.5 < stage.cpu_seconds < 1.5
    assert stage.epochs == pytest.approx(stage.steps / 3)
    assert len(stage.losses["validation"]) == stage.notes["checks"] <= 6
    assert stage.losses["train"][-1] < stage.losses["train"][0]


def test_a_training_ends_with_the_most_epochs_of_the_plan():
    class Short:
        max_epochs, checks = 2, 5

    task, stage = Slow(), Stage("slow")
    fit_within(task, options_for(Step(batch_size=2, learning_rate=0.1), 0), 9.0, Short, stage)
    assert stage.steps <= 6


def test_measuring_leaves_the_weights_and_finds_the_cost():
    task = Slow(validation=4)
    before = task.model.weight.detach().clone()
    cost = measure(task, options_for(Step(batch_size=2, learning_rate=0.1), 0), 10.0)
    assert torch.equal(task.model.weight, before)
    assert STEP <= cost.step < 3 * STEP
    assert 4 * STEP <= cost.validation < 12 * STEP


def test_portions_go_on_where_the_last_one_ended():
    task = Slow()
    portioned = Portioned(task, 2)
    for epoch in range(3):
        assert len(list(portioned.train_batches(epoch))) == 2
    assert task.seen == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


@pytest.mark.parametrize(
    ("cost", "budget", "most", "expected"),
    [
        (Cost(1.0, 0.0), 100, 10**6, (25, 4)),
        (Cost(1.0, 0.0), 100, 10, (10, 1)),
        (Cost(1.0, 10.0), 100, 10**6, (1, 90)),  # looking once takes all that it may take
        (Cost(1.0, 0.0), 0.5, 10**6, (1, 1)),  # never nothing
        (Cost(1.0, 0.0), 30, 10**6, (15, 2)),
    ],
)
def test_how_a_budget_is_divided(cost, budget, most, expected):
    assert portions(cost, budget, most, 25) == expected


def test_a_stage_adds_up():
    stage = Stage("a")
    for _ in range(2):
        with timed(stage):
            sum(range(10**5))
    assert 0 < stage.cpu_seconds <= stage.wall_seconds + 0.02
    assert Stage(**stage.to_json()) == stage
    assert np.isfinite(stage.cpu_seconds)
