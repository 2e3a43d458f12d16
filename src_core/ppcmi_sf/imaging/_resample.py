"""Planes resampled to another size, pixel centres at half-integers."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize(plane: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Resample with pixel centres at half-integers, antialiased when shrinking."""
    if plane.shape == shape:
        return np.asarray(plane, np.float32)
    picture = Image.fromarray(np.ascontiguousarray(plane, np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR))


def area_share(region: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Find which share of each new pixel a region covers; bilinear along axes that grow.

    Pillow's box filter counts a source pixel fully or not at all, which makes
    small structures up to 10 % too large.
    """
    plane = region.astype(np.float32)
    if shape[0] < plane.shape[0]:
        plane = _overlaps(plane.shape[0], shape[0]) @ plane
    if shape[1] < plane.shape[1]:
        plane = plane @ _overlaps(plane.shape[1], shape[1]).T
    return resize(plane, shape)


@lru_cache(maxsize=16)
def _overlaps(source: int, target: int) -> NDArray[np.float32]:
    """Weights (target, source): the part of each new pixel that lies on each source pixel."""
    edges = np.arange(target + 1) * (source / target)
    pixels = np.arange(source)
    ends = np.minimum(edges[1:, np.newaxis], pixels + 1)
    starts = np.maximum(edges[:-1, np.newaxis], pixels)
    overlap = np.maximum(ends - starts, 0) * (target / source)
    return np.asarray(overlap, np.float32)


def keep_larger(
    winner: NDArray[np.uint8],
    best: NDArray[np.float32],
    share: NDArray[np.float32],
    number: int,
) -> None:
    """Where ``share`` is above ``best``, note the class ``number`` as winner, and its share."""
    larger = share > best
    winner[larger] = number
    best[larger] = share[larger]
