"""Ctrl-C, and the other ways to ask a command to stop: all of them clean up first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

CANCELLED = 130
_STOPPING = ("SIGTERM", "SIGHUP")  # Windows has no SIGHUP


@contextmanager
def stoppable() -> Iterator[None]:
    """Within it, SIGTERM and SIGHUP do what Ctrl-C does.

    A signal that somebody ignores (``nohup``) or handles already stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _STOPPING if hasattr(signal, name)]
    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
