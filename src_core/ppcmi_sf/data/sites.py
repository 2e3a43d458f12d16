"""Sites of the demo: how each one's scanner renders tissue."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from ppcmi_sf.data.anatomy import Sector


@dataclass(frozen=True)
class SiteStyle:
    """How a site's scanner renders tissue.

    Attributes
    ----------
    name
        Of the site; part of the file names and of the seed.
    gain
        Brightness before compression; 1 is medium.
    speckle
        Share of the speckle in the echo, in [0, 1].
    contrast
        Slope about mid-grey after compression; 1 changes nothing.
    attenuation
        Loss of echo with depth; 0 is none.
    grain
        Size of the speckle in pixels for an image of 128 rows.
    sector
        Field of view of a curved probe, or ``None`` for a linear one (whole image).
    """

    name: str
    gain: float
    speckle: float
    contrast: float
    attenuation: float = 0.6
    grain: float = 1.0
    sector: Sector | None = None


DEMO_SITES: tuple[SiteStyle, SiteStyle, SiteStyle] = (
    SiteStyle(
        "north", gain=1.0, speckle=0.55, contrast=1.05, sector=Sector(0.28, 0.95, 0.33, 1.26)
    ),
    SiteStyle("south", gain=1.9, speckle=0.35, contrast=0.8, attenuation=0.3, grain=2.0),
    SiteStyle(
        "west",
        gain=0.8,
        speckle=0.75,
        contrast=1.2,
        attenuation=0.7,
        sector=Sector(0.45, 0.78, 0.5, 1.43),
    ),
)
"""The three sites of the demo."""


def site_rng(style: SiteStyle, seed: int, index: int) -> np.random.Generator:
    """Make the generator for the image of this number at this site, independent of all others."""
    site = int.from_bytes(hashlib.sha256(style.name.encode()).digest()[:8], "big")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed % 2**64, site, index])))
