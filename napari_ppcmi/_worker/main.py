"""The worker's loop: ``python -m napari_ppcmi._worker.main``, spoken to over its pipes.

Three threads: one receives, so that a cancel is heard at any time; one answers quick requests;
the main thread does the long jobs, where an interrupt can reach them.
"""

from __future__ import annotations

import _thread
import os
import queue
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from types import FrameType, GeneratorType
from typing import IO, Any

from napari_ppcmi._protocol.keys import Lock, Unlock
from napari_ppcmi._protocol.message import (
    EVENT_WRITING,
    EVENT_WRITTEN,
    EXIT_OTHER_VERSION,
    Answer,
    Failure,
    Request,
    Step,
    from_head,
    to_head,
)
from napari_ppcmi._protocol.wire import Closed, Frame, Wire
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.failures import failure_of
from napari_ppcmi._worker.tasks import find_task
from ppcmi_sf.files import observe_temporaries
from ppcmi_sf.progress import Eta, Progress

PROGRESS_SECONDS = 0.05  # as often as anybody can look


class Cancelled(BaseException):
    """The user wants the running job to stop. No ``except Exception`` may stop it."""


@dataclass
class _Ticket:
    number: int
    request: Request
    cancelled: threading.Event = field(default_factory=threading.Event)
    running: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.running.set()


class Worker:
    """Receives requests and answers them until the other side is gone."""

    def __init__(self, wire: Wire) -> None:
        self._wire, self._desk = wire, Desk()
        self._jobs: queue.Queue[_Ticket] = queue.Queue()
        self._quick: queue.Queue[_Ticket] = queue.Queue()
        self._tickets: dict[int, _Ticket] = {}
        self._current: _Ticket | None = None
        self._telling = False

    def serve(self) -> None:
        """Work until the process ends."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        observe_temporaries(self._tell_temporary)
        threading.Thread(target=self._receive, daemon=True).start()
        threading.Thread(target=self._answer_quick, daemon=True).start()
        self._warm_up()
        while True:
            self._run(self._next_job())

    def _next_job(self) -> _Ticket:
        while True:  # with a limit, or an interrupt would wait for the next job on Windows
            try:
                return self._jobs.get(timeout=1)
            except queue.Empty:
                continue

    def _warm_up(self) -> None:
        """Import what every job needs, while nobody waits for it."""
        device = ""
        with suppress(ImportError, OSError):  # told by the first job that needs it
            import ppcmi_sf.workflows.segment  # noqa: F401
            from ppcmi_sf.device import choose_device, describe_device

            device = describe_device(choose_device())
        self._wire.send({"event": "ready", "device": device})

    def _receive(self) -> None:
        code = 0  # napari is gone
        try:
            while True:
                self._take(self._wire.receive())
        except (KeyError, ValueError):
            code = EXIT_OTHER_VERSION
        finally:
            os._exit(code)  # nobody waits any more

    def _take(self, frame: Frame) -> None:
        head, number = frame.head, int(frame.head["job"])
        if head["event"] == "request":
            request = from_head(head, frame.arrays)
            assert isinstance(request, Request)
            ticket = self._tickets[number] = _Ticket(number, request)
            if isinstance(request, Unlock | Lock):  # whatever comes after it relies on it
                self._answer(ticket)
                return
            (self._quick if request.quick else self._jobs).put(ticket)
            return
        told = self._tickets.get(number)
        if told is None:
            return  # it ended meanwhile
        if head["event"] == "pause":
            told.running.clear()
        elif head["event"] == "resume":
            told.running.set()
        elif head["event"] == "cancel":
            told.cancelled.set()
            told.running.set()
            if told is self._current:
                _thread.interrupt_main()
            elif not told.request.quick:  # it waits for another job: who cancelled need not
                self._reply(told, None)

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        # A Ctrl-C in napari's terminal reaches this process too, and is napari's affair.
        # A message that is half sent has to be sent whole; the job looks for a cancel after it.
        if self._telling or self._current is None:
            return
        if self._current.cancelled.is_set():
            raise Cancelled

    def _answer_quick(self) -> None:
        while True:
            self._answer(self._quick.get())

    def _answer(self, ticket: _Ticket) -> None:
        self._reply(ticket, self._result_of(ticket))

    def _run(self, ticket: _Ticket) -> None:
        if ticket.number not in self._tickets:
            return  # it was cancelled while it waited
        answer: Answer | None = None
        try:
            self._current = ticket
            if not ticket.cancelled.is_set():
                answer = self._result_of(ticket)
            self._current = None
        except Cancelled:
            self._current, answer = None, None
        self._reply(ticket, answer)

    def _reply(self, ticket: _Ticket, answer: Answer | None) -> None:
        self._tickets.pop(ticket.number, None)
        if answer is None:
            self._wire.send({"job": ticket.number, "event": "cancelled"})
            return
        event = "failed" if isinstance(answer, Failure) else "succeeded"
        self._wire.send({"job": ticket.number, "event": event, **to_head(answer)}, answer.arrays)

    def _result_of(self, ticket: _Ticket) -> Answer:
        try:
            result: Any = find_task(type(ticket.request))(self._desk, ticket.request)
            return self._drive(ticket, result) if isinstance(result, GeneratorType) else result
        except Exception as error:
            return failure_of(error)

    def _drive(self, ticket: _Ticket, job: GeneratorType[Progress, None, Answer]) -> Answer:
        eta, told, figures = Eta(), 0.0, dict[str, float]()
        try:
            while True:
                ticket.running.wait()
                if ticket.cancelled.is_set():
                    raise Cancelled
                try:
                    step = next(job)
                except StopIteration as stop:
                    answer: Answer = stop.value
                    return answer
                left = eta.seconds_left(step)
                # New figures are always told: a curve must not lack its last point.
                if step.values != figures or time.monotonic() - told > PROGRESS_SECONDS:
                    told, figures = time.monotonic(), step.values
                    self._tell(ticket, step, left)
        finally:
            job.close()

    def _tell(self, ticket: _Ticket, step: Progress, left: float | None) -> None:
        message = Step(
            done=step.done,
            total=step.total,
            message=step.message,
            values=step.values,
            seconds_left=left,
        )
        self._send_whole({"job": ticket.number, "event": "progress", **to_head(message)})

    def _tell_temporary(self, path: Path, is_there: bool) -> None:
        """Let napari's process remove a file that is left when this one is ended by force."""
        event = EVENT_WRITING if is_there else EVENT_WRITTEN
        with suppress(Closed):  # then nobody is there any more, and this process ends, too
            self._send_whole({"job": 0, "event": event, "path": str(path)})

    def _send_whole(self, head: dict[str, Any]) -> None:
        """Send with no interrupt in between, which only the main thread gets."""
        if threading.current_thread() is not threading.main_thread():
            self._wire.send(head)
            return
        self._telling = True
        try:
            self._wire.send(head)
        finally:
            self._telling = False


def _own_pipes() -> tuple[BufferedReader, IO[bytes]]:
    """The two pipes; what anybody prints goes to the error stream from now on."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    sys.stdout = sys.stderr
    return source, sink


def main() -> None:
    """Speak over standard input and output."""
    wire = Wire(*_own_pipes())
    try:
        Worker(wire).serve()
    except Closed:
        os._exit(0)


if __name__ == "__main__":
    main()
