"""Progress of a long job, and how to run one.

A long job is a generator that yields :class:`Progress` and returns its result.
The command line, the GUI and the tests drive the same generator; to cancel is
to stop iterating and ``close()`` it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Progress:
    """One step of a long job.

    Parameters
    ----------
    done, total
        Units finished and units in all (``0 <= done <= total``).
    message
        What is going on, in plain words.
    values
        Figures worth showing, such as ``{"loss": 0.12}``.
    """

    done: int
    total: int
    message: str
    values: dict[str, float] = field(default_factory=dict)

    @property
    def fraction(self) -> float:
        """Share of the job that is done, in [0, 1]."""
        return self.done / self.total if self.total else 1.0


Job: TypeAlias = Generator[Progress, None, Result]


def run(job: Job[Result], on_progress: Callable[[Progress], None] | None = None) -> Result:
    """Drive a job to its end and return its result.

    Parameters
    ----------
    job
        A generator of :class:`Progress`.
    on_progress
        Called with every step. If it raises (Ctrl-C, say), the job is closed,
        which makes it clean up, and the exception goes on.
    """
    try:
        while True:
            try:
                step = next(job)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            if on_progress is not None:
                on_progress(step)
    finally:
        job.close()


def retold(job: Job[Result], tell: Callable[[Progress], Progress]) -> Job[Result]:
    """A job as a part of a longer one, which tells each step in its own way.

    Parameters
    ----------
    job
        A generator of :class:`Progress`; it is closed together with this one.
    tell
        Makes the step that is shown of the job's own.
    """
    try:
        while True:
            try:
                step = next(job)
            except StopIteration as stop:
                result: Result = stop.value
                return result
            yield tell(step)
    finally:
        job.close()


class Eta:
    """Seconds left, from the pace of the work so far.

    Work that was finished before the clock started (a resumed training) does
    not count towards the pace. The clock starts anew when a job counts anew: its
    checks tell nothing of the training that follows.
    """

    def __init__(self) -> None:
        self._started: float | None = None
        self._first_done = self._last_done = self._total = 0

    def seconds_left(self, step: Progress) -> float | None:
        """Estimate from this step, or ``None`` while there is nothing to go by."""
        now = time.monotonic()
        counts_anew = step.total != self._total or step.done < self._last_done
        self._last_done, self._total = step.done, step.total
        if self._started is None or counts_anew:
            self._started, self._first_done = now, step.done
            return None
        advanced = step.done - self._first_done
        if advanced <= 0:
            return None
        return (now - self._started) / advanced * (step.total - step.done)
