"""Attack 6: tell whether two items of protected latents belong to the same patient.

Attacker
    Whoever reads two opened bundles of a site without its share: a ``blind`` server, or somebody
    to whom they were passed on. An ``escrow`` server undoes the transform.
Knowledge
    The protected latents, and, to choose the method, some pairs of which the truth is known. No
    key.
Method
    Numbers that need no key are computed from each item: singular values, lengths, distances,
    means and spreads of the channels, the values themselves. Two items are compared by each of
    them, by distance and by cosine. What does best on one half of the patients is used on the
    other half. Within a key epoch, and with the second item from the next epoch, under a new key.
Source
    Re-identification as a game: Article 29 Working Party, Opinion 05/2014, on linkability. The
    invariants follow from the transform's definition.
Cost
    Seconds; no training.
Meaning
    AUC: the chance that two items of one patient look more alike than two of different patients;
    0.5 is guessing. "The same image again" asks whether an image is recognised that was sent
    twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppcmi_sf.audit.exposure import (
    SETTING_WORDS,
    Setting,
    encode,
    item_ids,
    made_up_share,
    protect,
    settings,
    transform_of,
)
from ppcmi_sf.audit.keyless import features, standardised
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.result import Attack, AttackResult, Measurement
from ppcmi_sf.audit.statistics import Interval, auc, pair_auc_interval
from ppcmi_sf.audit.subject import GroupedSlices, Subject
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.keys import TransformShare
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import Job

AIM = (0.45, 0.55)
MOST_PER_PATIENT = 5
MIN_PATIENTS = 4

DRAWS, QUICK_DRAWS = 8, 2

Features = dict[str, Tensor]
Scores = dict[str, npt.NDArray[np.float64]]

ATTACK = Attack(
    id="linkability",
    title="Same patient or not",
    attacker="a mapping server without a share, or anybody who reads two opened bundles",
    knowledge="the protected latents of two items, and some pairs whose truth is known; no key",
    method="numbers that need no key are compared; the kind that does best on one half of the "
    "patients is used on the other half",
    source="Article 29 Working Party, Opinion 05/2014 (linkability)",
    meaning="AUC: the chance that two items of one patient look more alike than two of different "
    "patients. 0.5 is guessing.",
    risk="who reads several bundles can put together what belongs to one patient, and follow a "
    "patient over time",
)


@dataclass(frozen=True)
class _Pairs:
    """Which items are compared: rows into the first and the second set, and the truth."""

    first: npt.NDArray[np.intp]
    second: npt.NDArray[np.intp]
    same: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, groups: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_]) -> _Pairs:
        """All pairs of different items of the chosen patients."""
        rows = np.flatnonzero(chosen)
        one, two = np.triu_indices(len(rows), 1)
        first, second = rows[one], rows[two]
        return cls(first, second, groups[first] == groups[second])

    @classmethod
    def again(cls, groups: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_]) -> _Pairs:
        """Every chosen item of the first set with every one of the second; is it the same image."""
        rows = np.flatnonzero(chosen)
        first, second = np.repeat(rows, len(rows)), np.tile(rows, len(rows))
        return cls(first, second, first == second)

    def auc(self, draws: list[Scores], way: str) -> float:
        """AUC of one way of comparing, over all draws."""
        values = np.stack([scores[way][self.first, self.second] for scores in draws])
        return auc(values[:, self.same].ravel(), values[:, ~self.same].ravel())

    def interval(
        self, draws: list[Scores], way: str, groups: npt.NDArray[np.int64], seed: int
    ) -> Interval:
        """The same with its interval."""
        values = np.concatenate([scores[way][self.first, self.second] for scores in draws])
        same: npt.NDArray[np.bool_] = np.tile(self.same, len(draws))
        first, second = (np.tile(groups[rows], len(draws)) for rows in (self.first, self.second))
        return pair_auc_interval(values, same, first.tolist(), second.tolist(), seed)


def run(subject: Subject, options: AuditOptions) -> Job[AttackResult]:
    """Compare pairs of items, in every setting, within an epoch and across a rotation."""
    slices = _several_each(subject.everything, 4 * options.item_limit, options.seed)
    latents = yield from encode(subject, slices)
    half = _half(slices, options.seed)
    reported: list[Measurement] = []
    planted: list[Measurement] = []
    words: list[str] = []
    for setting in settings(subject.study):
        for rotated in (False, True):
            if setting == "none" and rotated:
                continue  # without a transform there is no key to rotate
            draws = yield from _draws(subject, latents, setting, options, rotated)
            named = _measure(draws, slices, half, setting, rotated, options)
            (reported if setting == "sent" else planted).extend(named[0])
            words.extend(named[1] if setting == "sent" else ())
    return AttackResult(
        ATTACK,
        (*reported, *planted),
        (),
        _reading(subject, reported, planted, words),
        (
            "comparisons that are learned from many pairs",
            "visits on different days: slices of one examination were compared",
            "sizes, times and senders of bundles, which may link patients as well",
        ),
    )


def _several_each(slices: GroupedSlices, limit: int, seed: int) -> GroupedSlices:
    """Up to five slices of each patient who has at least two, of as many patients as fit.

    Of four patients even beyond the limit: with fewer nothing can be asked.
    """
    rng = np.random.default_rng((seed, 0x117C))
    chosen: list[int] = []
    patients = 0
    for group in rng.permutation(np.unique(slices.groups)):
        own = np.flatnonzero(slices.groups == group)
        if len(own) >= 2 and (len(chosen) < limit or patients < MIN_PATIENTS):
            chosen.extend(rng.permutation(own)[:MOST_PER_PATIENT].tolist())
            patients += 1
    if patients < MIN_PATIENTS:
        raise PPCMIError(
            f"There are {patients} patients with two slices or more; {MIN_PATIENTS} are needed "
            "to ask whether two items are of one patient.",
            hint="Give more data, with a manifest.csv that names the patient of each image.",
        )
    return slices.take(np.sort(np.array(chosen, dtype=np.intp)))


def _half(slices: GroupedSlices, seed: int) -> npt.NDArray[np.bool_]:
    """Slices of that half of the patients on which the method is chosen."""
    rng = np.random.default_rng((seed, 0x4A1F))
    groups = rng.permutation(np.unique(slices.groups))
    return np.isin(slices.groups, groups[: len(groups) // 2])


def _next_epoch(share: TransformShare, seed: int) -> TransformShare:
    """A share of the next epoch, of a key that has nothing to do with this one's."""
    return replace(made_up_share(share, f"rotation/{seed}"), epoch=share.epoch + 1)


