"""Saving a Labels layer from napari's own menu, in the grid of the image it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_ppcmi._layers import METADATA_KEY
from napari_ppcmi._overlay import read_layer, to_file_axes
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.imaging.geometry import Geometry

if TYPE_CHECKING:
    from collections.abc import Mapping

_PLACE = ("scale", "translate", "rotate", "shear", "affine", "units", "axis_labels")


def write_labels(path: str, data: Any, meta: Mapping[str, Any]) -> list[str]:
    """Write one Labels layer; the suffix chooses the format.

    Parameters
    ----------
    path
        Ends in ``.nii``, ``.nii.gz``, ``.mha`` or ``.nrrd``.
    data, meta
        The layer's, from napari.

    Returns
    -------
    list of str
        The file, or nothing where it could not be written: then a notification says why.
    """
    from napari.utils.notifications import show_warning

    from ppcmi_sf.imaging import write_mask_as

    try:
        labels, geometry = _on_file_grid(data[0] if meta.get("multiscale") else data, meta)
        write_mask_as(labels, geometry, Path(path))
    except PPCMIError as error:
        show_warning(f"{error.message} {error.hint}".strip())
        return []
    return [path]


def _on_file_grid(data: Any, meta: Mapping[str, Any]) -> tuple[NDArray[Any], Geometry]:
    """Labels in the axis order of the file, and where they lie."""
    own = meta.get("metadata", {}).get(METADATA_KEY, {})
    geometry = own.get("geometry")
    labels = np.asarray(data)
    turned = to_file_axes(labels, own)
    if isinstance(geometry, Geometry) and geometry.shape == turned.shape:
        return turned, geometry
    return _on_layer_grid(labels, meta)


def _on_layer_grid(labels: NDArray[Any], meta: Mapping[str, Any]) -> tuple[NDArray[Any], Geometry]:
    from napari.layers import Image

    place = {name: meta[name] for name in _PLACE if meta.get(name) is not None}
    name = meta.get("name") or "Labels"
    layer = read_layer(Image(labels, rgb=False, name=name, contrast_limits=(0, 1), **place))
    return layer.data[..., 0], layer.geometry
