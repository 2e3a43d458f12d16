"""What a mapping server checks in the pairs that the sites sent, before it trains on them.

Signatures say who wrote a bundle, not that its content is good. A site with a fault, or one that
means harm, can spoil the network of all. Two kinds of checks, on what the server reads:

- *faults*, which no honest site produces: numbers that are not finite or far beyond what batch
  normalisation lets through, and items that are the same at every place. They are refused.
- *suspicions*, which may have a harmless reason: items that come twice, items unlike the site's
  others, a site whose latents are on another scale than everybody's, masks that do not follow from
  their images (:mod:`ppcmi_sf.training.pair_relation`), a site that has most of all pairs. The
  server's operator is told and decides.

What goes through all the same is bounded by :mod:`ppcmi_sf.training.site_weights`. Not found: a
site that changes all its masks in one way, and a few changed pairs among many.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from ppcmi_sf.errors import BundleContentError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.training.mapping import SitePairs
from ppcmi_sf.training.pair_relation import Relation, relate
from ppcmi_sf.training.site_weights import MIN_SITES, site_weights

SuspicionKind = Literal["duplicates", "outliers", "scale", "unrelated", "size"]

CHUNK = 32
HUGE = 100.0  # root mean square; encoders end in batch normalisation, which gives about 1
CONSTANT = 1e-3  # spread over the places, relative to the root mean square; float16 rounds to 5e-4
ALIKE = 0.015  # relative distance of two items; int8 puts one at 0.012, other copies are at 0.02
OUTLYING = 8.0  # robust standard deviations of the logarithm of an item's spread
SCALE_RATIO = 4.0
UNRELATED, RELATED = 3.0, 5.0  # deviations: of this site, and of the median of the others
NOTABLE = 0.05  # share of a site's items


@dataclass(frozen=True)
class Suspicion:
    """Something that a server's operator should look at.

    Attributes
    ----------
    site
        Whose pairs.
    kind
        Which check.
    items
        How many of the site's items it is about.
    message
        In plain words.
    """

    site: str
    kind: SuspicionKind
    items: int
    message: str


@dataclass(frozen=True)
class ContributionReport:
    """What the checks found, and how much each site counts in the training."""

    suspicions: tuple[Suspicion, ...]
    weights: dict[str, float]


def refuse_faults(pairs: SitePairs, site: str, source: str) -> None:
    """Refuse pairs that no honest site produces.

    Parameters
    ----------
    source
        Where they are from, for the message: the bundle's path.

    Raises
    ------
    BundleContentError
        A number is not finite or huge, or an item's image latents are constant.
    """
    fault = _fault(pairs)
    if fault:
        raise BundleContentError(
            f"{source}: the pairs of site '{site}' are unusable: {fault}.",
            hint=f"Leave this bundle out, and ask '{site}' to look into it and to protect its "
            "training pairs again.",
        )


def check_contributions(
    pairs: Mapping[str, SitePairs], max_site_weight: float
) -> Job[ContributionReport]:
    """Look for what is suspicious, each site by itself and beside the others.

    Parameters
    ----------
    pairs
        Of all sites, without faults.
    max_site_weight
        See :func:`ppcmi_sf.training.site_weights.site_weights`.
    """
    found: list[Suspicion] = []
    spreads: dict[str, npt.NDArray[np.float64]] = {}
    relations: dict[str, Relation] = {}
    for name, site in pairs.items():
        step = Progress(len(spreads), len(pairs), f"Checking pairs of {name}")
        yield step
        spreads[name] = yield from _spreads(site, step)
        found.extend(_outliers(name, spreads[name]))
        yield step
        found.extend(_duplicates(name, site.inputs))
        yield step
        relation = relate(site.inputs, site.targets)
        if relation is not None:
            relations[name] = relation
    found.extend(_other_scales(spreads))
    found.extend(_unrelated(relations))
    counts = {name: int((~site.validation).sum()) for name, site in pairs.items()}
    weights = site_weights(counts, max_site_weight)
    found.extend(_sizes(counts, weights))
    return ContributionReport(tuple(sorted(found, key=lambda one: one.site)), weights)


def _fault(pairs: SitePairs) -> str:
    for role, pyramid in (("image", pairs.inputs), ("mask", pairs.targets)):
        constant = torch.ones(pyramid.batch_size, dtype=torch.bool)
        for value in pyramid.values():
            for start in range(0, len(value), CHUNK):
                part = value[start : start + CHUNK].float()
                if not torch.isfinite(part).all():
                    return f"its {role} latents hold numbers that are not finite or beyond 65504"
                size = part.square().mean(dim=(1, 2, 3)).sqrt()
                largest = float(size.max())
                if largest > HUGE:
                    return (
                        f"its {role} latents are huge (a root mean square of {largest:.3g}; "
                        "encoders give about 1)"
                    )
                constant[start : start + CHUNK] &= _spread(part) <= CONSTANT * size
        # An empty mask may well have the same latents at every place.
        if role == "image" and bool(constant.any()):
            return f"its image latents are the same at every place in {int(constant.sum())} items"
    return ""


def _spread(part: Tensor) -> Tensor:
    """Standard deviation of each item about its channels' own means."""
    centred = part - part.mean(dim=(2, 3), keepdim=True)
    return centred.square().mean(dim=(1, 2, 3)).sqrt()


