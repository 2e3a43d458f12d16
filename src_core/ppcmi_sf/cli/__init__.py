"""The command line, ``ppcmi``: thin verbs over :mod:`ppcmi_sf.workflows`."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import NoReturn

from ppcmi_sf.cli.signals import CANCELLED, stoppable


def main() -> None:
    """Entry point of the ``ppcmi`` script."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A file name that the terminal cannot show is no reason to stop.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with stoppable():
            from ppcmi_sf.cli.app import app

            app()
    except KeyboardInterrupt:  # before a verb has begun
        _leave()
    except SystemExit as stop:
        if stop.code == CANCELLED:
            _leave()
        raise


def _leave() -> NoReturn:
    """End at once: everything is cleaned up, and taking torch apart can last a second."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(CANCELLED)


__all__ = ["main"]
