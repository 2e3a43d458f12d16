"""What every page has at its foot: what is going on, how far it is, Cancel, and what went wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._jobs import Job, Jobs
from napari_ppcmi._protocol.message import Failure, Request, Step
from napari_ppcmi._widgets.parts import Section, plain

_STEPS = 1000


class JobPanel(QWidget):
    """Runs requests and shows how they go.

    Parameters
    ----------
    jobs
        The viewer's.
    pausable
        Whether there is a Pause button.
    """

    progressed = Signal(object)
    idle = Signal()
    """After everything else of a job has run."""

    def __init__(
        self, jobs: Jobs, parent: QWidget | None = None, *, pausable: bool = False
    ) -> None:
        super().__init__(parent)
        self._jobs = jobs
        self._job: Job | None = None
        self._disabled: list[QWidget] = []
        self._build(pausable)
        jobs.status_changed.connect(self._show_status)
        self._show_status(jobs.status)

    @property
    def job(self) -> Job | None:
        """The request that runs now, if this panel started it."""
        return self._job

    def _build(self, pausable: bool) -> None:
        self.status = plain("status")
        self.bar = QProgressBar(objectName="progress")
        self.bar.setRange(0, _STEPS)
        self.bar.setTextVisible(False)
        self.pause = QPushButton("&Pause", objectName="pause")
        self.pause.setToolTip("Let it wait, and go on later.")
        self.pause.clicked.connect(self._toggle_pause)
        self.pause.setVisible(pausable)
        self.cancel = QPushButton("&Cancel", objectName="cancel")
        self.cancel.setToolTip("Stop within two seconds. Nothing half-written stays.")
        self.cancel.clicked.connect(self._cancel)
        self.error = plain("error")
        self.details = Section("Details", "For a report to the developers; it names no patient.")
        self._details_text = plain("details")
        self.details.addWidget(self._details_text)
        self._row = QWidget()
        row = QHBoxLayout(self._row)
        row.setContentsMargins(0, 0, 0, 0)
        for widget in (self.bar, self.pause, self.cancel):
            row.addWidget(widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.error, self.details, self.status, self._row):
            layout.addWidget(widget)
        self._row.hide()
        self.clear()

    def run(
        self,
        request: Request,
        done: Callable[..., None],
        *,
        disable: Sequence[QWidget] = (),
        failed: Callable[[Failure], None] | None = None,
    ) -> Job:
        """Hand over a request.

        Parameters
        ----------
        done
            Called with the answer, in the GUI thread.
        disable
            What cannot be used until it has ended.
        failed
            Called besides showing the failure.
        """
        self.clear()
        job = self._jobs.submit(request)
        self._job = job
        self._disabled = [widget for widget in disable if widget.isEnabled()]
        for widget in self._disabled:
            widget.setEnabled(False)
        self.bar.setRange(0, 0)  # moving, until the first step is known
        self.cancel.setEnabled(True)
        self.pause.setText("&Pause")
        self._row.setVisible(not request.quick)
        job.progressed.connect(self._show_step)
        job.succeeded.connect(done)
        job.failed.connect(self.show_failure)
        if failed is not None:
            job.failed.connect(failed)
        job.finished.connect(self._finish)
        return job

    def show_failure(self, failure: Failure) -> None:
        """Say what went wrong and what to do; details are folded away."""
        self.error.setText(failure.text)
        self.error.show()
        self._details_text.setText(failure.details)
        self.details.setVisible(bool(failure.details))

    def refuse(self, message: str, hint: str) -> None:
        """Say what is missing before anything can be done."""
        self.show_failure(Failure(message=message, hint=hint))

    def clear(self) -> None:
        """Take away the last error."""
        self.error.clear()
        self.error.hide()
        self.details.hide()
        self.details.collapse(animate=False)

    def _show_step(self, step: Step) -> None:
        self.bar.setRange(0, _STEPS)
        self.bar.setValue(round(_STEPS * step.fraction))
        left = "" if step.seconds_left is None else f" — {_time(step.seconds_left)} left"
        self._jobs.say(f"{step.message}{left}")
        self.progressed.emit(step)

    def _show_status(self, text: str) -> None:
        device = self._jobs.device
        self.status.setText(f"{text} {device}" if device else text)

    def _toggle_pause(self) -> None:
        if self._job is None:
            return
        if self._job.is_paused:
            self._job.resume()
            self.pause.setText("&Pause")
        else:
            self._job.pause()
            self.pause.setText("&Go on")
            self._jobs.say("Paused.")

    def _cancel(self) -> None:
        if self._job is not None:
            self.cancel.setEnabled(False)
            self._job.cancel()

    def _finish(self) -> None:
        self._job = None
        self._row.hide()
        for widget in self._disabled:
            widget.setEnabled(True)
        self._disabled = []
        self.idle.emit()


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
