"""Dropping a bundle on napari: it is described, and nothing is asked for or opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from ppcmi_sf.errors import PPCMIError

Paths: TypeAlias = str | Sequence[str]
NoLayer: TypeAlias = list[tuple[None]]

_SUFFIX = ".ppcmi"


def get_reader(path: Paths) -> Callable[[Paths], NoLayer] | None:
    """Give napari the function that reads bundles, or ``None`` for anything else."""
    paths = _as_list(path)
    return describe if paths and all(p.lower().endswith(_SUFFIX) for p in paths) else None


def describe(path: Paths) -> NoLayer:
    """Say what each bundle is; whatever is in it stays closed.

    Returns
    -------
    list
        napari's way to say that a file was read but holds no layer.
    """
    from napari.utils.notifications import show_info, show_warning

    for one in _as_list(path):
        try:
            text = _description(Path(one))
        except PPCMIError as error:
            show_warning(f"{error.message} {error.hint}".strip())
        except OSError:
            show_warning(f"{one}: the file cannot be read. Check that it is still there.")
        else:
            show_info(text)
    return [(None,)]


def _description(path: Path) -> str:
    from ppcmi_sf.bundle.reader import read_envelope

    envelope = read_envelope(path)
    count = len(envelope.recipients)
    people = "one recipient" if count == 1 else f"{count} recipients"
    own = _own_fingerprint()
    mine = ", you among them" if own in envelope.fingerprints else ""
    return (
        f"{path.name} is an encrypted bundle of {_size(path.stat().st_size)} for {people}{mine}. "
        "Open it on the Exchange page of the PPCMI-SF workspace."
    )


def _own_fingerprint() -> str | None:
    """Of the identity that is unlocked in the current viewer, if there is one."""
    from napari import current_viewer

    viewer = current_viewer()
    if viewer is None:
        return None
    from napari_ppcmi._jobs import peek_jobs

    jobs = peek_jobs(viewer)
    identity = None if jobs is None else jobs.session.identity
    return None if identity is None else identity.fingerprint


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1_000_000:.1f} MB"


def _as_list(path: Paths) -> list[str]:
    return [path] if isinstance(path, str) else [str(one) for one in path]