def _spreads(site: SitePairs, step: Progress) -> Job[npt.NDArray[np.float64]]:
    """For each item, the logarithm of its spread at every scale of both roles.

    ``step`` is told after each scale.
    """
    columns = []
    for pyramid in (site.inputs, site.targets):
        for value in pyramid.values():
            parts = [_spread(part.float()) for part in torch.split(value, CHUNK)]
            columns.append(torch.cat(parts).clamp_min(1e-6).log().double().numpy())
            yield step
    return np.stack(columns, axis=1)


def _outliers(name: str, spreads: npt.NDArray[np.float64]) -> list[Suspicion]:
    # Mask latents are left out: empty masks among others are outliers, and quite right.
    images = spreads[:, : spreads.shape[1] // 2]
    middle = np.median(images, axis=0)
    width = np.maximum(1.4826 * np.median(np.abs(images - middle), axis=0), 0.05)
    far = int((np.abs(images - middle) > OUTLYING * width).any(axis=1).sum())
    if far < max(2, NOTABLE * len(spreads)):
        return []
    text = f"{far} of {len(spreads)} items have much more or less contrast than its others"
    return [Suspicion(name, "outliers", far, text)]


def _duplicates(name: str, inputs: LatentPyramid) -> list[Suspicion]:
    coarsest = list(inputs.values())[-1]
    grid = (min(4, coarsest.shape[2]), min(4, coarsest.shape[3]))
    sketch = torch.cat(
        [
            functional.adaptive_avg_pool2d(part.float(), grid)
            for part in torch.split(coarsest, CHUNK)
        ]
    )
    flat = (sketch - sketch.mean(dim=(0, 2, 3), keepdim=True)).flatten(1)
    norms = flat.norm(dim=1).clamp_min(1e-6)
    repeated = 0
    for start in range(CHUNK, len(flat) + CHUNK, CHUNK):
        rows = flat[start - CHUNK : start]
        distances = torch.cdist(rows, flat[:start]) / norms[start - CHUNK : start, None]
        earlier = torch.ones_like(distances, dtype=torch.bool).tril(start - CHUNK - 1)
        repeated += int(((distances < ALIKE) & earlier).any(dim=1).sum())
    if repeated < max(2, NOTABLE * len(flat)):
        return []
    text = f"{repeated} of {len(flat)} items repeat an earlier one (empty slices of a volume do)"
    return [Suspicion(name, "duplicates", repeated, text)]


def _other_scales(spreads: Mapping[str, npt.NDArray[np.float64]]) -> list[Suspicion]:
    if len(spreads) < MIN_SITES:
        return []
    found = []
    middles = {name: np.median(values, axis=0) for name, values in spreads.items()}
    for name, middle in middles.items():
        others = np.median([value for other, value in middles.items() if other != name], axis=0)
        ratio = float(np.exp(np.abs(middle - others).max()))
        if ratio > SCALE_RATIO:
            text = f"its latents are {ratio:.1f} times larger or smaller than those of the others"
            found.append(Suspicion(name, "scale", len(spreads[name]), text))
    return found


def _unrelated(relations: Mapping[str, Relation]) -> list[Suspicion]:
    found = []
    for name, relation in relations.items():
        others = [one.deviations for other, one in relations.items() if other != name]
        usual = float(np.median(others)) if others else 0.0
        if relation.deviations < UNRELATED and usual > RELATED:
            text = (
                "its masks have nothing to do with its images as far as one can see "
                f"({relation.deviations:.1f} standard deviations from masks dealt out at random, "
                f"other sites {usual:.1f}): masks of other images?"
            )
            found.append(Suspicion(name, "unrelated", relation.items, text))
    return found


def _sizes(counts: Mapping[str, int], weights: Mapping[str, float]) -> list[Suspicion]:
    total = sum(counts.values())
    found = []
    for name, count in counts.items():
        share = count / max(total, 1)
        if weights[name] < share - 1e-9:
            text = (
                f"it has {share:.0%} of all training pairs; in the training it counts "
                f"{weights[name]:.0%}"
            )
            found.append(Suspicion(name, "size", count, text))
    return found
