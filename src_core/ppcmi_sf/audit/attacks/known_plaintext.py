"""Attack 4: solve for the transform from latents that are known before and after it.

Attacker
    An insider, or somebody with a copy of the site's encoder and a few of its images.
Knowledge
    m items before and after the transform (m = 1, 2, 5, 20); not the order of the positions.
Method
    Of each position the length of its centred features is the same before and after, item by
    item, which tells the order of the positions. Then orthogonal Procrustes and least squares
    solve for mixing and bias; whichever does better counts. The solution is tried on latents of
    patients that were not among the known ones.
Source
    Schönemann, Psychometrika 31, 1966 (orthogonal Procrustes); Liu, Giannella and Kargupta, PKDD
    2006 (known-sample attacks on distance-preserving maps).
Cost
    Seconds.
Meaning
    Relative error: 0 is the latent itself, 1 is what the mean of the known latents gets. One
    transform for all items is solved exactly as soon as m items have as many positions as there
    are channels. A transform of its own for each item leaves nothing to carry over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ppcmi_sf.audit.exposure import (
    SETTING_WORDS,
    Setting,
    decode,
    encode,
    item_ids,
    protect,
    settings,
)
from ppcmi_sf.audit.invariants import norm_map
from ppcmi_sf.audit.likeness import mean_measurement
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.result import Attack, AttackResult, AuditPicture, Measurement
from ppcmi_sf.audit.subject import GroupedSlices, Subject, choose, choose_in_turn, divide
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.stages import Stages

KNOWN = (1, 2, 5, 20)
ERROR_AIM = 0.9

ATTACK = Attack(
    id="known-plaintext",
    title="Solving for the transform from known latents",
    attacker="an insider, or somebody with the site's encoder and a few of its images",
    knowledge="m items before and after the transform, of other patients than the attacked ones; "
    "not the order of the positions",
    method="positions are matched by the lengths of their features, then orthogonal Procrustes and "
    "least squares solve for mixing and bias; the better one counts",
    source="Schönemann, Psychometrika 31, 1966; Liu, Giannella and Kargupta, PKDD 2006",
    meaning="relative error on latents of other patients: 0 is the latent itself, 1 is what the "
    "mean of the known latents gets",
    risk="a few leaked images and the encoder are enough to undo the keyed transform of every "
    "other item of the key epoch",
)


@dataclass(frozen=True)
class Solution:
    """``z = W (Pᵀ z' − mean') + mean`` of one scale, as an attacker solved for it."""

    weights: Tensor
    mean_before: Tensor
    mean_after: Tensor
    order: Tensor

    def recover(self, after: Tensor) -> Tensor:
        """``(N, C, H, W)`` protected to what the attacker takes for the latents (float64)."""
        flat = after.double().flatten(2)[:, :, self.order]
        moved = torch.matmul(self.weights, flat - self.mean_after[:, None])
        return (moved + self.mean_before[:, None]).reshape(after.shape)


def solve(before: Tensor, after: Tensor, *, ordered: bool) -> tuple[Solution, Solution]:
    """Solve for a transform by Procrustes and by least squares.

    Parameters
    ----------
    before, after
        Known latents and protected latents ``(m, C, H, W)``.
    ordered
        Whether the positions are where they were.
    """
    places = before.shape[2] * before.shape[3]
    order = torch.arange(places) if ordered else match_positions(before, after)
    first = before.double().flatten(2).transpose(0, 1).flatten(1)
    second = after.double().flatten(2)[:, :, order].transpose(0, 1).flatten(1)
    mean_first, mean_second = first.mean(dim=1), second.mean(dim=1)
    first, second = first - mean_first[:, None], second - mean_second[:, None]
    left, _, right = torch.linalg.svd(first @ second.T)
    least = first @ torch.linalg.pinv(second, rtol=1e-6)
    return (
        Solution(left @ right, mean_first, mean_second, order),
        Solution(least, mean_first, mean_second, order),
    )


def match_positions(before: Tensor, after: Tensor) -> Tensor:
    """For each position the one where it went, by the lengths of its centred features."""
    first, second = norm_map(before).T, norm_map(after).T
    order = torch.empty(len(first), dtype=torch.int64)
    if first.shape[1] == 1:  # of single numbers, sorting is the best assignment
        order[first[:, 0].argsort()] = second[:, 0].argsort()
        return order
    cost = torch.cdist(first, second)
    nearest = cost.argmin(dim=1)
    mutual = cost.argmin(dim=0)[nearest] == torch.arange(len(first))
    order[mutual] = nearest[mutual]
    left = torch.ones(len(second), dtype=torch.bool)
    left[nearest[mutual]] = False
    # Where it is not clear, by the mean length: few places where it can be solved at all.
    rows, columns = (~mutual).nonzero()[:, 0], left.nonzero()[:, 0]
    by_length = columns[second[columns].mean(dim=1).argsort()]
    order[rows[first[rows].mean(dim=1).argsort()]] = by_length
    return order


def relative_errors(truth: Tensor, found: Tensor, mean: Tensor) -> Tensor:
    """``‖z − ẑ‖ / ‖z − mean‖`` of each item."""
    real = truth.double().flatten(2)
    reference = (real - mean[:, None]).flatten(1).norm(dim=1).clamp_min(1e-12)
    away: Tensor = (real - found.flatten(2)).flatten(1).norm(dim=1) / reference
    return away


@dataclass
class _Study:
    subject: Subject
    pool: LatentPyramid
    unseen: LatentPyramid
    targets: GroupedSlices
    seed: int
    numbers: list[int]
    errors: dict[tuple[Setting, str, int], Tensor] = field(default_factory=dict)
    recovered: dict[Setting, LatentPyramid] = field(default_factory=dict)


def run(subject: Subject, options: AuditOptions) -> Job[AttackResult]:
    """Solve from more and more known items, for every scale, in every setting."""
    known, rest = divide(subject.everything, 0.5, options.seed)
    known = choose_in_turn(known, max(KNOWN), options.seed)
    targets = choose(rest, options.item_limit, options.seed)
    stages = Stages(12)
    pool = yield from stages.run(encode(subject, known))
    unseen = yield from stages.run(encode(subject, targets))
    numbers = sorted({min(number, len(known)) for number in KNOWN})
    study = _Study(subject, pool, unseen, targets, options.seed, numbers)
    for setting in settings(subject.study):
        yield from stages.run(_solve_all(study, setting), 3)
    pictures = yield from stages.run(_pictures(study))
    return AttackResult(
        ATTACK,
        tuple(_measurements(study)),
        pictures,
        _reading(study),
        (
            "an attacker who knows images but not the encoder (see the learned inversion)",
            "the rounding of a bundle, which is left out here: it can only help the site",
        ),
    )


def _solve_all(study: _Study, setting: Setting) -> Job[None]:
    ids = item_ids(study.seed, study.pool.batch_size + study.unseen.batch_size)
    cut = study.pool.batch_size
    known = protect(study.subject, study.pool, ids[:cut], setting)
    attacked = protect(study.subject, study.unseen, ids[cut:], setting)
    ordered = setting == "none" or study.subject.study.arrangement == "blind"
    guesses, done, total = {}, 0, len(study.pool) * len(study.numbers)
    for scale in study.pool:
        for number in study.numbers:
            words = f"solving for {scale} from {number} known latents"
            yield Progress(done, total, words)
            done += 1
            part = slice(number)
            tries = []
            for solution in solve(study.pool[scale][part], known[scale][part], ordered=ordered):
                found = solution.recover(attacked[scale])
                truth, mean = study.unseen[scale], solution.mean_before
                tries.append((relative_errors(truth, found, mean), found))
                yield Progress(done, total, words)
            errors, guess = min(tries, key=lambda entry: float(entry[0].mean()))
            study.errors[setting, scale, number] = errors
            guesses[scale] = guess.float()
    study.recovered[setting] = LatentPyramid(guesses)


def _measurements(study: _Study) -> list[Measurement]:
    def measured(setting: Setting, scale: str, number: int, *, aim: bool = False) -> Measurement:
        return mean_measurement(
            f"relative error on unseen {scale}, {number} known, {SETTING_WORDS[setting]}",
            study.errors[setting, scale, number].numpy(),
            study.targets.groups,
            study.seed,
            chance=1.0,
            at_least=ERROR_AIM if aim else None,
            limits=(0.0, math.inf),
        )

    sent: dict[tuple[str, int], float] = {
        (scale, number): float(errors.mean())
        for (setting, scale, number), errors in study.errors.items()
        if setting == "sent"
    }
    worst = min(sent, key=lambda at: sent[at])
    found = [measured("sent", *worst, aim=True)]
    found += [measured("sent", *at) for at in sent if at != worst]
    weaker = settings(study.subject.study)[1]  # where noise hides what is sent, in blind, too
    return found + [measured(*at) for at in study.errors if at[0] == weaker]


def _pictures(study: _Study) -> Job[tuple[AuditPicture, ...]]:
    pictures = [AuditPicture("original", study.targets.pictures()[0])]
    decoder = study.subject.site.image_autoencoder
    for setting, pyramid in study.recovered.items():
        if setting != "none":
            one = yield from decode(decoder, pyramid.items_at(slice(1)))
            title = f"the site's decoder on what was solved for, {SETTING_WORDS[setting]}"
            pictures.append(AuditPicture(title, one[0]))
    return tuple(pictures)


def _reading(study: _Study) -> str:
    def lowest(setting: Setting) -> float:
        return min(float(e.mean()) for (at, _, _), e in study.errors.items() if at == setting)

    text = f"The lowest relative error on unseen latents is {lowest('sent'):.2g} as they are sent"
    if "fixed" in study.recovered:
        text += f", and {lowest('fixed'):.2g} with one transform for all items"
    return f"{text}; 1 is what the mean of the known latents gets."
