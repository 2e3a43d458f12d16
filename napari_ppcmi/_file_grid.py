"""From a labels layer to the grid of the file that it belongs to; no Qt.

A mask of ours keeps that grid. What a user draws by hand is in a layer of napari's own making: it
has the place of the image below it, but not what the file says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ppcmi._layers import METADATA_KEY
from napari_ppcmi._overlay import TRANSFORM, LayerImage, read_layer, to_file_axes
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.imaging.geometry import Geometry

if TYPE_CHECKING:
    from napari.layers import Layer

_CLOSE = 1e-6


def on_file_grid(
    viewer: Any, data: Any, meta: Mapping[str, Any]
) -> tuple[NDArray[Any], Geometry, tuple[int, ...]]:
    """Labels in the axis order of a file, where they lie, and which axis each of the layer's is.

    The file is the layer's own, else that of the one image that it was drawn over, else the
    layer is one of another reader.

    Parameters
    ----------
    viewer
        Whose images it may have been drawn over; ``None`` if there is none.
    data, meta
        The layer's data, and what ``as_layer_data_tuple`` gives besides.

    Raises
    ------
    InputFileError
        It is neither a picture nor a volume.
    """
    own = meta.get("metadata", {}).get(METADATA_KEY, {})
    geometry = own.get("geometry")
    labels = np.asarray(data)
    turned = to_file_axes(labels, own)
    if isinstance(geometry, Geometry) and geometry.shape == turned.shape:
        return turned, geometry, tuple(own.get("axes", ()))
    layer = _as_image(labels, meta)
    image = image_below(viewer, layer) or read_layer(layer)
    return to_file_axes(labels, {"axes": image.axes}), image.geometry, image.axes


def image_below(viewer: Any, layer: Layer) -> LayerImage | None:
    """The image that a layer was drawn over, if all images of its size and place agree."""
    from napari.layers import Image

    found: list[LayerImage] = []
    for one in () if viewer is None else viewer.layers:
        if not isinstance(one, Image) or one.ndim != layer.ndim or not _lies_on(one, layer):
            continue
        try:
            found.append(read_layer(one))
        except PPCMIError:
            continue
    return found[0] if found and all(one.geometry == found[0].geometry for one in found) else None


def _lies_on(image: Any, layer: Layer) -> bool:
    data = image.data[0] if image.multiscale else image.data
    if tuple(data.shape[: image.ndim]) != tuple(layer.data.shape) or image.units != layer.units:
        return False
    corners = np.vstack([np.zeros(layer.ndim), np.diag(layer.data.shape)])
    return all(
        np.allclose(image.data_to_world(at), layer.data_to_world(at), rtol=_CLOSE, atol=_CLOSE)
        for at in corners
    )


def _as_image(labels: NDArray[Any], meta: Mapping[str, Any]) -> Any:
    from napari.layers import Image

    place = {name: meta[name] for name in TRANSFORM if meta.get(name) is not None}
    name = meta.get("name") or "Labels"
    return Image(labels, rgb=False, name=name, contrast_limits=(0, 1), **place)
