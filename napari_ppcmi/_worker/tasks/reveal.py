"""Replies to masks, and a decoded mask on its image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_ppcmi._protocol.bundles import (
    CaseInfo,
    OpenRevealed,
    Reveal,
    RevealedFile,
    RevealedMasks,
)
from napari_ppcmi._protocol.images import Mask, Provenance
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.outcomes import batch_problems, class_counts
from napari_ppcmi._worker.review import engine_case
from napari_ppcmi._worker.tasks.keys import class_infos
from ppcmi_sf import __version__
from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging import Geometry, read_image, read_mask
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.registry.database import utc_now

if TYPE_CHECKING:
    from ppcmi_sf.workflows.report import RevealedCase


def reveal(desk: Desk, request: Reveal) -> Job[RevealedMasks]:
    """Decode each reply to a mask in a folder of its own; one that is there is kept."""
    from ppcmi_sf.device import choose_device
    from ppcmi_sf.workflows.reveal import reveal_replies

    party, device = desk.require_party(), request.device
    report = yield from reveal_replies(
        desk.require_site(),
        desk.require_key(),
        request.replies,
        request.out,
        party,
        device=choose_device(device),
        again=request.again,
        apart=True,
        loaded=desk.site(device),
    )
    masks = [_revealed_file(case, party.identity.card.name) for case in report.cases]
    return RevealedMasks(masks=tuple(masks), problems=batch_problems(report.failures))


def _revealed_file(case: RevealedCase, own_name: str) -> RevealedFile:
    return RevealedFile(
        name=case.name,
        source=case.source,
        path=case.mask,
        query_id=case.query_id,
        reply_id=case.reply_id,
        network=case.network,
        server="" if case.sender == own_name else case.sender,
        new=case.new,
    )


def open_revealed(desk: Desk, request: OpenRevealed) -> Job[Mask]:
    """Read a mask that a reply was decoded to, with its image's grid if the image is there."""
    case, key = request.case, desk.require_key()
    yield Progress(0, 1, f"Opening {case.name}")
    site, encoders = desk.site(request.device)
    study = site.study
    geometry = _geometry(case)
    labels = read_mask(case.path, study.class_count, image_geometry=geometry)
    provenance = Provenance(
        made=utc_now(),
        study=study.fingerprint,
        study_name=study.name,
        site=key.site,
        encoders=encoders,
        network=case.network,
        key_id=key.key_id,
        query_id=case.query_id,
        reply_id=case.reply_id,
        server=case.server,
        version=__version__,
    )
    return Mask(
        arrays=(labels,),
        name=case.name,
        geometry=geometry,
        classes=class_infos(study),
        provenance=provenance,
        counts=class_counts(labels, study.class_count),
        source=case.source,
        saved=case.path,
    )


def _geometry(case: RevealedFile) -> Geometry:
    """Of the image; of the mask itself where the image is gone or needs to be told a frame."""
    source = Path(case.source)
    if case.source and source.exists():
        axis = engine_case(CaseInfo(name=case.name, image=source)).channel_axis
        try:
            return read_image(source, channel_axis=axis).geometry
        except InputFileError:
            pass
    return read_image(case.path).geometry
