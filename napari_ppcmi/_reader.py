"""Dropping a bundle on napari: it is described, and nothing is asked for.

A reply to this site opens as its mask, if key and identity are unlocked already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ppcmi_sf.errors import PPCMIError, ReplayError

if TYPE_CHECKING:
    from napari_ppcmi._jobs import Jobs
    from napari_ppcmi._layers import LayerData
    from napari_ppcmi._protocol.bundles import RevealedMasks
    from napari_ppcmi._protocol.message import Failure

Paths: TypeAlias = str | Sequence[str]
Layers: TypeAlias = "list[tuple[None] | LayerData]"

_SUFFIX = ".ppcmi"
_NO_FAULT = ("verified", "own", "already used", "for others")


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
            masks, problem = _masks_of(Path(one))
            layers += masks
            if problem:
                show_warning(problem)
            elif not masks:
                show_info(_description(Path(one)))
        except PPCMIError as error:
            show_warning(f"{error.message} {error.hint}".strip())
        except OSError:
            show_warning(f"{one}: the file cannot be read. Check that it is still there.")
    return layers or [(None,)]


def _masks_of(path: Path) -> tuple[list[LayerData], str]:
    """Masks of a reply and what is wrong; neither where the key is locked or it is no reply."""
    from napari_ppcmi._protocol.bundles import BundleInfo, LookAtBundle, Reveal, RevealedMasks
    from napari_ppcmi._protocol.message import Failure

    jobs = _jobs()
    folder = None if jobs is None else jobs.session.replies_folder
    if jobs is None or folder is None or jobs.session.identity is None:
        return [], ""
    info = jobs.wait_for(LookAtBundle(file=path))
    if isinstance(info, BundleInfo) and info.kind != "reply":
        return [], "" if info.state in _NO_FAULT else info.problem
    revealed = jobs.wait_for(Reveal(replies=(path,), out=folder, device=jobs.session.device))
    if isinstance(revealed, RevealedMasks):
        masks, problems = _opened(jobs, revealed)
        return masks, " ".join(problems)
    return [], revealed.text if isinstance(revealed, Failure) else ""


def _opened(jobs: Jobs, revealed: RevealedMasks) -> tuple[list[LayerData], list[str]]:
    """The layers of masks, each on its image if that is open; and what went wrong."""
    from napari import current_viewer

    from napari_ppcmi._overlay import find_image, in_place, kept_layer, make_overlay
    from napari_ppcmi._protocol.bundles import OpenRevealed
    from napari_ppcmi._protocol.images import Mask
    from napari_ppcmi._protocol.message import Failure

    session, viewer = jobs.session, current_viewer()
    layers: list[LayerData] = []
    problems = [_told(one.failure) for one in revealed.problems]
    for case in revealed.masks:
        mask = jobs.wait_for(OpenRevealed(case=case, device=session.device))
        if isinstance(mask, Mask):
            kept = kept_layer(session.kept_layers, mask.source)
            image = find_image(viewer, mask, kept) or in_place(mask)
            overlay = make_overlay(image, mask, opacity=session.preferences.mask_opacity)
            layers.append(overlay.as_layer_data_tuple())
        elif isinstance(mask, Failure):
            problems.append(mask.text)
    return layers, problems


def _told(failure: Failure) -> str:
    """A drop asks nothing, so that whoever wants to use a reply once more is sent to who asks."""
    if failure.kind == ReplayError.__name__:
        return (
            f"{failure.message} If you want to use it once more, put it into the inbox and press "
            "Show masks on the Decode page of the workspace, which asks."
        )
    return failure.text


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
