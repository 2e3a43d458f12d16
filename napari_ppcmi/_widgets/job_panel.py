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
from napari_ppcmi._widgets.parts import Note, Section, into_view, listen, plain, while_there
from ppcmi_sf.errors import KeyFileError, PPCMIError

_STEPS = 1000


class JobPanel(QWidget):
    """Runs requests and shows how they go.

    What is said to the page ends with the page, and so do the long jobs that it started: nobody
    could see or cancel them any more.

    Parameters
    ----------
    jobs
        The viewer's.
    pausable
        Whether there is a Pause button.
    """

    progressed = Signal(object)
    idle = Signal()
    """After everything else of a job has run, when no other one of this panel is left."""

    def __init__(
        self, jobs: Jobs, parent: QWidget | None = None, *, pausable: bool = False
    ) -> None:
        super().__init__(parent)
        self._jobs = jobs
        self._disabled: dict[Job, list[QWidget]] = {}
        self._shown: Job | None = None
        self._build(pausable)
        jobs.status_changed.connect(self._show_status)
        self._show_status(jobs.status)
        self._is_open = self._is_anything_open()
        listen(self, jobs.session.changed, self._forget_lock)

    @property
    def job(self) -> Job | None:
        """Which one of this panel's is shown: the worker does the long ones in their order."""
        going = list(self._disabled)
        return next((job for job in going if not job.request.quick), next(iter(going), None))

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
        self.error = Note("error", is_plain=True)
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
        cancelled: Callable[[], None] | None = None,
        goes_on: bool = False,
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
        cancelled
            Called when the user has stopped it.
        goes_on
            Whether it follows others by itself: then the page stays where the user has scrolled it.
        """
        self.clear()
        job = self._jobs.submit(request)
        # What another one has disabled waits for both.
        held = [one for one in disable if one.isEnabled() or self._is_held(one)]
        self._disabled[job] = held
        for widget in held:
            widget.setEnabled(False)
        self._show_job()
        job.progressed.connect(self._show_step)
        if request.quick:
            job.succeeded.connect(lambda _answer: self._jobs.say_ready())
        job.succeeded.connect(while_there(self, done))
        job.failed.connect(self.show_failure)
        job.failed.connect(lambda _failure: self._jobs.say_ready())  # told above, and only here
        if failed is not None:
            job.failed.connect(while_there(self, failed))
        if cancelled is not None:
            job.cancelled.connect(while_there(self, cancelled))
        job.finished.connect(while_there(self, lambda: self._finish(job)))
        if not (request.quick or goes_on):
            into_view(self)
        if not request.quick:
            self.destroyed.connect(job.cancel)
        return job

    def show_failure(self, failure: Failure) -> None:
        """Say what went wrong and what to do; details are folded away."""
        self._is_of_key = failure.kind == KeyFileError.__name__
        self.error.tell(failure.text)
        self._details_text.setText(failure.details)
        self.details.setVisible(bool(failure.details))
        into_view(self.error)

    def refuse(self, message: str, hint: str, *, is_locked: bool = False) -> None:
        """Say what is missing before anything can be done.

        Parameters
        ----------
        is_locked
            Whether unlocking is what is missing: then it is said until that is done.
        """
        kind = KeyFileError.__name__ if is_locked else PPCMIError.__name__
        self.show_failure(Failure(message=message, hint=hint, kind=kind))

    def clear(self) -> None:
        """Take away the last error."""
        self._is_of_key = False
        self.error.tell("")
        self.details.hide()
        self.details.collapse(animate=False)

    def _is_anything_open(self) -> bool:
        session = self._jobs.session
        return session.key is not None or session.identity is not None

    def _forget_lock(self) -> None:
        """Stop asking for what was done meanwhile, on another page."""
        was_open, self._is_open = self._is_open, self._is_anything_open()
        if self._is_of_key and self._is_open and not was_open:
            self.clear()

    def _show_step(self, step: Step) -> None:
        self.bar.setRange(0, _STEPS)
        self.bar.setValue(round(_STEPS * step.fraction))
        left = "" if step.seconds_left is None else f" — {_time(step.seconds_left)} left"
        if self.job is None or not self.job.is_paused:  # its last step comes after the click
            self._jobs.say(f"{step.message}{left}")
        self.progressed.emit(step)

    def _show_status(self, text: str) -> None:
        device = self._jobs.device
        end = "" if text.endswith((".", "…", "!", "?")) else "."
        self.status.setText(f"{text}{end} {device}" if device else text)

    def _show_job(self) -> None:
        """Show the job that runs now, if it is another one than before."""
        job = self.job
        self._row.setVisible(job is not None and not job.request.quick)
        if job is None or job is self._shown:
            return
        self._shown = job
        self.bar.setRange(0, 0)  # moving, until the first step is known
        self.cancel.setEnabled(not job.is_cancelling)
        self.pause.setText("&Go on" if job.is_paused else "&Pause")

    def _is_held(self, widget: QWidget) -> bool:
        return any(widget in held for held in self._disabled.values())

    def _toggle_pause(self) -> None:
        job = self.job
        if job is None:
            return
        if job.is_paused:
            job.resume()
            self.pause.setText("&Pause")
            self._jobs.say("Going on…")
        else:
            job.pause()
            self.pause.setText("&Go on")
            self._jobs.say("Paused.")

    def _cancel(self) -> None:
        job = self.job
        if job is not None:
            self.cancel.setEnabled(False)
            job.cancel()

    def _finish(self, job: Job) -> None:
        for widget in self._disabled.pop(job):
            if not self._is_held(widget):
                widget.setEnabled(True)
        self._show_job()
        if not self._disabled:
            self.idle.emit()


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
