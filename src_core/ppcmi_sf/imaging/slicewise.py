"""A volume that is read plane by plane, so that its size does not decide how much memory it takes.

For NIfTI files whose slices are the planes of the last axis, which lie one after the other in the
file. Everything else is read as a whole (:func:`ppcmi_sf.imaging.read_image`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ppcmi_sf.files import atomic_path
from ppcmi_sf.imaging import _nifti
from ppcmi_sf.imaging._guard import reading, require_finite
from ppcmi_sf.imaging.geometry import Geometry


@dataclass(frozen=True)
class SlicewiseImage:
    """A grey NIfTI volume ``(i, j, k)`` of which one plane at a time is in memory.

    Attributes
    ----------
    geometry
        As :func:`ppcmi_sf.imaging.read_image` gives it.
    path
        The file, which stays open for as long as this is used.
    SLICE_AXIS
        The axis whose planes lie one after the other in the file.
    """

    SLICE_AXIS: ClassVar[int] = 2

    geometry: Geometry
    path: Path
    _image: Any

    @property
    def channels(self) -> int:
        """One."""
        return 1

    def plane(self, axis: int | None, index: int) -> NDArray[np.float32]:
        """A plane of the last axis, float32 ``(i, j, 1)``.

        Raises
        ------
        InputFileError
            The file is damaged or cut short.
        """
        assert axis == self.SLICE_AXIS, "a whole image in memory has planes of other axes"
        with reading(self.path, "NIfTI"):
            values = np.asarray(self._image.dataobj[..., index])
            return values.reshape(self.geometry.shape[:2]).astype(np.float32)[..., np.newaxis]

    def sample(self, step: int) -> NDArray[np.float32]:
        """Every ``step``-th voxel along each axis; goes through the whole file once.

        Raises
        ------
        InputFileError
            The file is damaged, or holds a value that is not finite.
        """
        count, kept, bad = self.geometry.shape[self.SLICE_AXIS], [], 0
        for index in range(count):
            plane = self.plane(self.SLICE_AXIS, index)
            bad += plane.size - int(np.count_nonzero(np.isfinite(plane)))
            if index % step == 0:
                kept.append(plane[::step, ::step])
        require_finite(self.path, bad, count * plane.size)
        return np.stack(kept, axis=self.SLICE_AXIS)


def open_nifti(path: Path) -> SlicewiseImage | None:
    """Open a NIfTI file, or ``None`` where it has to be read as a whole.

    Raises
    ------
    InputFileError
        The file is damaged.
    """
    from nibabel.imageglobals import LoggingOutputSuppressor

    with reading(path, "NIfTI"), LoggingOutputSuppressor():
        image = _nifti.load(path, keep_open=True)
        kind = image.get_data_dtype()
        if len(image.shape) != 3 or kind.names or kind.kind == "c":
            return None
        geometry = _nifti.geometry_of(path, image, image.shape)
    return SlicewiseImage(geometry, path, image)


@contextmanager
def mask_planes(geometry: Geometry, target: Path) -> Iterator[Callable[[NDArray[np.uint8]], None]]:
    """Write a mask plane by plane, in the order of the last axis; whole or not at all.

    Yields
    ------
    callable
        Takes the next plane, uint8 ``(i, j)``.

    Raises
    ------
    ResourceError
        The disk is full or the folder cannot be written to.
    """
    with atomic_path(target) as temporary, _nifti.plane_writer(geometry, temporary) as append:
        yield append
