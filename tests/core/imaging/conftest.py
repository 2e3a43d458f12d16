"""Real files that the tests write themselves, and a study to read them with."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ppcmi_sf.study import StudySpec, make_classes


@pytest.fixture
def make_study() -> Callable[..., StudySpec]:
    def make(size=(64, 64), classes=3, **fields) -> StudySpec:
        return StudySpec(
            name="test",
            modality="OTHER",
            classes=make_classes([f"class{n}" for n in range(1, classes)]),
            image_size=size,
            **fields,
        )

    return make


def _rotation(x: float, y: float, z: float) -> np.ndarray:
    result = np.eye(3)
    for axis, angle in enumerate((x, y, z)):
        c, s = math.cos(angle), math.sin(angle)
        turn = np.eye(3)
        a, b = (axis + 1) % 3, (axis + 2) % 3
        turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
        result = turn @ result
    return result


def _affine(matrix: np.ndarray, spacing, origin=(12.5, -33.25, 7.125)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = matrix @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


_SHEAR = np.array([[1, 0.2, 0.1], [0, 1, 0.15], [0, 0, 1.0]])
AFFINES = {
    "plain": _affine(np.eye(3), (1, 1, 1)),
    "flipped": _affine(np.diag([-1, 1, -1.0]), (0.8, 0.8, 2.5)),
    "anisotropic": _affine(np.eye(3), (0.7, 1.3, 5)),
    "oblique": _affine(_rotation(0.3, -0.2, 0.5), (0.9, 1.1, 3)),
    "permuted": _affine(np.eye(3)[:, [1, 2, 0]], (1, 1, 4)),
    "sheared": _affine(_rotation(0.1, 0.2, 0.3) @ _SHEAR, (1, 1.2, 2)),
}


@pytest.fixture(params=sorted(AFFINES))
def affine(request) -> np.ndarray:
    return AFFINES[request.param]


@pytest.fixture
def affines() -> dict[str, np.ndarray]:
    return AFFINES


@pytest.fixture
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
