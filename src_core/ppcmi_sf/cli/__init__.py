"""The command line, ``ppcmi``: thin verbs over :mod:`ppcmi_sf.workflows`."""

from __future__ import annotations


def main() -> None:
    """Entry point of the ``ppcmi`` script."""
    from ppcmi_sf.cli.app import app

    app()


__all__ = ["main"]
