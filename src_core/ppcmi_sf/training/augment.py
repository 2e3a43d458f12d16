"""Augmentation at the site: flips, small affine maps, gamma.

It happens before encoding, because a latent cannot be augmented afterwards. The kinds and ranges
are those of MONAI's ``RandFlipd``, ``RandAffined`` and ``RandAdjustContrastd``; without their
bookkeeping an image takes a seventh of the time (docs/decisions/0027).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

FLIP_PROBABILITY = 0.5
AFFINE_PROBABILITY = 0.8
GAMMA_PROBABILITY = 0.5
ROTATION = np.pi / 8  # rad, either way
SHIFT = 0.09  # share of the image's side, either way
ZOOM = 0.18  # either way
GAMMA = (0.6, 1.8)


class Augmenter:
    """Augments images together with their masks, the same way for the same seed.

    Parameters
    ----------
    image_size
        Rows and columns.
    vertical_flips
        Off for ultrasound, whose top is always the probe.
    """

    def __init__(self, image_size: tuple[int, int], *, vertical_flips: bool) -> None:
        self._sides = np.array(image_size[::-1], np.float64)  # columns first, as grids have them
        self._vertical_flips = vertical_flips

    def __call__(
        self,
        image: npt.NDArray[np.float32],
        mask: npt.NDArray[np.uint8],
        seed: tuple[int, ...],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Augment one image ``(C, H, W)`` in [0, 1] and its mask ``(H, W)``.

        Outside of the image is 0, and background.
        """
        rng = np.random.default_rng(seed)
        values, labels = torch.from_numpy(image), torch.from_numpy(mask)[None]
        flips = self._flips(rng)
        if flips:
            values, labels = torch.flip(values, flips), torch.flip(labels, flips)
        moved = rng.random() < AFFINE_PROBABILITY
        adjusted = rng.random() < GAMMA_PROBABILITY
        if moved or not adjusted:  # else it may be a copy that is no other, and counts twice
            grid = self._grid(rng)
            values = _sample(values, grid, "bilinear")
            labels = _sample(labels.float(), grid, "nearest").to(torch.uint8)
        if adjusted:
            values = _adjusted(values, float(rng.uniform(*GAMMA)))
        # The clamped image is new already; the mask may still be the one that was given.
        return np.asarray(values.clamp(0.0, 1.0).numpy()), np.array(labels[0].numpy())

    def _flips(self, rng: np.random.Generator) -> list[int]:
        sideways, upside_down = rng.random(2) < FLIP_PROBABILITY
        axes = [-1] if sideways else []
        return [*axes, -2] if upside_down and self._vertical_flips else axes

    def _grid(self, rng: np.random.Generator) -> Tensor:
        """Where each pixel of the result is taken from: turned, shifted and zoomed."""
        angle = rng.uniform(-ROTATION, ROTATION)
        shift = rng.uniform(-SHIFT, SHIFT, 2) * self._sides
        zoom = 1 + rng.uniform(-ZOOM, ZOOM, 2)
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[cosine, -sine], [sine, cosine]])
        # In pixels from the centre, so that a square stays one in an image that is none.
        matrix = np.column_stack([turn * zoom, turn @ shift])
        half = self._sides / 2
        scaled = matrix * np.append(half, 1.0) / half[:, None]  # grids go from -1 to 1
        theta = torch.from_numpy(scaled.astype(np.float32))[None]
        columns, rows = (int(side) for side in self._sides)
        return functional.affine_grid(theta, [1, 1, rows, columns], align_corners=False)


def _sample(values: Tensor, grid: Tensor, mode: str) -> Tensor:
    return functional.grid_sample(values[None], grid, mode=mode, align_corners=False)[0]


def _adjusted(image: Tensor, gamma: float) -> Tensor:
    """Gamma within the image's own range."""
    low = image.min()
    span = (image.max() - low).clamp_min(1e-7)
    return ((image - low) / span) ** gamma * span + low
