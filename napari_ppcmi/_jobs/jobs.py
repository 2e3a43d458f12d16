"""Jobs of one viewer: requests to its worker, and signals in the GUI thread.

The worker is started when the first widget is opened, and ends with the last one or with napari.
"""

from __future__ import annotations

import atexit
import itertools
import time
import weakref
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QEventLoop, QObject, Qt, QTimer, Signal

from napari_ppcmi._jobs.process import EVENT_ENDED, WorkerProcess
from napari_ppcmi._protocol.audit import AuditSite
from napari_ppcmi._protocol.bundles import FindCases, KeepLayer
from napari_ppcmi._protocol.images import (
    ListSeries,
    MakeThumbnail,
    OpenImage,
    OpenKeptMask,
    SaveMask,
)
from napari_ppcmi._protocol.keys import Lock, Unlock, Unlocked
from napari_ppcmi._protocol.message import OUT_OF_MEMORY, Answer, Failure, Request
from napari_ppcmi._protocol.training import AlignSite, JoinServer, TrainServer, TrainSite
from napari_ppcmi._session import Session

CANCEL_MS = 1500
"""So long a cancelled job may take to tidy up before the worker is ended by force."""

IDLE_CHECK_MS = 5000
_UNLOCK_AGAIN = 0
"""Number of what a fresh worker is asked first, where the one before had a key open."""
_HEAVY = (TrainSite, AlignSite, TrainServer, JoinServer, AuditSite)
_WITHOUT_SECRETS = (
    TrainSite, OpenImage, ListSeries, OpenKeptMask, MakeThumbnail, SaveMask, FindCases, KeepLayer,
)  # fmt: skip
"""Long ones that go on when the key is locked: they read images, and write to this computer."""


class Job(QObject):
    """One request on its way. ``finished`` comes always and after every other signal."""

    progressed = Signal(object)
    succeeded = Signal(object)
    failed = Signal(object)
    cancelled = Signal()
    finished = Signal()

    def __init__(self, jobs: Jobs, number: int, request: Request) -> None:
        super().__init__(jobs)
        self.number, self.request = number, request
        self.is_cancelling = self.is_paused = False
        self._jobs = jobs

    def cancel(self) -> None:
        """Stop it within two seconds; nothing half-written stays."""
        if not self.is_cancelling:
            self.is_cancelling = True
            self._jobs.cancel(self)

    def pause(self) -> None:
        """Let it wait after its current step."""
        self.is_paused = True
        self._jobs.tell(self, "pause")

    def resume(self) -> None:
        """Let it go on."""
        self.is_paused = False
        self._jobs.tell(self, "resume")


