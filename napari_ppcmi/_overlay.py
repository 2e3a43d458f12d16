"""From an image layer to the engine, and from a mask to a layer that lies on it; no Qt.

A layer of ours keeps its file's geometry, and which axis of the file each of its axes is. A layer
of another reader has napari's order (z, y, x): the engine, whose order is (x, y, z), gets it
reversed; but not one whose axes are called x, y, z, since it was made from one of ours. A layer
with four axes is a stack of volumes, of which one is taken.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ppcmi._layers import METADATA_KEY, layer_axes, layers_of, spatial_keywords
from ppcmi_sf.errors import InputFileError, PPCMIError
from ppcmi_sf.imaging.geometry import Geometry, as_rows, default_slice_axis

if TYPE_CHECKING:
    from collections.abc import Mapping
    from weakref import ref

    from napari.layers import Image, Labels, Layer

    from napari_ppcmi._protocol.images import Mask, OpenedImage

WORLD_ORDER = ("x", "y", "z")
_NO_CLASS = "#ff00ff"
"""Colour of labels that the study has no class for: napari's *new* button makes such ones, and
what is painted must be seen."""

TRANSFORM = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


@dataclass(frozen=True)
class LayerImage:
    """An image layer as it was when the user asked for something.

    The layer may be renamed, changed or removed meanwhile; this stays.

    Attributes
    ----------
    data
        The layer's own array (not a copy), in the engine's axis order, channels last.
    geometry
        In the engine's axis order.
    axes
        Which of the engine's axes each axis of the layer is.
    source
        Path of its file, or empty.
    placed
        All of the transform, as keywords of a new layer.
    frame, series_uid
        Which part of the file it is, where that holds more.
    is_stacked
        Whether the layer has an axis of frames before the others; so has its mask.
    """

    name: str
    data: Any
    geometry: Geometry
    axes: tuple[int, ...]
    source: str
    placed: dict[str, Any]
    frame: int | None = None
    series_uid: str | None = None
    is_stacked: bool = False

    @property
    def is_part(self) -> bool:
        """Whether its file or folder holds more than this."""
        return self.frame is not None or self.series_uid is not None

    def to_layer_axes(self, mask: Mask) -> NDArray[Any]:
        """The labels of a mask in the axis order of the layer."""
        labels = np.asarray(mask.arrays[0])
        if mask.axes != self.axes:
            upright = labels.transpose(np.argsort(mask.axes)) if mask.axes else labels
            labels = upright.transpose(self.axes)
        return labels[np.newaxis] if self.is_stacked else labels


def to_file_axes(labels: Any, own: Mapping[str, Any]) -> NDArray[Any]:
    """The labels of a mask layer in the axis order of its image's geometry.

    Parameters
    ----------
    own
        What the layer keeps in its metadata.
    """
    values = np.asarray(labels)
    if own.get("is_stacked") and len(values) == 1:
        values = values[0]
    axes = own.get("axes", ())  # of another count, where the layer was cut since
    return values.transpose(np.argsort(axes)) if len(axes) == values.ndim else values


def in_file_axes(layer: Labels) -> Any:
    """The labels of a layer in the axis order of its file, where that is known; not computed."""
    data = layer.data[0] if layer.multiscale else layer.data
    axes = layer.metadata.get(METADATA_KEY, {}).get("axes", ())
    return data.transpose(*np.argsort(axes).tolist()) if len(axes) == data.ndim else data


def shown_frame(viewer: Any, layer: Layer) -> int | None:
    """Which frame of a layer with four axes the slider shows; ``None`` if it shows none."""
    axis = viewer.dims.ndim - 4
    if layer.ndim != 4 or axis in viewer.dims.displayed:
        return None
    at = round(float(layer.world_to_data(viewer.dims.point[-4:])[0]))
    return at if 0 <= at < layer.data.shape[0] else None


def read_layer(layer: Image, *, frame: int | None = None) -> LayerImage:
    """Take what the engine needs of an image layer. Nothing is copied or computed.

    Parameters
    ----------
    frame
        Which one of a layer with four axes.

    Raises
    ------
    InputFileError
        It is neither a picture nor a volume, nor a frame of one that is chosen.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    own = layer.metadata.get(METADATA_KEY, {})
    is_stacked = layer.ndim == 4
    if is_stacked:
        if frame is None or not 0 <= frame < data.shape[0]:
            raise _no_frame(layer)
        data = data[frame]
    elif layer.ndim not in (2, 3):
        raise _too_many_axes(layer)
    spatial = 3 if is_stacked else layer.ndim
    channels = data[..., :3] if layer.rgb else data[..., np.newaxis]
    geometry, axes = own.get("geometry"), own.get("axes", ())
    turned = channels
    if len(axes) == spatial:
        turned = channels.transpose(*np.argsort(axes).tolist(), spatial)
    if is_stacked or not isinstance(geometry, Geometry) or geometry.shape != turned.shape[:-1]:
        axes = _engine_axes(layer, spatial)
        geometry = _geometry_of(layer, channels.shape[:-1], frame if is_stacked else None)
        turned = channels.transpose(*axes, spatial)
    placed = transform_of(layer)
    if is_stacked:
        assert frame is not None
        placed["translate"] = _place_of(layer, frame)
    return LayerImage(
        name=f"{layer.name}, frame {frame + 1}" if is_stacked and frame is not None else layer.name,
        data=turned,
        geometry=geometry,
        axes=tuple(axes) or tuple(range(spatial)),
        source=str(layer_path(layer) or ""),
        placed=placed,
        frame=frame if is_stacked else own.get("frame"),
        series_uid=own.get("series_uid"),
        is_stacked=is_stacked,
    )


