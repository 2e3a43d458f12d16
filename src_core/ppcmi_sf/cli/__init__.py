"""The command line, ``ppcmi``: thin verbs over :mod:`ppcmi_sf.workflows`."""

from __future__ import annotations

import io
import sys

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
        sys.exit(CANCELLED)


__all__ = ["main"]
