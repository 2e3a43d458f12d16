"""Image files in, mask files out."""

from __future__ import annotations

from napari_ppcmi._protocol.images import (
    ListSeries,
    OpenedImage,
    OpenImage,
    SavedMask,
    SaveMask,
    SeriesInfo,
    SeriesList,
)
from napari_ppcmi._worker.desk import Desk
from ppcmi_sf import imaging
from ppcmi_sf.progress import Job, Progress


def open_image(_desk: Desk, request: OpenImage) -> Job[OpenedImage]:
    """Read an image file or a DICOM folder."""
    path = request.path
    yield Progress(0, 1, f"Opening {path.name}")
    image = imaging.read_image(path, frame=request.frame, series_uid=request.series_uid)
    name = path.name if path.is_dir() else imaging.case_name(path)
    return OpenedImage(arrays=(image.data,), name=name, path=path, geometry=image.geometry)


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