def _engine_axes(layer: Layer, spatial: int) -> tuple[int, ...]:
    if spatial == 2:
        return (0, 1)
    return (0, 1, 2) if tuple(layer.axis_labels[-3:]) == WORLD_ORDER else (2, 1, 0)


def _place_of(layer: Image, frame: int) -> NDArray[np.float64]:
    """Where a frame lies before the layer's affine, so that its mask is shown with it alone."""
    return np.asarray(layer.affine.inverse(layer.data_to_world((frame, 0, 0, 0))))


def _no_frame(layer: Image) -> InputFileError:
    return InputFileError(
        layer.name,
        "the layer has 4 axes, and the slider shows none of its frames.",
        hint="Move the slider of its first axis to the frame you want, or take that frame out of "
        "it as a layer of its own.",
    )


def _too_many_axes(layer: Image) -> InputFileError:
    return InputFileError(
        layer.name,
        f"the layer has {layer.ndim} axes; a picture has 2, a volume 3, a stack of volumes 4.",
        hint="Take one time point or channel out of it as a layer of its own.",
    )


def kept_layer(
    kept: Mapping[str, tuple[ref[Any], int | None]], source: str
) -> tuple[Any, int | None]:
    """The layer, and its frame, that was saved as this file for a query, if it still lives.

    Parameters
    ----------
    kept
        The session's layers by their files.
    """
    layer, frame = kept.get(source, (None, None))
    return (None, None) if layer is None else (layer(), frame)


def find_image(
    viewer: Any, mask: Mask, kept: tuple[Any, int | None] = (None, None)
) -> LayerImage | None:
    """The open image that a mask was made from, if there is one.

    An image that was never a file is known by its name, size and place alone: where several could
    be meant, none is.

    Parameters
    ----------
    kept
        The layer, and its frame, that was saved to the mask's source for a query.
    """
    from napari.layers import Image

    found: list[LayerImage] = []
    for layer in viewer.layers:
        if not isinstance(layer, Image):
            continue
        is_original = layer is kept[0]
        try:
            image = read_layer(layer, frame=kept[1] if is_original else mask.frame)
        except PPCMIError:
            continue
        if image.geometry.shape != mask.geometry.shape:
            continue
        if is_original:
            return image
        if _is_of(image, mask):
            found.append(image)
    return found[0] if len(found) == 1 or (found and mask.source) else None


def _is_of(image: LayerImage, mask: Mask) -> bool:
    if not mask.source or not image.source:
        is_same = image.geometry == mask.geometry and file_name(image.name) == mask.name
        return is_same and image.source == mask.source
    same_part = (image.frame, image.series_uid) == (mask.frame, mask.series_uid)
    return same_part and Path(image.source).resolve() == Path(mask.source).resolve()


def file_name(name: str) -> str:
    """A layer's name as one that every file system takes; its mask is called so."""
    return "".join(c if c.isalnum() or c in "-_. " else "_" for c in name).strip(". ") or "image"


def in_place(mask: Mask) -> LayerImage:
    """Stands for the image of a mask where that is not open: the place in space that it had."""
    placed = spatial_keywords(mask.geometry, len(mask.geometry.shape), straight=True)
    axes = layer_axes(mask.geometry)
    return LayerImage(mask.name, None, mask.geometry, axes, mask.source, placed)


def opened_layers(image: OpenedImage) -> list[Layer]:
    """The layers of an image that was opened, see :func:`layers_of`; oblique ones are straight."""
    from napari.layers import Layer

    part = {"frame": image.frame, "series_uid": image.series_uid}
    made = layers_of(image.arrays[0], image.geometry, image.name, image.path, straight=True, **part)
    return [Layer.create(*data) for data in made]


