"""Image files in, mask files out."""

from __future__ import annotations

import numpy as np
from PIL import Image

from napari_ppcmi._protocol.bundles import CaseInfo
from napari_ppcmi._protocol.images import (
    CompareLabels,
    CountLabels,
    FrameChoice,
    LabelCounts,
    LabelsCompared,
    ListSeries,
    MakeThumbnail,
    OpenedImage,
    OpenImage,
    SavedMask,
    SaveMask,
    SeriesInfo,
    SeriesList,
    Thumbnail,
)
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.outcomes import class_counts
from napari_ppcmi._worker.review import engine_case
from ppcmi_sf import imaging
from ppcmi_sf.errors import SeveralFramesError
from ppcmi_sf.progress import Job, Progress

_MOST_CLASSES = 256  # whatever a mask file can hold


def open_image(_desk: Desk, request: OpenImage) -> Job[OpenedImage | FrameChoice]:
    """Read an image file or a DICOM folder; ask back where there are several frames."""
    path = request.path
    yield Progress(0, 1, f"Opening {path.name}")
    try:
        image = imaging.read_image(path, frame=request.frame, series_uid=request.series_uid)
    except SeveralFramesError as error:
        return FrameChoice(path=error.path, count=error.count)
    return OpenedImage(
        arrays=(image.data,),
        name=request.name or (path.name if path.is_dir() else imaging.case_name(path)),
        path=path,
        geometry=image.geometry,
        frame=request.frame,
        series_uid=request.series_uid,
    )


def make_thumbnail(desk: Desk, request: MakeThumbnail) -> Job[Thumbnail]:
    """The middle slice of a case, as the networks of the open site see it."""
    from ppcmi_sf.workflows.folders import SiteFolder
    from ppcmi_sf.workflows.preview import middle_slice

    folder = SiteFolder(desk.require_site())
    yield Progress(0, 1, f"Making a picture of {request.image.name}")
    study, record = folder.study(), folder.record()
    case = engine_case(CaseInfo(name=request.image.name, image=request.image))
    frame = record.frame if request.for_training else None
    image = imaging.read_image(case.image, frame=frame, channel_axis=case.channel_axis)
    picture = middle_slice(image, study, slice_axis=record.slice_axis).mean(axis=0)
    grey = Image.fromarray((picture * 255).round().astype(np.uint8))
    grey.thumbnail((request.side, request.side))
    return Thumbnail(arrays=(np.asarray(grey),))


def list_series(_desk: Desk, request: ListSeries) -> SeriesList:
    """Which DICOM series a folder holds."""
    series = [
        SeriesInfo(uid=one.uid, description=one.description, file_count=one.file_count)
        for one in imaging.list_series(request.folder)
    ]
    return SeriesList(series=tuple(series))


def save_mask(_desk: Desk, request: SaveMask) -> Job[SavedMask]:
    """Write a mask in the grid of its image, in the format that the suffix names."""
    yield Progress(0, 1, f"Saving {request.path.name}")
    imaging.write_mask_as(request.arrays[0], request.geometry, request.path)
    return SavedMask(path=request.path)


def compare_labels(_desk: Desk, request: CompareLabels) -> LabelsCompared:
    """Whether a file holds these labels; other readers have the axes of files reversed."""
    shown = np.asarray(request.arrays[0])
    stored = imaging.read_mask(request.path, _MOST_CLASSES)
    return LabelsCompared(
        same=np.array_equal(shown, stored) or np.array_equal(shown, stored.transpose())
    )


def count_labels(_desk: Desk, request: CountLabels) -> LabelCounts:
    """How many voxels each class has now."""
    return LabelCounts(counts=class_counts(request.arrays[0], request.class_count))
