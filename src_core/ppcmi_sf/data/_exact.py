"""Random fields that come out bit for bit the same on every machine.

Only two things are used: raw 64-bit words of PCG64, whose stream NumPy
guarantees (NEP 19), and element-wise ``+ - * /`` and ``sqrt`` in float64, which
IEEE 754 rounds exactly. No sine, exponential or logarithm (their last bit
differs between maths libraries), no ``sum`` (its order differs between
processors), no distribution of NumPy's (these may change between versions).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_GAUSS_TERMS = 6


def uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """One number in [low, high)."""
    return float(low + (high - low) * _unit(rng, 1)[0])


def chance(rng: np.random.Generator, probability: float) -> bool:
    """Whether an event of this probability happens."""
    return uniform(rng, 0.0, 1.0) < probability


def unit_vector(rng: np.random.Generator) -> tuple[float, float]:
    """Draw a direction (cosine, sine) of the full circle, by the rational parametrisation."""
    t = uniform(rng, -1.0, 1.0)
    cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    return (cosine, sine) if chance(rng, 0.5) else (-cosine, -sine)


def rotation(half_tangent: float) -> tuple[float, float]:
    """Cosine and sine of the angle whose half has this tangent."""
    square = half_tangent * half_tangent
    return (1 - square) / (1 + square), 2 * half_tangent / (1 + square)


def smooth_noise(rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int]) -> Floats:
    """Value noise in [0, 1] (H, W): a coarse random lattice, smoothly interpolated."""
    lattice = _unit(rng, (cells[0] + 1) * (cells[1] + 1)).reshape(cells[0] + 1, cells[1] + 1)
    row, row_part = _lattice_position(size[0], cells[0])
    column, column_part = _lattice_position(size[1], cells[1])
    left = lattice[row][:, column]
    top = left + (lattice[row][:, column + 1] - left) * column_part
    left = lattice[row + 1][:, column]
    bottom = left + (lattice[row + 1][:, column + 1] - left) * column_part
    noise: Floats = top + (bottom - top) * row_part[:, None]
    return noise


def speckle(rng: np.random.Generator, size: tuple[int, int], passes: tuple[int, int]) -> Floats:
    """Band-limited Rayleigh speckle (H, W) of mean about 1.

    The amplitude of a complex field whose parts are nearly Gaussian (a sum of
    uniforms) and smoothed by a repeated [1, 2, 1] / 4 along each axis, wider
    across the beam than along it, as a real point spread function is.

    Source: Burckhardt, "Speckle in ultrasound B-mode scans", IEEE Trans. Sonics
    and Ultrasonics 25(1), 1978.
    """
    real, imaginary = (_smooth(_gaussian(rng, size), passes) for _ in range(2))
    amplitude: Floats = np.sqrt(real * real + imaginary * imaginary)
    return amplitude / (1.2533 * _smoothed_deviation(passes))


def blend(low: Floats | float, high: Floats | float, weight: Floats) -> Floats:
    """Go from ``low`` (weight 0) to ``high`` (weight 1), smoothly and clipped."""
    w = np.clip(weight, 0.0, 1.0)
    mixed: Floats = low + (high - low) * (w * w * (3 - 2 * w))
    return mixed


def to_uint8(values: Floats) -> npt.NDArray[np.uint8]:
    """Round [0, 1] to 0..255."""
    return np.floor(np.clip(values, 0.0, 1.0) * 255 + 0.5).astype(np.uint8)


def _unit(rng: np.random.Generator, count: int) -> Floats:
    """Uniform numbers in [0, 1): the upper 53 bits of each raw word."""
    words = np.atleast_1d(rng.bit_generator.random_raw(count)).astype(np.uint64)
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _gaussian(rng: np.random.Generator, size: tuple[int, int]) -> Floats:
    """Nearly Gaussian numbers (H, W), mean 0 and variance 1, added up in a fixed order."""
    total = np.zeros(size)
    for _ in range(_GAUSS_TERMS):
        total = total + (_unit(rng, size[0] * size[1]).reshape(size) - 0.5)
    return total * float(np.sqrt(12 / _GAUSS_TERMS))


def _smooth(field: Floats, passes: tuple[int, int]) -> Floats:
    """Smooth by [1, 2, 1] / 4, ``passes[axis]`` times along each axis, edges wrapped."""
    for axis, count in enumerate(passes):
        for _ in range(count):
            field = (np.roll(field, 1, axis) + 2 * field + np.roll(field, -1, axis)) / 4
    return field


def _smoothed_deviation(passes: tuple[int, int]) -> float:
    """Compute the standard deviation that white noise of variance 1 keeps after :func:`_smooth`."""
    variance = 1.0
    for count in passes:
        # the kernel is a row of Pascal's triangle; the sum of its squares has a closed form
        for step in range(1, 2 * count + 1):
            variance *= (2 * step - 1) / (2 * step)
    return float(np.sqrt(variance))


def _lattice_position(length: int, cells: int) -> tuple[npt.NDArray[np.intp], Floats]:
    """Cell of each pixel and its smoothed place within the cell."""
    place = (np.arange(length) + 0.5) * cells / length
    cell = np.minimum(np.floor(place), cells - 1)
    part = place - cell
    return cell.astype(np.intp), part * part * (3 - 2 * part)