def transform_of(layer: Layer) -> dict[str, Any]:
    """Everything that places a layer, for another one that shall lie exactly on it."""
    return {name: getattr(layer, name) for name in TRANSFORM}


def make_overlay(image: LayerImage, mask: Mask, *, opacity: float = 0.5) -> Labels:
    """Make the layer of a mask; it can be added to any viewer. The mask's array becomes its own.

    Class names are shown where the pointer is; colours are the study's.
    """
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    colours: dict[int | None, Any] = {None: _NO_CLASS, 0: "transparent"}
    colours |= {number: one.color for number, one in enumerate(mask.classes) if number}
    # Neither copied nor brought into another order, which takes up to a second of the window's
    # time; only made writable, since the user will paint in it.
    data = np.require(image.to_layer_axes(mask), requirements="W")
    return Labels(
        data,
        name=f"{image.name}: mask",
        opacity=opacity,
        colormap=DirectLabelColormap(color_dict=colours),
        features={
            "index": list(range(len(mask.classes))),
            "class": [one.name for one in mask.classes],
        },
        metadata={
            METADATA_KEY: {
                "path": str(mask.saved or ""),
                "source": mask.source,
                "geometry": image.geometry,
                "axes": image.axes,
                "is_stacked": image.is_stacked,
                "classes": [one.name for one in mask.classes],
                "provenance": mask.provenance.model_dump(),
            }
        },
        **image.placed,
    )


@dataclass(frozen=True)
class ClassAmount:
    """How much of a class there is. ``unit`` is ``ml``, ``mm²`` or ``pixels``."""

    name: str
    color: str
    amount: float
    unit: str


def amounts(mask: Mask) -> list[ClassAmount]:
    """Volume (or area) of each class but the background."""
    geometry = mask.geometry
    # Not the product of the spacing: axes need not be at right angles (a gantry that was tilted).
    rows, columns, slices = geometry.affine_array()[:3, :3].T
    across = np.cross(rows, columns)
    size = float(abs(across @ slices) if len(geometry.shape) == 3 else np.linalg.norm(across))
    if not geometry.has_physical_size:
        size, unit = 1.0, "pixels"
    elif len(geometry.shape) == 3:
        size, unit = size / 1000, "ml"
    else:
        unit = "mm²"
    return [
        ClassAmount(one.name, one.color, count * size, unit)
        for one, count in list(zip(mask.classes, mask.counts, strict=True))[1:]
    ]


def _geometry_of(layer: Image, shape: tuple[int, ...], frame: int | None) -> Geometry:
    count = len(shape)
    start = np.zeros(layer.ndim)
    if frame is not None:
        start[0] = frame
    origin = np.asarray(layer.data_to_world(start))[-count:]
    along = [start + one for one in np.eye(layer.ndim)[-count:]]
    steps = np.stack(
        [np.asarray(layer.data_to_world(at))[-count:] - origin for at in along], axis=1
    )
    factor = _millimetres(layer)
    steps, origin = steps * (factor or 1.0), origin * (factor or 1.0)
    affine = np.eye(4)
    if count == 3:
        axes = list(_engine_axes(layer, count))
        affine[:3, :3], affine[:3, 3] = steps[np.ix_(axes, axes)], origin[axes]
        shape = tuple(shape[axis] for axis in axes)
    else:
        affine[:2, :2], affine[:2, 3] = steps[::-1], origin[::-1]
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # pictures are LPS+, as in the engine
    spacing = tuple(float(v) for v in np.linalg.norm(affine[:3, :count], axis=0))
    return Geometry(
        family="dicom" if factor or count == 3 else "raster",  # masks of "dicom" become NIfTI
        shape=shape,
        spacing=spacing,
        has_physical_size=factor is not None,
        is_oriented=False,
        slice_axis=default_slice_axis(spacing, shape),
        affine=as_rows(affine),
    )


def _millimetres(layer: Image) -> float | None:
    """Millimetres of the layer's unit, or ``None`` where it is no length."""
    unit = layer.units[-1]
    try:
        return float((1 * unit).to("millimeter").magnitude)
    except Exception:  # pint's own errors; a pixel is no length
        return None


def is_part_of_file(layer: Layer) -> bool:
    """Whether the file of a layer holds more than one image, so that its path does not tell all."""
    own = layer.metadata.get(METADATA_KEY, {})
    return layer.ndim > 3 or own.get("frame") is not None or own.get("series_uid") is not None


def layer_path(layer: Layer) -> Path | None:
    """The file that a layer came from, if there is one."""
    own = layer.metadata.get(METADATA_KEY, {}).get("path")
    path = own or (layer.source.path if layer.source is not None else None)
    return Path(path) if path else None
