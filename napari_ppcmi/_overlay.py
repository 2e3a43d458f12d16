"""From an image layer to the engine, and from a mask to a layer that lies on it; no Qt.

A layer of ours keeps its file's geometry, and its axes are the file's. A layer of another reader
has napari's order (z, y, x): the engine, whose order is (x, y, z), gets it reversed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ppcmi._layers import METADATA_KEY
from ppcmi_sf.errors import InputFileError
from ppcmi_sf.imaging.geometry import Geometry, as_rows, default_slice_axis

if TYPE_CHECKING:
    from napari.layers import Image, Labels, Layer

    from napari_ppcmi._protocol.images import Mask

_TRANSFORM = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


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
    is_reversed
        Whether axes were reversed on the way.
    source
        Path of its file, or empty.
    placed
        All of the layer's transform, as keywords of a new layer.
    """

    name: str
    data: Any
    geometry: Geometry
    is_reversed: bool
    source: str
    placed: dict[str, Any]

    def to_layer_axes(self, labels: NDArray[Any]) -> NDArray[Any]:
        """A mask in the axis order of the layer."""
        return labels.T if self.is_reversed else labels


def read_layer(layer: Image) -> LayerImage:
    """Take what the engine needs of an image layer. Nothing is copied or computed.

    Raises
    ------
    InputFileError
        It is neither a picture nor a volume.
    """
    data = layer.data[0] if layer.multiscale else layer.data
    spatial = layer.ndim
    if spatial not in (2, 3):
        raise InputFileError(
            layer.name,
            f"the layer has {spatial} axes; a picture has 2 and a volume 3.",
            hint="Take one time point or channel out of it as a layer of its own.",
        )
    own = layer.metadata.get(METADATA_KEY, {})
    geometry = own.get("geometry")
    fits = isinstance(geometry, Geometry) and geometry.shape == tuple(data.shape[:spatial])
    turned = spatial == 3 and not fits
    if not fits:
        geometry = _geometry_of(layer, tuple(data.shape[:spatial]))
    channels = data[..., :3] if layer.rgb else data[..., np.newaxis]
    if turned:
        channels = channels.transpose(2, 1, 0, 3)
    assert geometry is not None
    source = own.get("path") or (layer.source.path if layer.source is not None else None) or ""
    return LayerImage(layer.name, channels, geometry, turned, str(source), transform_of(layer))


def transform_of(layer: Layer) -> dict[str, Any]:
    """Everything that places a layer, for another one that shall lie exactly on it."""
    return {name: getattr(layer, name) for name in _TRANSFORM}


def make_overlay(image: LayerImage, mask: Mask, *, opacity: float = 0.5) -> Labels:
    """Make the layer of a mask; it can be added to any viewer.

    Class names are shown where the pointer is; colours are the study's.
    """
    from napari.layers import Labels
    from napari.utils.colormaps import DirectLabelColormap

    colours: dict[int | None, Any] = {None: "transparent", 0: "transparent"}
    colours |= {number: one.color for number, one in enumerate(mask.classes) if number}
    # Writable and of its own: the user will paint in it.
    data = np.array(image.to_layer_axes(mask.arrays[0]), order="C")
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
                "is_reversed": image.is_reversed,
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
    counts = np.bincount(np.asarray(mask.arrays[0]).ravel(), minlength=len(mask.classes))
    size = float(np.prod(geometry.spacing))
    if not geometry.has_physical_size:
        size, unit = 1.0, "pixels"
    elif len(geometry.shape) == 3:
        size, unit = size / 1000, "ml"
    else:
        unit = "mm²"
    return [
        ClassAmount(one.name, one.color, float(counts[number]) * size, unit)
        for number, one in enumerate(mask.classes)
        if number
    ]


def _geometry_of(layer: Image, shape: tuple[int, ...]) -> Geometry:
    count = len(shape)
    origin = np.asarray(layer.data_to_world(np.zeros(count)))[-count:]
    steps = np.stack(
        [np.asarray(layer.data_to_world(one))[-count:] - origin for one in np.eye(count)], axis=1
    )
    factor = _millimetres(layer)
    steps, origin = steps * (factor or 1.0), origin * (factor or 1.0)
    affine = np.eye(4)
    if count == 3:
        affine[:3, :3], affine[:3, 3] = steps[::-1, ::-1], origin[::-1]
        shape = shape[::-1]
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
        slice_axis=default_slice_axis(spacing),
        affine=as_rows(affine),
    )


def _millimetres(layer: Image) -> float | None:
    """Millimetres of the layer's unit, or ``None`` where it is no length."""
    unit = layer.units[-1]
    try:
        return float((1 * unit).to("millimeter").magnitude)
    except Exception:  # pint's own errors; a pixel is no length
        return None


def layer_path(layer: Layer) -> Path | None:
    """The file that a layer came from, if there is one."""
    own = layer.metadata.get(METADATA_KEY, {}).get("path")
    path = own or (layer.source.path if layer.source is not None else None)
    return Path(path) if path else None
