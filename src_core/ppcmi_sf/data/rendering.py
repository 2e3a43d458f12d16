"""From anatomy to an ultrasound-like image and its mask.

All arithmetic is exact in the sense of :mod:`ppcmi_sf.data._exact`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ppcmi_sf.data import _exact as exact
from ppcmi_sf.data._exact import Floats
from ppcmi_sf.data.anatomy import Anatomy, Ellipse, Grid
from ppcmi_sf.data.sites import SiteStyle


@dataclass(frozen=True)
class Scene:
    """What lies around the structures: echo of the tissue (H, W) and a shadow's place."""

    grid: Grid
    tissue: Floats
    shadow: Floats


def draw_scene(rng: np.random.Generator, size: tuple[int, int]) -> Scene:
    """Draw layered tissue with bright fasciae, and a soft shadow below some depth."""
    grid = Grid.of(size)
    aspect = size[1] / size[0]
    wave = (exact.smooth_noise(rng, (1, size[1]), (1, 3)) - 0.5) * 0.14
    tissue = np.full(size, exact.uniform(rng, 0.3, 0.45))
    depth = 0.0
    for _ in range(4):
        depth += exact.uniform(rng, 0.05, 0.24)
        beyond = (grid.y - depth - wave) / 0.02
        tissue = exact.blend(tissue, exact.uniform(rng, 0.26, 0.55), beyond)
        fascia = (grid.y - depth - wave) / exact.uniform(rng, 0.005, 0.012)
        tissue = tissue + exact.uniform(rng, 0.1, 0.4) / (1 + fascia * fascia)
    texture = exact.smooth_noise(rng, size, (9, 7))
    coarse = exact.smooth_noise(rng, size, (3, 3))
    tissue = tissue * (0.55 + 0.5 * texture + 0.4 * coarse)

    start, slope = exact.uniform(rng, 0.08, 0.5), exact.uniform(rng, -0.4, 0.4)
    place = exact.uniform(rng, -0.45, 0.45) * aspect
    width = exact.uniform(rng, 0.03, 0.08)
    across = 1.5 - np.abs(grid.x - place - slope * grid.y) / width
    dark = exact.uniform(rng, 0.35, 0.65)
    shadow = 1 - dark * exact.blend(0.0, 1.0, across) * exact.blend(
        0.0, 1.0, (grid.y - start) / 0.06
    )
    return Scene(grid, tissue, shadow)


def render(
    rng: np.random.Generator, scene: Scene, anatomy: Anatomy, style: SiteStyle
) -> npt.NDArray[np.uint8]:
    """Render anatomy as the site's scanner would show it: uint8 (H, W)."""
    grid = scene.grid
    size = (grid.y.shape[0], grid.x.shape[1])
    echo = _add_head(scene.tissue, grid, anatomy.head, exact.smooth_noise(rng, size, (7, 7)))
    if anatomy.cavity is not None:
        echo = _add_cavity(echo, grid, anatomy.cavity)
    loss = 1 + style.attenuation * grid.y
    echo = echo * scene.shadow / (loss * loss) * (1 + 0.5 * style.attenuation)

    step = style.grain * size[0] / 128
    passes = (max(1, round(step)), max(1, round(3 * step)))
    grains = exact.speckle(rng, size, passes)
    echo = echo * ((1 - style.speckle) + style.speckle * grains) + 0.012 * grains

    # v / (v + c) stands in for the scanner's logarithmic compression
    loud = style.gain * echo
    grey = 1.55 * loud / (loud + 0.55)
    grey = (grey - 0.5) * style.contrast + 0.5
    if style.sector is not None:
        grey = grey * exact.blend(0.0, 1.0, style.sector.inside(grid.y, grid.x) * size[0] / 2)
    return exact.to_uint8(grey)


def label(grid: Grid, anatomy: Anatomy) -> npt.NDArray[np.uint8]:
    """Classes (H, W) of an anatomy, uint8."""
    mask: npt.NDArray[np.uint8] = (anatomy.head.radius(grid.y, grid.x) <= 1).astype(np.uint8)
    if anatomy.cavity is not None:
        mask[anatomy.cavity.radius(grid.y, grid.x) <= 1] = 2
    return mask


def _add_head(echo: Floats, grid: Grid, head: Ellipse, texture: Floats) -> Floats:
    """Fill the head with darker tissue; its rim is brightest where the beam meets it squarely."""
    rho = head.radius(grid.y, grid.x)
    echo = exact.blend(0.1 + 0.14 * texture, echo, (rho - 0.94) / 0.1)
    squarely = np.abs(grid.y - head.y) / (np.abs(grid.y - head.y) + np.abs(grid.x - head.x) + 1e-3)
    edge = (rho - 0.985) / 0.04
    rim: Floats = echo + (0.3 + 0.8 * squarely * squarely) / (1 + edge * edge * edge * edge)
    return rim


def _add_cavity(echo: Floats, grid: Grid, cavity: Ellipse) -> Floats:
    """Empty the cavity of echo, draw a thin wall, and brighten what lies behind the fluid."""
    rho = cavity.radius(grid.y, grid.x)
    behind = exact.blend(0.0, 1.0, 1.3 - np.abs(grid.x - cavity.x) / (0.8 * cavity.b))
    behind = behind * exact.blend(0.0, 1.0, (grid.y - cavity.y) / (1.2 * cavity.b))
    echo = echo * (1 + 0.35 * behind)
    echo = exact.blend(0.012, echo, (rho - 0.86) / 0.16)
    edge = (rho - 1.0) / 0.07
    walled: Floats = echo + 0.3 / (1 + edge * edge * edge * edge)
    return walled
