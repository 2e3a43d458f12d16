"""Segment one image with the mapping network of the open site."""

from __future__ import annotations

import numpy as np

from napari_ppcmi._protocol.images import Mask, Provenance, Segment
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.outcomes import class_counts
from napari_ppcmi._worker.tasks.kept import keep_mask
from napari_ppcmi._worker.tasks.keys import class_infos
from ppcmi_sf import __version__
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.imaging import MedicalImage, check_finite
from ppcmi_sf.progress import Job
from ppcmi_sf.registry.database import utc_now


def segment(desk: Desk, request: Segment) -> Job[Mask]:
    """Segment; keep the mask in a folder if one is named."""
    site, segmenter = desk.require_key().site, desk.segmenter(request.device)
    values = np.asarray(request.arrays[0], np.float32)
    check_finite(request.source or request.name, values)
    image = MedicalImage(values, request.geometry)
    labels = yield from segmenter.segment(image, slice_axis=request.slice_axis)
    provenance = Provenance(
        made=utc_now(),
        study=segmenter.study.fingerprint,
        study_name=segmenter.study.name,
        site=site,
        encoders=segmenter.encoders,
        network=segmenter.network,
        key_id=segmenter.key_id,
        version=__version__,
    )
    mask = Mask(
        arrays=(labels,),
        name=request.name,
        geometry=request.geometry,
        classes=class_infos(segmenter.study),
        provenance=provenance,
        counts=class_counts(labels, segmenter.study.class_count),
        source=request.source,
        frame=request.frame,
        series_uid=request.series_uid,
    )
    kept = _kept(request, mask)
    turned = np.ascontiguousarray(labels.transpose(request.axes)) if request.axes else labels
    return mask.model_copy(update={"arrays": (turned,), "axes": request.axes, **kept})


def _kept(request: Segment, mask: Mask) -> dict[str, object]:
    """Where the mask is kept, or why it is not: that is no reason to lose it altogether."""
    try:
        return {} if request.keep_in is None else {"saved": keep_mask(request.keep_in, mask)}
    except PPCMIError as error:
        return {"not_saved": error.message}
