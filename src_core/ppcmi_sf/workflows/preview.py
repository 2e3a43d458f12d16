"""What somebody could see in what leaves a site.

Whoever gets hold of protected latents, but not of the client key, is played here with
plain means: a decoder as it is, and the strongest pattern of the features. It is a
picture for people, not a proof: somebody with known pairs, or much time, can do better.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ppcmi_sf.audit.invariants import first_component
from ppcmi_sf.bundle import new_item_id
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.imaging import GridFit, MedicalImage, fit_to_grid, iter_grid_slices
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.metrics import image_similarity
from ppcmi_sf.roles import Site
from ppcmi_sf.study import StudySpec

Picture = npt.NDArray[np.float32]

_FLAT = 1e-6  # a smaller range or deviation is rounding


@dataclass(frozen=True)
class ExportPreview:
    """One slice, and the best picture of it that could be made of its protected latents.

    Attributes
    ----------
    original, reconstruction
        float32 (H, W) in [0, 1], in the network grid; the mean of the channels.
    method
        How the reconstruction was made, in plain words.
    correlation
        Pearson's, of the two pictures where the image lies (not in the padding around it),
        in [0, 1]; 0 when one of them is of a single value.
    ssim
        Structural similarity of the two whole pictures, in [-1, 1].
    """

    original: Picture
    reconstruction: Picture
    method: str
    correlation: float
    ssim: float


def preview_slice(
    site: Site, image: MedicalImage, *, slice_axis: int | None = None, index: int | None = None
) -> ExportPreview:
    """Protect one slice and look at it without the key.

    Tried are this site's own decoder on the protected latents, and of each scale the first
    principal component, light or dark; the one nearest to the original is given.

    Parameters
    ----------
    slice_axis
        Array axis of a volume; ``None`` takes that of the image.
    index
        Which slice; the middle one unless told.

    Raises
    ------
    PPCMIError
        The image does not suit the study, or has no such axis or slice.
    """
    fit = fit_to_grid(image.geometry, site.study, slice_axis=slice_axis)
    index = fit.slice_count // 2 if index is None else index
    if not 0 <= index < fit.slice_count:
        raise PPCMIError(
            f"There is no slice {index} in an image with {fit.slice_count} of them.",
            hint=f"Choose one from 0 to {fit.slice_count - 1}.",
        )
    values = _slice(image, site.study, fit, index)
    original = values.mean(axis=0)
    protected = site.protect_images(torch.from_numpy(values[np.newaxis]), [new_item_id()])
    attempts = [
        (_correlation(original, picture, fit), picture, words)
        for words, picture in _attempts(site, protected)
    ]
    correlation, best, method = max(attempts, key=lambda attempt: abs(attempt[0]))
    if correlation < 0:
        best = 1 - best
    ssim = image_similarity(original, best)[1]
    return ExportPreview(original, best, method, abs(correlation), ssim)


def middle_slice(
    image: MedicalImage, study: StudySpec, *, slice_axis: int | None = None
) -> Picture:
    """The middle slice of an image as the networks see it: (C, H, W) in [0, 1].

    Raises
    ------
    PPCMIError
        The image does not suit the study, or has no such axis.
    """
    fit = fit_to_grid(image.geometry, study, slice_axis=slice_axis)
    return _slice(image, study, fit, fit.slice_count // 2)


def _slice(image: MedicalImage, study: StudySpec, fit: GridFit, index: int) -> Picture:
    return next(islice(iter_grid_slices(image, study, fit), index, None))


@torch.inference_mode()
def _attempts(site: Site, protected: LatentPyramid) -> Iterator[tuple[str, Picture]]:
    """Pictures that need no key, with the words for each."""
    decoded = site.image_autoencoder.decode(protected)[0].mean(dim=0)
    yield "this site's decoder, without the key", _unit_range(decoded)
    for features in protected.values():
        rows, columns = features.shape[2:]
        component = first_component(features.cpu()).reshape(rows, columns)
        enlarged = functional.interpolate(
            component[None, None], size=site.study.image_size, mode="bilinear", align_corners=False
        )[0, 0]
        low, high = enlarged.min(), enlarged.max()
        if high - low > _FLAT:
            enlarged = (enlarged - low) / (high - low)
        words = f"first principal component of the {rows}x{columns} features"
        yield words, _unit_range(enlarged)


def _unit_range(values: Tensor) -> Picture:
    return values.clamp(0, 1).cpu().numpy().astype(np.float32)


def _correlation(one: Picture, other: Picture, fit: GridFit) -> float:
    top, left, height, width = fit.box
    inside = slice(top, top + height), slice(left, left + width)
    first, second = (picture[inside].ravel().astype(np.float64) for picture in (one, other))
    if min(first.std(), second.std()) < _FLAT:
        return 0.0
    return float(np.clip(np.corrcoef(first, second)[0, 1], -1, 1))
