"""Dropping a bundle on napari: it is described, and nothing is asked for.

A reply to this site opens as its mask, if key and identity are unlocked already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ppcmi_sf.errors import PPCMIError

if TYPE_CHECKING:
    from napari_ppcmi._jobs import Jobs
    from napari_ppcmi._layers import LayerData

Paths: TypeAlias = str | Sequence[str]
Layers: TypeAlias = "list[tuple[None] | LayerData]"

_SUFFIX = ".ppcmi"


def get_reader(path: Paths) -> Callable[[Paths], Layers] | None:
    """Give napari the function that reads bundles, or ``None`` for anything else."""
    paths = _as_list(path)
    return read_bundles if paths and all(p.lower().endswith(_SUFFIX) for p in paths) else None


def read_bundles(path: Paths) -> Layers:
    """Open replies whose key is unlocked, and say what every other bundle is.

    Returns
    -------
    list
        Masks; or napari's way to say that a file was read but holds no layer.
    """
    from napari.utils.notifications import show_info, show_warning

    layers: Layers = []
    for one in _as_list(path):
        try:
            masks = _masks_of(Path(one))
            layers += masks
            if not masks:
                show_info(_description(Path(one)))
        except PPCMIError as error:
            show_warning(f"{error.message} {error.hint}".strip())
        except OSError:
            show_warning(f"{one}: the file cannot be read. Check that it is still there.")
    return layers or [(None,)]


def _masks_of(path: Path) -> list[LayerData]:
    """Masks of a reply; none where it is no reply to this site, or the key is locked."""
    from napari_ppcmi._layers import labels_layer
    from napari_ppcmi._protocol.bundles import OpenRevealed, Reveal, RevealedMasks
    from napari_ppcmi._protocol.images import Mask

    jobs = _jobs()
    folder = None if jobs is None else jobs.session.replies_folder
    if jobs is None or folder is None or jobs.session.identity is None:
        return []
    revealed = jobs.wait_for(Reveal(replies=(path,), out=folder, device=jobs.session.device))
    if not isinstance(revealed, RevealedMasks):
        return []
    layers: list[LayerData] = []
    for case in revealed.masks:
        mask = jobs.wait_for(OpenRevealed(case=case))
        if isinstance(mask, Mask):
            names = [one.name for one in mask.classes]
            layers.append(labels_layer(mask.arrays[0], mask.geometry, mask.name, case.path, names))
    return layers


def _description(path: Path) -> str:
    from ppcmi_sf.bundle.reader import read_envelope
    from ppcmi_sf.files import size_in_words

    envelope = read_envelope(path)
    count = len(envelope.recipients)
    people = "one recipient" if count == 1 else f"{count} recipients"
    own = _own_fingerprint()
    mine = ", you among them" if own in envelope.fingerprints else ""
    size = size_in_words(path.stat().st_size)
    return (
        f"{path.name} is an encrypted bundle of {size} for {people}{mine}. "
        "Open it on the Exchange page of the PPCMI-SF workspace."
    )


def _own_fingerprint() -> str | None:
    """Of the identity that is unlocked in the current viewer, if there is one."""
    jobs = _jobs()
    identity = None if jobs is None else jobs.session.identity
    return None if identity is None else identity.fingerprint


def _jobs() -> Jobs | None:
    """Of the current viewer, if one of our widgets was opened there."""
    from napari import current_viewer

    viewer: Any = current_viewer()
    if viewer is None:
        return None
    from napari_ppcmi._jobs import peek_jobs

    return peek_jobs(viewer)


def _as_list(path: Paths) -> list[str]:
    return [path] if isinstance(path, str) else [str(one) for one in path]