def _draws(
    subject: Subject, latents: LatentPyramid, setting: Setting, options: AuditOptions, rotated: bool
) -> Job[list[Scores]]:
    """How alike the items of two bundles are; several times, where each item's transform is drawn.

    With one draw alone, its accidents would be taken for a leak, or for none.
    """
    transform = transform_of(subject, setting)
    count = latents.batch_size
    share = _next_epoch(subject.share, options.seed) if rotated else subject.share
    repeats = 1
    if transform is not None and transform.items:
        repeats = QUICK_DRAWS if options.quick else DRAWS
    found = []
    for number in range(repeats):
        ids = item_ids(options.seed, 2 * count, 2 * count * number)
        first = yield from features(protect(subject, latents, ids[:count], setting))
        if transform is None:
            again = first
        else:
            sent = protect(subject, latents, ids[count:], setting, share=share)
            again = yield from features(sent)
        found.append(_scores(first, again))
    return found


def _distance(first: Tensor, second: Tensor) -> Tensor:
    apart: Tensor = torch.cdist(first, second)
    return -apart


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    one, two = (
        values / values.norm(dim=1, keepdim=True).clamp_min(1e-9) for values in (first, second)
    )
    cosines: Tensor = one @ two.T
    return cosines


COMPARISONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "distance": _distance,
    "cosine": _cosine,
}


def _scores(first: Features, second: Features) -> Scores:
    """For each way of comparing, how alike each item of the first set is to each of the second."""
    found = {}
    for name, values in first.items():
        pair = standardised(values, values), standardised(second[name], second[name])
        for how, compare in COMPARISONS.items():
            found[f"{name}, by {how}"] = compare(*pair).numpy()
        if name == "the values themselves":
            found[f"{name}, by plain cosine"] = _cosine(values, second[name]).numpy()
    return found


def _measure(
    draws: list[Scores],
    slices: GroupedSlices,
    half: npt.NDArray[np.bool_],
    setting: Setting,
    rotated: bool,
    options: AuditOptions,
) -> tuple[list[Measurement], list[str]]:
    """Choose on one half of the patients, measure on the other."""
    where = "across a rotation" if rotated else "within an epoch"
    ending = f"{where}, {SETTING_WORDS[setting]}"
    aimed = setting == "sent"
    questions = {f"AUC, same patient or not, {ending}": _Pairs.of}
    if aimed:
        questions[f"AUC, the same image again or another one, {ending}"] = _Pairs.again
    found, words = [], []
    for name, pairs_of in questions.items():
        learn, test = (pairs_of(slices.groups, chosen) for chosen in (half, ~half))
        best = max(draws[0], key=lambda way: learn.auc(draws, way))
        interval = test.interval(draws, best, slices.groups, options.seed)
        least, most = AIM if aimed else (None, None)
        count = len(draws) * len(test.same)
        found.append(Measurement.aimed(name, interval, count, 0.5, least=least, most=most))
        words.append(f"{name.removeprefix('AUC, ')}: {best}")
    return found, words


def _finds(planted: list[Measurement]) -> bool:
    """Whether the attack succeeds where it must, so that a low number means something."""
    return any(one.low is not None and one.low > 0.5 for one in planted)


def _reading(
    subject: Subject, reported: list[Measurement], planted: list[Measurement], words: list[str]
) -> str:
    finds = _finds(planted)
    told = [one for one in reported if one.low is not None and one.low > 0.5]
    if told:
        risk = (
            "Somebody who reads two bundles can tell better than by guessing, and without any key, "
            "what belongs together: what was compared is not hidden by the transform."
        )
    elif all(one.shown for one in reported) and finds:
        risk = "By these comparisons nobody could tell better than by guessing."
    else:
        risk = (
            "It was not told reliably by these comparisons; with so few patients that is no proof "
            "that it cannot be told."
        )
    if not finds:
        risk += (
            " Where there was nothing to hide, without a transform, it was not told either: this "
            "attack says little about these data."
        )
    if subject.study.arrangement == "escrow":
        risk += (
            " An escrow server holds the site's share and undoes the transform: for it the line "
            "without a transform counts."
        )
    figures = "; ".join(
        f"{one.name.removeprefix('AUC, ')}: {one.value:.2f}" for one in [*reported, *planted]
    )
    return f"AUC of {figures}. {risk} What did best: {'; '.join(words)}."
