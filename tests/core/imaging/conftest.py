"""Real files that the tests write themselves, and a study to read them with."""

import math
from collections.abc import Callable

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
