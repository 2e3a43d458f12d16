"""Requests of a page one after another, as when several images are opened at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_ppcmi._jobs import Job
from napari_ppcmi._protocol.message import Failure, Request
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.parts import while_there


@dataclass(frozen=True, eq=False)
class _Turn:
    name: str
    request: Request
    done: Callable[..., None]
    failed: Callable[[Failure], None] | None


class InTurn(QObject):
    """A queue that a page's panel shows: a cancel stops all of it, a failure only its own.

    Parameters
    ----------
    panel
        Shows each one, and at the end what failed.
    aim
        What is to be done with each of them: "opened".
    disable
        What cannot be used meanwhile.
    """

    finished = Signal()
    """After the last one was dealt with, whatever came of it."""

    def __init__(self, panel: JobPanel, aim: str, disable: Sequence[QWidget]) -> None:
        super().__init__(panel)
        self._panel, self._aim, self._disable = panel, aim, disable
        self._waiting: list[_Turn] = []
        self._is_busy = False
        self._asked = 0
        self.failures: list[tuple[str, Failure]] = []
        """The name of each, and what went wrong; until the next ones begin."""

    def add(self, name: str, request: Request, done: Callable[..., None]) -> None:
        """Put a request at the end; :meth:`go_on` starts it."""
        self._count_one()
        self._waiting.append(_Turn(name, request, done, None))

    def add_step(
        self,
        name: str,
        request: Request,
        done: Callable[..., None],
        failed: Callable[[Failure], None] | None = None,
    ) -> None:
        """Put a further step of the one that is just done before all that wait."""
        self._waiting.insert(0, _Turn(name, request, done, failed))

    def note_failure(self, name: str, failure: Failure) -> None:
        """Tell at the end of one, too, that failed before it came here."""
        self._count_one()
        self.failures.append((name, failure))

    def go_on(self) -> None:
        """Start what waits, or tell that nothing does."""
        if not self._is_busy:
            self._next()

    def _count_one(self) -> None:
        if self._asked == 0:
            self.failures = []
        self._asked += 1

    def _leave_out(self) -> None:
        self._asked -= 1

    def _next(self, *, goes_on: bool = False) -> None:
        self._is_busy = bool(self._waiting)
        if not self._waiting:
            self._tell()
            return
        turn = self._waiting.pop(0)
        job = self._panel.run(
            turn.request,
            turn.done,
            disable=self._disable,
            failed=turn.failed,
            goes_on=goes_on,
        )
        job.cancelled.connect(self._leave_out)
        job.failed.connect(lambda failure: self.failures.append((turn.name, failure)))
        job.finished.connect(while_there(self._panel, lambda: self._end(job)))

    def _end(self, job: Job) -> None:
        # Also where it was done before it heard of the cancel, and said so.
        if job.is_cancelling:  # leave the rest alone; of what is not done, the user knows
            self._asked -= len(self._waiting)
            self._waiting.clear()
        self._next(goes_on=True)

    def _tell(self) -> None:
        if self.failures and self._asked:
            self._panel.show_failure(_left_undone(self.failures, self._asked, self._aim))
        self._asked = 0
        self.finished.emit()


def _left_undone(failures: Sequence[tuple[str, Failure]], asked: int, aim: str) -> Failure:
    """What to tell at the end: how many of all failed, which, and why."""
    if asked == 1:
        return failures[0][1]
    names: dict[str, list[str]] = {}
    for name, failure in failures:
        names.setdefault(failure.text, []).append(name)
    why = " ".join(f"{', '.join(of)}: {text}" for text, of in names.items())
    details = "\n".join(dict.fromkeys(one.details for _, one in failures if one.details))
    others = "; the others were" if len(failures) < asked else ""
    return Failure(
        message=f"{len(failures)} of {asked} could not be {aim}{others}.",
        hint=why,
        details=details,
    )
