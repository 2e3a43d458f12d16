"""From arrays and their geometry to napari layers; no Qt.

A layer and everything laid over it get one and the same transform, made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ppcmi_sf.imaging import Geometry, MedicalImage

# What napari calls a layer data tuple: array, keyword arguments, kind of layer.
LayerData: TypeAlias = "tuple[NDArray[Any], dict[str, Any], str]"

METADATA_KEY = "ppcmi"
"""Where a layer keeps its file and the file's own geometry, which export needs."""

_STRAIGHT = 1e-3
_USUAL = ("down", "right")  # how napari turns a picture
_AXIS_LABELS = {2: ("y", "x"), 3: ("x", "y", "z")}


def layer_axes(geometry: Geometry) -> tuple[int, ...]:
    """Which axis of the file each axis of its layer is.

    napari's slider moves through a layer only where the layer's axes are nearly those of the
    world; a sagittal file has them in another order.
    """
    if len(geometry.shape) == 2:
        return (0, 1)
    directions = np.abs(_directions(geometry)).round(6)
    return max(
        permutations(range(3)),
        key=lambda axes: sum(float(directions[world, axis]) for world, axis in enumerate(axes)),
    )


def is_oblique(geometry: Geometry) -> bool:
    """Whether a volume's axes are not those of the patient, nor these in another order."""
    directions = np.abs(_directions(geometry))
    along = (directions < _STRAIGHT) | (directions > 1 - _STRAIGHT)
    return len(geometry.shape) == 3 and not bool(along.all())


def spatial_keywords(geometry: Geometry, ndim: int, *, straight: bool = False) -> dict[str, Any]:
    """Place a layer where its file says.

    Parameters
    ----------
    geometry
        The file's geometry.
    ndim
        2 for an image ``(H, W)``, 3 for a volume whose axes are :func:`layer_axes`.
    straight
        Turn an oblique volume straight around its centre. napari draws it so anyway, but its
        slider then misses a part of the slices.

    Returns
    -------
    dict
        Keyword arguments of a layer. A volume gets the whole affine (index to RAS
        mm), an image its pixel size: a flat viewer has no third axis to turn it in.
        Without a physical size the unit is the pixel.
    """
    unit = "mm" if geometry.has_physical_size else "pixel"
    placed: dict[str, Any] = {"units": (unit,) * ndim, "axis_labels": _AXIS_LABELS[ndim]}
    if ndim == 3:
        affine = geometry.affine_array()[:, [*layer_axes(geometry), 3]]
        placed["affine"] = _straightened(affine, geometry) if straight else affine
    else:
        placed["scale"] = tuple(float(step) for step in geometry.spacing[:2])
    return placed


def _directions(geometry: Geometry) -> NDArray[np.float64]:
    steps = geometry.affine_array()[:3, :3]
    return np.asarray(steps / np.linalg.norm(steps, axis=0))


def _straightened(affine: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64]:
    if not is_oblique(geometry):
        return affine
    shape = np.array(geometry.shape)[list(layer_axes(geometry))]
    middle, steps = (shape - 1) / 2, np.diag(affine[:3, :3])
    lengths = np.copysign(np.linalg.norm(affine[:3, :3], axis=0), steps)
    straight = np.diag([*lengths, 1.0])
    straight[:3, 3] = affine[:3, :3] @ middle + affine[:3, 3] - lengths * middle
    return straight


def look_in_plane(viewer: Any, layer: Any, geometry: Geometry) -> None:
    """Show a volume as a radiologist expects it: its middle slice, in the plane it was taken in.

    The slider moves from slice to slice. Where the file says how the patient lies, left is on the
    right, and anterior or superior above.
    """
    camera = getattr(viewer, "scene", viewer).camera  # napari before 0.9 has no scene
    if len(geometry.shape) == 2:
        camera.orientation2d = _USUAL
        return
    through = layer_axes(geometry).index(geometry.slice_axis)
    columns, rows = (axis for axis in range(3) if axis != through)
    first = viewer.dims.ndim - 3
    order = (through, rows, columns)
    viewer.dims.order = (*range(first), *(first + axis for axis in order))
    camera.orientation2d = ("up", "left") if geometry.is_oriented else _USUAL
    _turn_back_when_empty(viewer.layers, camera)
    # What counts for napari's slider is this axis alone, whatever the others say.
    to_data = np.linalg.inv(layer.affine.affine_matrix)
    middle = (layer.data.shape[through] - 1) // 2
    point = (middle - to_data[through, 3]) / to_data[through, through]
    viewer.dims.set_point(first + through, point)


