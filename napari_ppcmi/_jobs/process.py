"""The worker as a child process: started, fed, and ended. No Qt.

Everything that arrives is handed to one function, in a thread of this module.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

import numpy as np

from napari_ppcmi._protocol.message import (
    EVENT_WRITING,
    EVENT_WRITTEN,
    EXIT_OTHER_VERSION,
    OUT_OF_MEMORY,
    Array,
    Failure,
    Message,
    Request,
    from_head,
    to_head,
)
from napari_ppcmi._protocol.wire import Closed, Wire
from ppcmi_sf.files import remove_leftover

EVENT_ENDED = "ended"
_GRACE_SECONDS = 2.0


class WorkerProcess:
    """One child. When it has ended, make another one.

    Parameters
    ----------
    on_event
        Called with a job's number (0 for none), the event's name and its message, if any.
        ``ended`` comes last and once, with a :class:`Failure` where the reason is known.

    Raises
    ------
    OSError
        The system starts no more processes.
    """

    def __init__(self, on_event: Callable[[int, str, object], None]) -> None:
        self._on_event = on_event
        self._child = subprocess.Popen(
            # -P: no module is taken from the folder that napari was started in, where a file
            # from elsewhere may have any name.
            [sys.executable, "-P", "-m", "napari_ppcmi._worker.main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        assert self._child.stdin is not None and self._child.stdout is not None
        self._wire = Wire(cast(BufferedReader, self._child.stdout), self._child.stdin)
        self._outgoing: list[tuple[dict[str, Any], tuple[Any, ...]]] = []
        self._has_outgoing = threading.Condition()
        self._closing = False
        self._half_written: set[Path] = set()
        self._threads = [
            threading.Thread(target=self._receive, name="ppcmi-receive", daemon=True),
            threading.Thread(target=self._send, name="ppcmi-send", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    def submit(self, number: int, request: Request) -> None:
        """Hand over a request; large arrays are sent by another thread."""
        self._put({"job": number, "event": "request", **to_head(request)}, request.arrays)

    def tell(self, number: int, event: str) -> None:
        """Say ``cancel``, ``pause`` or ``resume`` to a job."""
        self._put({"job": number, "event": event}, ())

    def _put(self, head: dict[str, Any], arrays: tuple[Any, ...]) -> None:
        with self._has_outgoing:
            self._outgoing.append((head, arrays))
            self._has_outgoing.notify()

    def end(self) -> None:
        """Ask the child to end; it does so at once, whatever it is doing. Does not wait."""
        with self._has_outgoing:
            self._closing = True
            self._has_outgoing.notify()

    def kill(self) -> None:
        """End the child by force."""
        with suppress(OSError):
            self._child.kill()

    def join(self) -> None:
        """Wait until the child and both threads are gone."""
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_GRACE_SECONDS)
        self.kill()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_GRACE_SECONDS)

    def _send(self) -> None:
        with suppress(Closed):  # the receiving thread tells
            while self._send_next():
                pass
        self._wire.close()

    def _send_next(self) -> bool:
        """Send one message, and keep none of its arrays; false when there is no more to send."""
        with self._has_outgoing:
            self._has_outgoing.wait_for(lambda: self._outgoing or self._closing)
            if self._closing:
                return False
            head, arrays = self._outgoing.pop(0)
        plain = self._read(head, arrays)
        if plain is not None:
            self._wire.send(head, plain)
        return True

    def _read(self, head: dict[str, Any], arrays: tuple[Any, ...]) -> list[Array] | None:
        """The values of arrays, which may be read from a file only now; tells why if not."""
        try:
            return [np.ascontiguousarray(array) for array in arrays]
        except Exception as error:  # whatever the library that reads them raises
            self._on_event(head["job"], "failed", _unread(head["body"].get("name", ""), error))
            return None

    def _receive(self) -> None:
        reason: Failure | None = None
        try:
            while True:
                self._receive_next()
        except Closed:
            pass
        except MemoryError:
            reason = _no_room()
        except Exception:  # whatever a message that cannot be understood leads to
            reason = _other_version()
        self.end()  # the sending thread, too
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(_GRACE_SECONDS)
        self.kill()
        self._child.wait()
        assert self._child.stdout is not None
        self._child.stdout.close()
        for path in self._half_written:  # of a job that was ended by force
            remove_leftover(path)
        if self._child.returncode == EXIT_OTHER_VERSION:
            reason = _other_version()
        self._on_event(0, EVENT_ENDED, reason)

    def _receive_next(self) -> None:
        """Hand over one message, and keep none of its arrays."""
        frame = self._wire.receive()
        head = frame.head
        if head["event"] in (EVENT_WRITING, EVENT_WRITTEN):
            self._note(Path(head["path"]), head["event"])
            return
        message: Message | str | None = head.get("device")
        if "class" in head:
            message = from_head(head, frame.arrays)
        self._on_event(int(head.get("job", 0)), head["event"], message)

    def _note(self, path: Path, event: str) -> None:
        """Remember a temporary file for as long as it may be there."""
        if event == EVENT_WRITING:
            self._half_written.add(path)
        else:
            self._half_written.discard(path)


def _no_room() -> Failure:
    return Failure(
        message="There is not enough memory to take over what the worker has computed.",
        hint="Close other images or programs, or take a smaller part of it.",
        kind=OUT_OF_MEMORY,
    )


def _other_version() -> Failure:
    return Failure(
        message="This window and its worker do not understand each other.",
        hint="The plugin was probably updated meanwhile: start napari again.",
        kind="Crash",
    )


def _unread(name: str, error: Exception) -> Failure:
    what = f"'{name}'" if name else "The layer"
    if isinstance(error, MemoryError):
        return Failure(
            message=f"{what}: there is not enough memory to take all of it to the worker.",
            hint="Close other images or programs, or take a smaller part of it.",
            kind=OUT_OF_MEMORY,
        )
    return Failure(
        message=f"{what}: its values could not be read from where the layer gets them.",
        hint="Check that the files behind the layer are still there, then open it anew.",
        details=type(error).__name__,
        kind=type(error).__name__,
    )
