"""Random anatomy of the phantoms: where a head and a cavity lie in the field of view.

Places are in units of the image's height: ``y`` is depth in [0, 1], ``x`` runs
across, 0 in the middle. All arithmetic is exact in the sense of :mod:`_exact`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ppcmi_sf.data._exact import Floats, chance, rotation, uniform, unit_vector

MIN_SHARE = 0.02
"""Each structure covers at least this share of the image (before it is cut to pixels)."""

_PI = 3.141592653589793
_TRIES = 400


@dataclass(frozen=True)
class Grid:
    """Pixel centres: depth ``y`` (H, 1) and place across ``x`` (1, W)."""

    y: Floats
    x: Floats

    @classmethod
    def of(cls, size: tuple[int, int]) -> Grid:
        """Make the grid of an image (H, W)."""
        height, width = size
        y = (np.arange(height) + 0.5) / height
        x = (np.arange(width) + 0.5 - width / 2) / height
        return cls(y[:, None], x[None, :])


@dataclass(frozen=True)
class Sector:
    """Field of view of a curved probe: a fan about an apex above the image.

    ``slope`` is the tangent of half the opening angle; ``near`` and ``far`` are
    distances from the apex, which lies at ``y = -apex``.
    """

    apex: float
    slope: float
    near: float
    far: float

    def inside(self, y: Floats, x: Floats) -> Floats:
        """Margin to the border, positive inside, about in units of the height."""
        depth = y + self.apex
        distance = np.sqrt(depth * depth + x * x)
        side = (self.slope * depth - np.abs(x)) / np.sqrt(1 + self.slope * self.slope)
        margin: Floats = np.minimum(side, np.minimum(distance - self.near, self.far - distance))
        return margin


@dataclass(frozen=True)
class Ellipse:
    """A slightly egg-shaped ellipse: centre, half axes, direction of the first axis."""

    y: float
    x: float
    a: float
    b: float
    cosine: float
    sine: float
    egg: float = 0.0

    def radius(self, y: Floats, x: Floats) -> Floats:
        """Relative radius: below 1 inside, 1 on the border, above 1 outside."""
        dx, dy = x - self.x, y - self.y
        u = (self.cosine * dx + self.sine * dy) / self.a
        v = (self.cosine * dy - self.sine * dx) / self.b
        v = v * (1 + self.egg * u)
        rho: Floats = np.sqrt(u * u + v * v)
        return rho

    def outline(self) -> tuple[Floats, Floats]:
        """Points (y, x) around the border, every 15 degrees or so."""
        t = np.arange(-6, 6) / 6
        cosine, sine = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
        u = np.concatenate([cosine, -cosine]) * self.a
        v = np.concatenate([sine, -sine]) * self.b * (1 + abs(self.egg))
        return (
            self.y + self.sine * u + self.cosine * v,
            self.x + self.cosine * u - self.sine * v,
        )

    def scaled(self, factor: float) -> Ellipse:
        """Return the same ellipse, larger or smaller."""
        return replace(self, a=self.a * factor, b=self.b * factor)


@dataclass(frozen=True)
class Anatomy:
    """The structures: ``head`` (class 1) and ``cavity`` (class 2, over the head, if any)."""

    head: Ellipse
    cavity: Ellipse | None


def draw_anatomy(rng: np.random.Generator, aspect: float, sector: Sector | None) -> Anatomy:
    """Draw head and cavity so that both lie within the field of view.

    Parameters
    ----------
    rng
        Source of the draw.
    aspect
        Width over height of the image.
    sector
        Field of view, or ``None`` for the whole image.

    Notes
    -----
    The image is drawn in units of its height; in a narrow one the structures
    shrink with the width, so the share of the image they cover stays. About half
    of all proposals fit; after 400 that do not (a sector with hardly any room)
    the last one is taken as it is.
    """
    unit = float(np.sqrt(min(aspect, 1.0)))
    anatomy = _propose(rng, aspect, unit)
    for _ in range(_TRIES):
        if _fits(anatomy, aspect, sector):
            break
        anatomy = _propose(rng, aspect, unit)
    return anatomy


def _propose(rng: np.random.Generator, aspect: float, unit: float) -> Anatomy:
    """Draw a head anywhere, and a cavity inside or beside it."""
    a = uniform(rng, 0.23, 0.32) * unit
    cosine, sine = rotation(uniform(rng, -0.45, 0.45))
    head = Ellipse(
        y=uniform(rng, 0.36, 0.68),
        x=uniform(rng, -0.22, 0.22) * aspect,
        a=a,
        b=a * uniform(rng, 0.72, 0.95),
        cosine=cosine,
        sine=sine,
        egg=uniform(rng, -0.12, 0.12),
    )
    c = uniform(rng, 0.1, 0.135) * unit
    d = max(c * uniform(rng, 0.62, 0.95), 1.08 * MIN_SHARE * aspect / (_PI * c))
    toward = unit_vector(rng)
    inside = chance(rng, 0.35)
    # inside, the cavity keeps off the rim; beside, a little tissue lies between the two
    reach = (head.b - c) * uniform(rng, 0.15, 0.85) if inside else a + c + uniform(rng, 0.01, 0.04)
    turn_cosine, turn_sine = unit_vector(rng)
    cavity = Ellipse(
        y=head.y + toward[1] * reach,
        x=head.x + toward[0] * reach,
        a=c,
        b=d,
        cosine=turn_cosine,
        sine=turn_sine,
        egg=uniform(rng, -0.15, 0.15),
    )
    return Anatomy(head, cavity)


def _fits(anatomy: Anatomy, aspect: float, sector: Sector | None) -> bool:
    """Whether both structures lie in the image, off its border, and in the sector."""
    for ellipse in filter(None, (anatomy.head, anatomy.cavity)):
        y, x = ellipse.outline()
        if y.min() < 0.06 or y.max() > 0.97 or np.abs(x).max() > aspect / 2 - 0.02:
            return False
        if sector is not None and sector.inside(y, x).min() < 0.01:
            return False
    return True