def _turn_back_when_empty(layers: Any, camera: Any) -> None:
    """Show what is opened next as napari does, which keeps the camera: a picture lay mirrored."""

    def look() -> None:
        if not layers:
            layers.events.removed.disconnect(look)
            camera.orientation2d = _USUAL

    layers.events.removed.connect(look)


def image_layers(image: MedicalImage, name: str, path: Path) -> list[LayerData]:
    """Make the layers of an image: one, or one for each channel where these are no colours.

    Parameters
    ----------
    image
        What :func:`ppcmi_sf.imaging.read_image` returned.
    name
        Name of the layer; with several channels each gets its number.
    path
        The image's file, kept in the layer's metadata.
    """
    return layers_of(image.data, image.geometry, name, path)


def layers_of(
    data: NDArray[np.float32],
    geometry: Geometry,
    name: str,
    path: Path,
    *,
    straight: bool = False,
    **part: Any,
) -> list[LayerData]:
    """Make the layers of values, channels last, as :func:`image_layers` does.

    Parameters
    ----------
    straight
        As for :func:`spatial_keywords`.
    part
        ``frame`` or ``series_uid``, where the file or folder holds more than this; kept in the
        metadata, too.
    """
    *spatial, channels = data.shape
    axes = layer_axes(geometry)

    def keywords(called: str, **more: Any) -> dict[str, Any]:
        made = _keywords(geometry, len(spatial), path, straight=straight)
        made["metadata"][METADATA_KEY].update(part)
        return {**made, "name": called, **more}

    colours = _colours(data)
    if colours is not None:
        return [(colours.transpose(*axes, len(spatial)), keywords(name, rgb=True), "image")]
    return [
        (
            data[..., channel].transpose(axes),
            keywords(name if channels == 1 else f"{name} [{channel}]"),
            "image",
        )
        for channel in range(channels)
    ]


def _colours(data: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Three channels as red, green and blue, if their values can be that.

    They belong in one layer: apart, a mask would be made of one colour alone, and not of what
    the engine makes of all three.
    """
    if data.shape[-1] != 3:
        return None
    with np.errstate(invalid="ignore"):  # values that are none of a colour
        colours = data.astype(np.uint8)
    return colours if np.array_equal(colours, data) else None


def labels_layer(
    mask: NDArray[np.uint8],
    geometry: Geometry,
    name: str,
    path: Path,
    class_names: Sequence[str],
) -> LayerData:
    """Make the layer of a mask that lies over an image.

    Parameters
    ----------
    mask
        Class indices on the image's grid.
    geometry
        The geometry *of the image*, so that both layers get the same transform.
    name
        Name of the layer.
    path
        The mask's file, kept in the layer's metadata.
    class_names
        Names of the classes, background first; shown where the pointer is.
    """
    keywords = _keywords(geometry, mask.ndim, path)
    keywords["name"] = name
    keywords["opacity"] = 0.5
    keywords["features"] = {"index": list(range(len(class_names))), "class": list(class_names)}
    return mask.transpose(layer_axes(geometry)), keywords, "labels"


def _keywords(
    geometry: Geometry, ndim: int, path: Path, *, straight: bool = False
) -> dict[str, Any]:
    own = {"path": str(path), "geometry": geometry, "axes": layer_axes(geometry)}
    placed = spatial_keywords(geometry, ndim, straight=straight)
    return {**placed, "metadata": {METADATA_KEY: own}}
