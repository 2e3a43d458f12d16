"""How like the original a picture is, beside what somebody shows who knows nothing.

Images of one kind resemble each other, so the similarity of two unrelated ones is not 0. The
measure of knowing nothing is the mean of all images of *other* patients: what an attacker shows
who knows what such images look like, and nothing of this one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ppcmi_sf.audit.result import Measurement
from ppcmi_sf.audit.statistics import mean_interval
from ppcmi_sf.audit.subject import GroupedSlices
from ppcmi_sf.metrics import image_similarity
from ppcmi_sf.progress import Job, Progress

SSIM_LIMITS, DIFFERENCE_LIMITS = (-1.0, 1.0), (-2.0, 2.0)
OWN_ABOVE_OTHERS = "SSIM with the own original above that with another patient's"

Pictures = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Likeness:
    """SSIM in [-1, 1] and PSNR in dB of each picture with its original."""

    ssim: Numbers
    psnr: Numbers


def likeness(originals: Pictures, pictures: Pictures) -> Job[Likeness]:
    """Compare pictures ``(N, H, W)`` with their originals, in [0, 1]."""
    found = []
    for index, (original, picture) in enumerate(zip(originals, pictures, strict=True)):
        found.append(image_similarity(original, picture))
        yield Progress(index, len(originals), "comparing pictures")
    psnr, ssim = np.array(found, dtype=np.float64).reshape(-1, 2).T
    return Likeness(ssim, psnr)


def mean_pictures(targets: GroupedSlices, known: GroupedSlices) -> Pictures:
    """For each target the mean of all known slices of other patients, ``(N, H, W)``."""
    pictures = known.pictures()
    means: dict[int, Pictures] = {}
    for group in np.unique(targets.groups):
        others = pictures[known.groups != group]
        # of one patient alone there are no others: then its own mean, the stronger baseline
        means[int(group)] = (others if len(others) else pictures).mean(axis=0)
    return np.stack([means[int(group)] for group in targets.groups]).astype(np.float32)


def mean_measurement(
    name: str,
    values: Sequence[float] | Numbers,
    groups: npt.NDArray[np.int64],
    seed: int,
    *,
    chance: float | None = None,
    at_most: float | None = None,
    at_least: float | None = None,
    limits: tuple[float, float] = (-math.inf, math.inf),
) -> Measurement:
    """A mean over items with its interval over patients, and whether its aim is met."""
    numbers = np.asarray(values, dtype=np.float64)
    found = mean_interval(numbers, groups.tolist(), seed, limits)
    return Measurement.aimed(name, found, len(values), chance, least=at_least, most=at_most)


def ssim_measurement(
    name: str,
    ssim: Numbers,
    groups: npt.NDArray[np.int64],
    seed: int,
    *,
    chance: float | None = None,
    at_most: float | None = None,
) -> Measurement:
    """The mean SSIM of pictures with their originals."""
    return mean_measurement(
        name, ssim, groups, seed, chance=chance, at_most=at_most, limits=SSIM_LIMITS
    )


def own_above_others(
    originals: Pictures, pictures: Pictures, found: Likeness, groups: npt.NDArray[np.int64]
) -> Job[Numbers]:
    """SSIM of each picture with its own original, less that with another patient's.

    Pictures that say nothing of this very item have 0 in the mean, however like images of this
    kind they are: each original is used once in either place.

    Parameters
    ----------
    found
        Of the pictures with their own originals.

    Returns
    -------
    One per picture. NaN for those of a patient with more slices than all others together that find
    no partner; 0 for all where there is one patient alone, who can be compared with nobody.
    """
    order, largest = _with_partners(groups)
    if not largest:
        return np.zeros(len(groups))
    others = yield from likeness(originals[np.roll(order, -largest)], pictures[order])
    values = np.full(len(groups), math.nan)
    values[order] = found.ssim[order] - others.ssim
    return values


def _with_partners(groups: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], int]:
    """Rows patient by patient, and the most that one has; never more than all others have."""
    patients, counts = np.unique(groups, return_counts=True)
    is_largest = groups == patients[np.argmax(counts)]
    own, rest = np.flatnonzero(is_largest), np.flatnonzero(~is_largest)
    if len(own) > len(rest):
        own = own[np.linspace(0, len(own) - 1, len(rest)).round().astype(np.intp)]
    rows = np.concatenate([own, rest])
    return rows[np.argsort(groups[rows], kind="stable")], len(own)


def specific_measurements(
    what: tuple[str, str],
    above: Sequence[Numbers],
    groups: npt.NDArray[np.int64],
    seed: int,
) -> tuple[Measurement, Measurement]:
    """A mean that should not be above 0, and the same where the attack must succeed.

    The first is met when its interval reaches 0. Of few patients every interval does, so that is
    shown only where the second has its whole interval above 0 and above the first's.

    Parameters
    ----------
    what
        Of which pictures: for the names of the two.
    above
        Of both; see :func:`own_above_others`. NaN does not count.
    """
    names = [f"{OWN_ABOVE_OTHERS}, {one}" for one in what]
    found = []
    for values in above:
        known = ~np.isnan(values)
        interval = mean_interval(values[known], groups[known].tolist(), seed, DIFFERENCE_LIMITS)
        found.append((interval, int(known.sum())))
    ((mean, low, high), count), (reference, planted_count) = found
    met, told = mean <= 0 or not low > 0, reference[1] > max(0.0, high)
    ends, aim = (finite(low), finite(high)), "interval that reaches 0"
    return (
        Measurement(names[0], mean, *ends, count, 0.0, aim, met, met and told),
        Measurement.aimed(names[1], reference, planted_count, 0.0),
    )


def specific(
    originals: Pictures,
    tried: Mapping[str, tuple[Likeness, Pictures]],
    groups: npt.NDArray[np.int64],
    seed: int,
) -> Job[tuple[Measurement, Measurement]]:
    """:func:`specific_measurements` of two attempts by name, the one that must succeed last."""
    above = []
    for found, pictures in tried.values():
        above.append((yield from own_above_others(originals, pictures, found, groups)))
    sent, planted = tried
    return specific_measurements((sent, planted), above, groups, seed)


def finite(value: float) -> float | None:
    """``None`` for what is not a number."""
    return value if math.isfinite(value) else None


def best_of(tries: dict[str, Likeness]) -> str:
    """The try that is most like the originals on average, as an attacker would choose."""
    return max(tries, key=lambda name: float(tries[name].ssim.mean()))
