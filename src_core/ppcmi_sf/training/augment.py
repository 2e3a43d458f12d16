"""Augmentation at the site, with MONAI: flips, small affine maps, gamma.

It happens before encoding, because a latent cannot be augmented afterwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

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
        Rows and columns, for the range of shifts.
    vertical_flips
        Off for ultrasound, whose top is always the probe.
    """

    def __init__(self, image_size: tuple[int, int], *, vertical_flips: bool) -> None:
        from monai.transforms import Compose, RandAdjustContrastd, RandAffined, RandFlipd

        both = ["image", "mask"]
        flips = [RandFlipd(both, prob=FLIP_PROBABILITY, spatial_axis=1)]
        if vertical_flips:
            flips.append(RandFlipd(both, prob=FLIP_PROBABILITY, spatial_axis=0))
        self._transform: Any = Compose(
            [
                *flips,
                RandAffined(
                    both,
                    prob=AFFINE_PROBABILITY,
                    rotate_range=ROTATION,
                    translate_range=[SHIFT * side for side in image_size],
                    scale_range=(ZOOM, ZOOM),
                    mode=("bilinear", "nearest"),
                    padding_mode="zeros",
                ),
                RandAdjustContrastd(["image"], prob=GAMMA_PROBABILITY, gamma=GAMMA),
            ]
        )

    def __call__(
        self,
        image: npt.NDArray[np.float32],
        mask: npt.NDArray[np.uint8],
        seed: tuple[int, ...],
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Augment one image ``(C, H, W)`` in [0, 1] and its mask ``(H, W)``."""
        self._transform.set_random_state(
            seed=int(np.random.SeedSequence(seed).generate_state(1)[0])
        )
        result = self._transform({"image": image, "mask": mask[None].astype(np.float32)})
        return (
            np.clip(np.asarray(result["image"], dtype=np.float32), 0.0, 1.0),
            np.asarray(result["mask"])[0].round().astype(np.uint8),
        )
