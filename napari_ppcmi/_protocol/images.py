"""Images in, masks out: opening files, segmenting, saving."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from napari_ppcmi._protocol.keys import ClassInfo
from napari_ppcmi._protocol.message import Answer, Request
from ppcmi_sf.imaging.geometry import Geometry


class Provenance(Answer):
    """Where a mask comes from: enough to find out later, and nothing secret.

    Attributes
    ----------
    study, encoders, network, key_id
        Fingerprints: the study's, of this site's encoders, of the mapping network, and of the
        client key.
    query_id, reply_id
        Of the bundles, where it came by a reply.
    server
        Name of the partner who answered; empty for this computer itself.
    """

    made: str
    study: str
    study_name: str
    site: str
    encoders: str = ""
    network: str = ""
    key_id: str = ""
    query_id: str = ""
    reply_id: str = ""
    server: str = ""
    version: str = ""


class OpenedImage(Answer):
    """An image file. ``arrays``: float32, in the axis order of the file, channels last.

    Attributes
    ----------
    frame, series_uid
        Which part was chosen, where the file or folder holds more.
    """

    name: str
    path: Path
    geometry: Geometry
    frame: int | None = None
    series_uid: str | None = None


class FrameChoice(Answer):
    """The file holds several images, of which one must be chosen.

    Attributes
    ----------
    path
        The file; for a folder, the one in it.
    count
        How many frames there are.
    """

    path: Path
    count: int


class Mask(Answer):
    """A mask. ``arrays``: uint8 class indices, in the axis order of the image unless told.

    Attributes
    ----------
    name
        Of the case.
    axes
        Which axis of the image each axis of the array is, where it was asked for turned.
    counts
        How many voxels each class has: counting takes too long for napari's window.
    source
        Path of the image, or empty for a layer that was never a file.
    frame, series_uid
        Which part of the source, where that holds more than the image.
    saved, not_saved
        Where it lies already, or why it could not be kept by itself.
    """

    name: str
    geometry: Geometry
    classes: tuple[ClassInfo, ...]
    provenance: Provenance
    axes: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    source: str = ""
    frame: int | None = None
    series_uid: str | None = None
    saved: Path | None = None
    not_saved: str = ""


class OpenImage(Request):
    """Read an image file or DICOM folder. Answer: :class:`OpenedImage` or :class:`FrameChoice`.

    Attributes
    ----------
    name
        What to call it; empty for the name of the file.
    """

    path: Path
    frame: int | None = None
    series_uid: str | None = None
    name: str = ""


class MakeThumbnail(Request):
    """A small picture of what the networks see of a case. Answer: :class:`Thumbnail`."""

    image: Path
    for_training: bool = False
    side: int = 48


class Thumbnail(Answer):
    """``arrays``: one picture, uint8 (H, W)."""


class ListSeries(Request):
    """Which DICOM series a folder holds. Answer: :class:`SeriesList`."""

    quick: ClassVar[bool] = True

    folder: Path


class SeriesInfo(Answer):
    """One series: nothing that names the patient."""

    uid: str
    description: str
    file_count: int


class SeriesList(Answer):
    """All series of a folder."""

    series: tuple[SeriesInfo, ...]


class Segment(Request):
    """Segment one image with the mapping network of this site. Answer: :class:`Mask`.

    ``arrays``: the image as in :class:`OpenedImage`.

    Attributes
    ----------
    source
        Path of the image's file if it has one, kept with the result.
    frame, series_uid
        Which part of that file, kept as well.
    slice_axis
        How a volume is cut; ``None`` as the site was trained.
    axes
        Which axis of the image each axis of its layer is: the mask is turned so in the worker,
        since that takes seconds for a large one.
    keep_in
        Folder to save the mask in, so that a crash loses nothing.
    """

    name: str
    geometry: Geometry
    source: str = ""
    frame: int | None = None
    series_uid: str | None = None
    slice_axis: int | None = None
    axes: tuple[int, ...] = ()
    device: str = "auto"
    keep_in: Path | None = None


class SaveMask(Request):
    """Write a mask in the grid of its image. ``arrays``: the labels. Answer: :class:`SavedMask`.

    Attributes
    ----------
    path
        Its suffix chooses the format: ``.nii``, ``.nii.gz``, ``.mha``, ``.nrrd`` or ``.png``.
    """

    path: Path
    geometry: Geometry


class SavedMask(Answer):
    """Where the mask is now."""

    path: Path


class CompareLabels(Request):
    """Whether a file holds what a labels layer shows. Answer: :class:`LabelsCompared`.

    ``arrays``: the labels, in the axis order of the file where that is known.
    """

    quick: ClassVar[bool] = True

    path: Path


class LabelsCompared(Answer):
    """``same`` unless any voxel differs."""

    same: bool


class CountLabels(Request):
    """How much of each class a mask holds after it was painted in. Answer: :class:`LabelCounts`.

    ``arrays``: the labels, in any axis order.
    """

    quick: ClassVar[bool] = True

    class_count: int


class LabelCounts(Answer):
    """How many voxels each class has; labels that are no class are left out."""

    counts: tuple[int, ...]


class KeptMasks(Request):
    """Masks that were saved by themselves in a folder. Answer: :class:`KeptMaskList`."""

    quick: ClassVar[bool] = True

    folder: Path


class KeptMask(Answer):
    """One of them."""

    name: str
    path: Path
    source: str
    made: str


class KeptMaskList(Answer):
    """The newest first."""

    masks: tuple[KeptMask, ...]


class OpenKeptMask(Request):
    """Read a mask that was saved by itself. Answer: :class:`Mask`."""

    path: Path