class Jobs(QObject):
    """The worker of one viewer.

    Parameters
    ----------
    session
        The viewer's session; it is told when something is unlocked or locked.
    """

    status_changed = Signal(str)

    key_lost = Signal(object)
    """A :class:`Failure`: why what was open in the worker before is not open in a fresh one."""

    _event = Signal(object, int, str, object)

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.device = ""
        self.status = "Ready."
        self._numbers = itertools.count(1)
        self._jobs: dict[int, Job] = {}
        self._process: WorkerProcess | None = None
        self._is_worn = False
        self._unlock: Unlock | None = None
        self._widgets = 0
        self._is_closed = False
        self._last_use = time.monotonic()
        # Queued: the events come from another thread.
        self._event.connect(self._on_event, Qt.ConnectionType.QueuedConnection)
        self._idle = QTimer(self)
        self._idle.timeout.connect(self._lock_when_idle)
        self._idle.start(IDLE_CHECK_MS)
        atexit.register(_end_quietly, weakref.ref(self))

    @property
    def running(self) -> Job | None:
        """The long job that runs now."""
        return next((job for job in self._jobs.values() if not job.request.quick), None)

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker, if there is one."""
        return None if self._process is None else self._process.pid

    def attach(self, widget: QObject) -> None:
        """Keep the worker for as long as a widget lives; start it now, so that it is warm."""
        self._widgets += 1
        self._is_closed = False
        widget.destroyed.connect(self._detach)
        self._ensure()

    def _detach(self) -> None:
        self._widgets -= 1
        if self._widgets == 0:
            self.close()

    def submit(self, request: Request) -> Job:
        """Hand over a request. Connect to the job's signals at once: they come later."""
        job = Job(self, next(self._numbers), request)
        self._jobs[job.number] = job
        if self._is_closed:  # a page that tidies up may ask once more: nobody waits for it
            self._drop(job)
            return job
        if isinstance(request, Lock):
            self._forget_secrets()
        elif isinstance(request, Unlock):
            job.succeeded.connect(lambda opened: self._set_unlocked(request, opened))
        process = self._ensure()
        self._last_use = time.monotonic()
        if process is None:
            QTimer.singleShot(0, lambda: self._end(job.number, "failed", _not_started()))
            return job
        process.submit(job.number, request)
        return job

    def wait_for(self, request: Request) -> Answer | None:
        """Hand over a request and come back with its answer; the window goes on answering.

        For callers that napari wants a result of at once, such as readers. ``None`` when it was
        cancelled.
        """
        loop, got = QEventLoop(), list[Answer]()
        job = self.submit(request)
        job.succeeded.connect(got.append)
        job.failed.connect(got.append)
        job.finished.connect(loop.quit)
        loop.exec()
        return got[0] if got else None

    def lock(self) -> Job:
        """Forget everything secret, here and in the worker; what works with it is stopped."""
        for job in list(self._jobs.values()):
            if not job.request.quick and not isinstance(job.request, _WITHOUT_SECRETS):
                job.cancel()
        locking = self.submit(Lock())
        locking.succeeded.connect(lambda _done: self.say("Locked."))
        return locking

    def _forget_secrets(self) -> None:
        self._unlock = None
        for job in list(self._jobs.values()):
            if isinstance(job.request, Unlock):  # or its answer would open what was locked after it
                self._drop(job)
        self.session.set_locked()

    def say(self, text: str) -> None:
        """Set the status line."""
        self.status = text
        self.status_changed.emit(text)

    def say_ready(self) -> None:
        """Say that nothing is going on, if so."""
        if self.running is None:
            self.say("Ready.")

    def cancel(self, job: Job) -> None:
        """See :meth:`Job.cancel`."""
        self.say("Cancelling…")
        self.tell(job, "cancel")
        QTimer.singleShot(CANCEL_MS, lambda: self._kill_if_there(job.number))

    def tell(self, job: Job, event: str) -> None:
        """Say something to a job that may have ended."""
        if self._process is not None and job.number in self._jobs:
            self._process.tell(job.number, event)

    def close(self) -> None:
        """End the worker with whatever it does. It starts again when a widget is opened."""
        self._is_closed = True
        for job in list(self._jobs.values()):
            self._drop(job)
        process, self._process = self._process, None
        self._unlock = None
        self.session.set_locked()
        if process is not None:
            process.end()
            process.kill()
            process.join()

    def _kill_if_there(self, number: int) -> None:
        if number in self._jobs and self._process is not None:
            self._process.kill()

    def _ensure(self) -> WorkerProcess | None:
        """The worker, started if there is none; ``None`` where the system starts no process."""
        if self._process is None:
            with suppress(OSError):
                self._process = self._start()
        return self._process

    def _start(self) -> WorkerProcess:
        self._is_worn = False
        process: WorkerProcess

        def tell(number: int, event: str, message: object) -> None:
            with suppress(RuntimeError):  # the window, and this object with it, is gone
                self._event.emit(process, number, event, message)

        process = WorkerProcess(tell)
        if self._unlock is not None:  # the one before had it open
            process.submit(_UNLOCK_AGAIN, self._unlock)
        return process

    def _recycle(self) -> None:
        """Take a fresh worker: the memory of the old one is given back for sure."""
        old, self._process = self._process, None
        if old is not None:
            old.end()
        self._ensure()

    def _on_event(self, process: WorkerProcess, number: int, event: str, message: Any) -> None:
        if process is not self._process:
            return  # a worker that was given up
        if event == EVENT_ENDED:
            self._process = None
            for left in list(self._jobs):
                self._end(left, "crashed", message)
        elif event == "ready":
            self.device = str(message)
            self.status_changed.emit(self.status)
        elif event == "progress" and number in self._jobs:
            self._jobs[number].progressed.emit(message)
        elif number == _UNLOCK_AGAIN and event == "failed" and self._unlock is not None:
            self._lose_key(message)
        elif number in self._jobs:
            self._end(number, event, message)

    def _lose_key(self, failure: Failure) -> None:
        self._unlock = None
        self.session.set_locked()
        told = f"Locked, since key and identity could not be opened again. {failure.message}"
        self.say(told)
        self.key_lost.emit(Failure(message=told, hint=failure.hint, kind=failure.kind))

    def _end(self, number: int, event: str, message: Answer | None = None) -> None:
        job = self._jobs.pop(number, None)
        if job is None:
            return  # it ended meanwhile
        self._last_use = time.monotonic()
        heavy = isinstance(job.request, _HEAVY) or event == "cancelled"
        heavy = heavy or (isinstance(message, Failure) and message.kind == OUT_OF_MEMORY)
        self._is_worn = self._is_worn or heavy
        # Not before quick ones have ended, too: nobody listens to a worker that was given up.
        if self._is_worn and self._process is not None and not self._jobs:
            self._recycle()
        self._finish(job, event, message)

    def _drop(self, job: Job) -> None:
        """End a job that no worker does any more, when who asks for that has come to its end."""
        self._jobs.pop(job.number, None)
        job.is_cancelling = True
        QTimer.singleShot(0, lambda: self._finish(job, "cancelled"))

    def _finish(self, job: Job, event: str, message: Answer | None = None) -> None:
        self._tell(job, event, message)
        job.finished.emit()
        job.deleteLater()

    def _tell(self, job: Job, event: str, message: Answer | None) -> None:
        if event == "succeeded":
            if not job.request.quick:  # most quick ones are none that the user has asked for
                self.say_ready()
            job.succeeded.emit(message)
        elif job.is_cancelling:  # also where it had to be ended by force
            self.say("Cancelled.")
            job.cancelled.emit()
        else:
            failure = message if isinstance(message, Failure) else _crash()
            self.say(failure.message)
            job.failed.emit(failure)

    def _set_unlocked(self, request: Unlock, opened: Unlocked) -> None:
        self._unlock = request
        self.session.set_unlocked(opened)

    def _lock_when_idle(self) -> None:
        minutes = self.session.preferences.lock_minutes
        if self._unlock is None or self._jobs or minutes <= 0:
            return
        if time.monotonic() - self._last_use > 60 * minutes:
            told = "Locked, since nothing was done for a while."
            self.lock().succeeded.connect(lambda _done: self.say(told))


def _crash() -> Failure:
    return Failure(
        message="The worker that does the computing has ended unexpectedly.",
        hint="Try again: it starts anew. If memory was short, close other images first.",
        kind="Crash",
    )


def _not_started() -> Failure:
    return Failure(
        message="The worker that does the computing could not be started.",
        hint="Close other programs, then try again.",
        kind="Crash",
    )


def _end_quietly(jobs: weakref.ref[Jobs]) -> None:
    living = jobs()
    if living is not None:
        with suppress(RuntimeError):  # Qt has deleted it already
            living.close()


_of_viewer: weakref.WeakKeyDictionary[Any, Jobs] = weakref.WeakKeyDictionary()


def peek_jobs(viewer: Any) -> Jobs | None:
    """The jobs of a viewer, if any widget of it was opened."""
    return _of_viewer.get(getattr(viewer, "__wrapped__", viewer))


def jobs_for(viewer: Any) -> Jobs:
    """The jobs (and with them the session) of a viewer; the same for all its widgets."""
    real = getattr(viewer, "__wrapped__", viewer)
    if real not in _of_viewer:
        _of_viewer[real] = Jobs(Session())
    return _of_viewer[real]
