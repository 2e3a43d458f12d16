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
import traceback
from dataclasses import dataclass, field
from io import BufferedReader
from types import FrameType, GeneratorType
from typing import IO, Any

from napari_ppcmi._protocol.keys import Lock, Unlock
from napari_ppcmi._protocol.message import (
    Answer,
    Failure,
    Request,
    Step,
    from_head,
    to_head,
)
from napari_ppcmi._protocol.wire import Closed, Frame, Wire
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.tasks import find_task
from ppcmi_sf.errors import PPCMIError
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
        import ppcmi_sf.workflows.segment  # noqa: F401
        from ppcmi_sf.device import choose_device, describe_device

        self._wire.send({"event": "ready", "device": describe_device(choose_device())})

    def _receive(self) -> None:
        try:
            while True:
                self._take(self._wire.receive())
        finally:
            os._exit(0)  # napari is gone, or speaks another version: nobody waits any more

    def _take(self, frame: Frame) -> None:
        head, number = frame.head, int(frame.head["job"])
        if head["event"] == "request":
            request = from_head(head, frame.arrays)
            assert isinstance(request, Request)
            ticket = self._tickets[number] = _Ticket(number, request)
            if isinstance(request, Unlock | Lock):  # whatever comes after it relies on it
                self._reply(ticket, self._result_of(ticket))
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

    def _on_interrupt(self, _number: int, _frame: FrameType | None) -> None:
        # A Ctrl-C in napari's terminal reaches this process too, and is napari's affair.
        # A message that is half sent has to be sent whole; the job looks for a cancel after it.
        if self._telling or self._current is None:
            return
        if self._current.cancelled.is_set():
            raise Cancelled

    def _answer_quick(self) -> None:
        while True:
            ticket = self._quick.get()
            self._reply(ticket, self._result_of(ticket))

    def _run(self, ticket: _Ticket) -> None:
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
        except PPCMIError as error:
            return Failure.of(error)
        except MemoryError:
            return Failure(
                message="There is not enough memory for this.",
                hint="Close other programs or images, then try again.",
                kind="MemoryError",
            )
        except Exception as error:
            return _unforeseen(error)

    def _drive(self, ticket: _Ticket, job: GeneratorType[Progress, None, Answer]) -> Answer:
        eta, told = Eta(), 0.0
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
                if time.monotonic() - told > PROGRESS_SECONDS:
                    told = time.monotonic()
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
        self._telling = True
        try:
            self._wire.send({"job": ticket.number, "event": "progress", **to_head(message)})
        finally:
            self._telling = False


def _unforeseen(error: Exception) -> Failure:
    """Kinds and places alone: messages of unforeseen errors may hold anything."""
    places = [
        f"{frame.filename.rsplit('site-packages', 1)[-1]}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return Failure(
        message="Something went wrong inside the plugin; your files are as they were.",
        hint="Try again. If it happens again, report it with the details (they name no patient).",
        details="\n".join([type(error).__name__, *places]),
        kind=type(error).__name__,
    )


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
