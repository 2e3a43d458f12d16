"""Saving a Labels layer from napari's own menu, in the grid of the image it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_ppcmi._file_grid import on_file_grid
from ppcmi_sf.errors import PPCMIError

if TYPE_CHECKING:
    from collections.abc import Mapping


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
    from napari import current_viewer
    from napari.utils.notifications import show_warning

    from ppcmi_sf.imaging import write_mask_as

    try:
        plain = data[0] if meta.get("multiscale") else data
        labels, geometry, _ = on_file_grid(current_viewer(), plain, meta)
        write_mask_as(labels, geometry, Path(path))
    except PPCMIError as error:
        show_warning(f"{error.message} {error.hint}".strip())
        return []
    return [path]
