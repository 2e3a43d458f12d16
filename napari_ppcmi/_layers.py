"""From arrays and their geometry to napari layers; no Qt.

A layer and everything laid over it get one and the same transform, made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ppcmi_sf.imaging import Geometry, MedicalImage

# What napari calls a layer data tuple: array, keyword arguments, kind of layer.
LayerData: TypeAlias = "tuple[NDArray[Any], dict[str, Any], str]"

METADATA_KEY = "ppcmi"
"""Where a layer keeps its file and the file's own geometry, which export needs."""

_AXIS_LABELS = {2: ("y", "x"), 3: ("x", "y", "z")}


def spatial_keywords(geometry: Geometry, ndim: int) -> dict[str, Any]:
    """Place a layer where its file says.

    Parameters
    ----------
    geometry
        The file's geometry.
    ndim
        2 for an image ``(H, W)``, 3 for a volume in the file's index order.

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
        placed["affine"] = geometry.affine_array()
    else:
        placed["scale"] = tuple(float(step) for step in geometry.spacing[:2])
    return placed


def image_layers(image: MedicalImage, name: str, path: Path) -> list[LayerData]:
    """Make the layers of an image, one for each channel.

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
    data: NDArray[np.float32], geometry: Geometry, name: str, path: Path
) -> list[LayerData]:
    """Make the layers of values, channels last, as :func:`image_layers` does."""
    *spatial, channels = data.shape
    layers: list[LayerData] = []
    for channel in range(channels):
        keywords = _keywords(geometry, len(spatial), path)
        keywords["name"] = name if channels == 1 else f"{name} [{channel}]"
        layers.append((data[..., channel], keywords, "image"))
    return layers


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
    return mask, keywords, "labels"


def _keywords(geometry: Geometry, ndim: int, path: Path) -> dict[str, Any]:
    metadata = {METADATA_KEY: {"path": str(path), "geometry": geometry}}
    return {**spatial_keywords(geometry, ndim), "metadata": metadata}
