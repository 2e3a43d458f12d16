"""What every test shares."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

# Set before napari is first imported: an empty value keeps tests away from the
# user's own settings, which the viewer fixture would otherwise reset.
os.environ.setdefault("NAPARI_CONFIG", "")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the checkout."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def write_slice() -> Callable[..., Path]:
    """Write one DICOM slice with the position, orientation and tags that are given."""
    import SimpleITK as sitk

    def write(
        path: Path,
        pixels: np.ndarray,
        position=(0.0, 0.0, 0.0),
        orientation=(1, 0, 0, 0, 1, 0),
        uid="1.2.826.1",
        spacing=(0.5, 0.7),
        tags: dict[str, str] | None = None,
    ) -> Path:
        image = sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3)
        volume = sitk.JoinSeries(image)
        volume.SetSpacing((*spacing, 1))
        values = {
            "0008|0060": "CT",
            "0020|000d": "1.2.826.0",
            "0020|000e": uid,
            "0008|0018": f"{uid}.{abs(hash((path.name, tuple(position)))) % 10**8}",
            "0008|103e": f"series {uid[-1]}",
            "0010|0010": "SECRET^PATIENT",
            "0020|0032": "\\".join(f"{v:.6f}" for v in position),
            "0020|0037": "\\".join(f"{v:.9f}" for v in orientation),
            **(tags or {}),
        }
        for key, value in values.items():
            volume.SetMetaData(key, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetImageIO("GDCMImageIO")
        writer.SetFileName(str(path))
        writer.Execute(volume)
        return path

    return write
