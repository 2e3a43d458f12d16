"""Attack 9: a site sends bad pairs; what becomes of the others' masks, and what is noticed.

Attacker
    A member of the study, whose bundles are signed and accepted; or one whose data is broken.
Knowledge
    What every site has. It need not know anything of the others.
Method
    The site's patients are dealt out to three sites and a test part. A mapping network is trained
    with one of the three sending numbers that are none, huge or constant values, one pair over and
    over, masks of other images, or masks with all classes exchanged. The Dice of another site on
    the test part is compared with that of a training without the third site. Then the same with
    what the server checks (:mod:`ppcmi_sf.training.contribution_checks`): what is refused is left
    out, what is suspicious is trained with, under the cap on a site's weight.
Source
    Biggio, Nelson and Laskov, ICML 2012; Tolpegin et al., ESORICS 2020 (label flipping by sites).
Cost
    A short training for each kind of bad pairs.
Meaning
    How much Dice the other sites lose. What is neither refused nor reported depends on people: on
    looking at the masks.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.audit.exposure import item_ids, transform_of
from ppcmi_sf.audit.item_losses import latent_pairs
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.poison import POISON_WORDS, Poison, flip_classes, poisoned
from ppcmi_sf.audit.result import Attack, AttackResult, Measurement
from ppcmi_sf.audit.shadow_models import take_pairs
from ppcmi_sf.audit.short_training import fit_for_steps
from ppcmi_sf.audit.statistics import mean_interval
from ppcmi_sf.audit.subject import GroupedSlices, Subject, choose
from ppcmi_sf.errors import BundleContentError, PPCMIError, TrainingError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.stages import Stages
from ppcmi_sf.training.contribution_checks import check_contributions, refuse_faults
from ppcmi_sf.training.dataset import GridSlices
from ppcmi_sf.training.mapping import MappingOptions, SitePairs, train_mapping

BAD, ASKING, THIRD = "bad", "asking", "third"
PARTS = 4  # three sites and the test part
RATE = 3e-3
BATCH_SIZE = 8
QUICK_KINDS: tuple[Poison, ...] = ("not-a-number", "huge", "constant", "exchanged")

ATTACK = Attack(
    id="malicious-site",
    title="A site that sends bad pairs",
    attacker="a member of the study, by a fault or on purpose",
    knowledge="what every site has",
    method="a mapping network is trained with one of three sites sending bad pairs, with and "
    "without the server's checks; the Dice of another site is compared",
    source="Biggio, Nelson and Laskov, ICML 2012; Tolpegin et al., ESORICS 2020",
    meaning="how much Dice the other sites lose, beside a training without the bad site",
    risk="the masks of all sites could become worse, or wrong on purpose, by what one site sends",
)


@dataclass(frozen=True, eq=False)
class _Scene:
    """Three sites' honest pairs, the bad site's flipped masks, and the test part."""

    subject: Subject
    pairs: dict[str, SitePairs]
    flipped: LatentPyramid
    test: SitePairs
    labels: npt.NDArray[np.uint8]
    groups: npt.NDArray[np.int64]
    options: AuditOptions


@dataclass(frozen=True, eq=False)
class _Outcome:
    """Of one kind of bad pairs.

    Attributes
    ----------
    without, with_checks
        Dice of each test slice; ``None``: there is no network at all.
    verdict
        What the checks did.
    """

    without: npt.NDArray[np.float64] | None
    with_checks: npt.NDArray[np.float64] | None
    verdict: str


def run(subject: Subject, options: AuditOptions) -> Job[AttackResult]:
    """Train with each kind of bad pairs, with and without the checks."""
    kinds = QUICK_KINDS if options.quick else tuple(POISON_WORDS)
    stages = Stages(len(kinds) + 2)
    scene = yield from stages.run(_scene(subject, options))
    honest = {name: value for name, value in scene.pairs.items() if name != BAD}
    usual = yield from stages.run(_dice(scene, honest, 1.0), message="without the bad site")
    outcomes: dict[Poison, _Outcome] = {}
    for kind in kinds:
        job = _try(scene, honest, kind, usual)
        outcomes[kind] = yield from stages.run(job, message=POISON_WORDS[kind])
    return AttackResult(
        ATTACK,
        tuple(_measurements(scene, usual, outcomes)),
        (),
        _reading(scene, usual, outcomes),
        (
            "sites with autoencoders of their own: here all three use those of the audited site",
            "pairs that are made to get past the checks, such as a few bad ones among many good "
            "ones, or a mark in the image that turns the mask wrong (a backdoor)",
            "longer trainings, which may suffer more or less",
        ),
    )


def _scene(subject: Subject, options: AuditOptions) -> Job[_Scene]:
    slices = choose(subject.everything, 4 * options.item_limit, options.seed)
    rng = np.random.default_rng((options.seed, 0xBAD))
    patients = rng.permutation(np.unique(slices.groups))
    if len(patients) < PARTS:
        raise PPCMIError(
            f"There are {len(patients)} patients; {PARTS} are needed for three sites and a test.",
            hint="Give more data, with a manifest.csv that names the patient of each image.",
        )
    part_of = {int(group): place % PARTS for place, group in enumerate(patients)}
    part = np.array([part_of[int(group)] for group in slices.groups])
    pairs = yield from latent_pairs(subject, slices, options.seed)
    bad = slices.take(np.flatnonzero(part == 0))
    flipped = yield from latent_pairs(subject, _flipped(bad, subject), options.seed)
    named = dict(zip((BAD, ASKING, THIRD), range(PARTS - 1), strict=True))
    test = part == PARTS - 1
    return _Scene(
        subject,
        {name: take_pairs(pairs, part == number) for name, number in named.items()},
        flipped.targets,
        take_pairs(pairs, test),
        slices.grid.masks[test],
        slices.groups[test],
        options,
    )


def _flipped(slices: GroupedSlices, subject: Subject) -> GroupedSlices:
    labels = flip_classes(slices.labels(), subject.study.class_count)
    masks = labels.numpy().astype(np.uint8)
    return GroupedSlices(GridSlices(slices.grid.images, masks, slices.grid.cases), slices.groups)


def _try(
    scene: _Scene, honest: dict[str, SitePairs], kind: Poison, usual: npt.NDArray[np.float64]
) -> Job[_Outcome]:
    count = sum(one.inputs.batch_size for one in honest.values())
    bad = poisoned(kind, scene.pairs[BAD], scene.flipped, count)
    every = {BAD: bad} | honest
    without: npt.NDArray[np.float64] | None = None
    with suppress(TrainingError):  # that there is no network is the outcome
        without = yield from _dice(scene, every, 1.0)
    try:
        refuse_faults(bad, BAD, "bundle")
    except BundleContentError:
        return _Outcome(without, usual, "refused, and the training goes on without that bundle")
    most = MappingOptions().max_site_weight
    report = yield from check_contributions(every, most)
    own = [one for one in report.suspicions if one.site == BAD]
    verdict = f"reported ({', '.join(one.kind for one in own)})" if own else "not noticed"
    share = bad.inputs.batch_size / (count + bad.inputs.batch_size)
    if report.weights[BAD] >= share - 1e-9:
        return _Outcome(without, without, verdict)  # the cap changes nothing
    capped = yield from _dice(scene, every, most)
    return _Outcome(without, capped, f"{verdict}, weight capped from {share:.0%} to {most:.0%}")


def _dice(
    scene: _Scene, pairs: dict[str, SitePairs], max_site_weight: float
) -> Job[npt.NDArray[np.float64]]:
    """Train on these pairs; Dice of each test slice by the adapters of an honest site."""
    count = sum(one.inputs.batch_size for one in pairs.values())
    steps, seed = scene.options.step_limit, scene.options.seed
    fit = fit_for_steps(count, steps, seed, batch_size=BATCH_SIZE, learning_rate=RATE)
    # So short a training would not get to the end of what CutMix makes harder.
    options = MappingOptions(fit=fit, cut_mix=0.0, max_site_weight=max_site_weight)
    subject = scene.subject
    network, _ = yield from train_mapping(subject.study, pairs, options, device=subject.device)
    return (yield from _dice_of(scene, network))


def _dice_of(scene: _Scene, network: UnifiedMappingNetwork) -> Job[npt.NDArray[np.float64]]:
    found: list[float] = []
    count, subject = scene.test.inputs.batch_size, scene.subject
    decoder = subject.site.mask_autoencoder.eval()
    for start in range(0, count, BATCH_SIZE):
        yield Progress(start, count, "mapping the test part")
        with torch.inference_mode():
            part = scene.test.inputs.items_at(slice(start, start + BATCH_SIZE))
            mapped = network({ASKING: part.to(subject.device)})[ASKING]
            masks = decoder.decode(_readable(subject, mapped)).argmax(dim=1).cpu().numpy()
        found.extend(
            _mean_dice(mask, truth, subject.study.class_count)
            for mask, truth in zip(masks, scene.labels[start : start + BATCH_SIZE], strict=True)
        )
    return np.array(found, dtype=np.float64)


def _readable(subject: Subject, mapped: LatentPyramid) -> LatentPyramid:
    """Latents for the mask decoder; in ``blind`` the network's answer is protected."""
    if subject.study.arrangement == "escrow":
        return mapped
    transform = transform_of(subject, "fixed", "mask")
    assert transform is not None
    return transform.recover(mapped, item_ids(0, mapped.batch_size))


def _mean_dice(mask: npt.NDArray[np.int64], truth: npt.NDArray[np.uint8], classes: int) -> float:
    """Mean over the foreground classes; 1 where a class is absent from both."""
    scores = []
    for label in range(1, classes):
        ours, theirs = mask == label, truth == label
        total = int(ours.sum() + theirs.sum())
        scores.append(2 * int((ours & theirs).sum()) / total if total else 1.0)
    return float(np.mean(scores))


def _measurements(
    scene: _Scene, usual: npt.NDArray[np.float64], outcomes: dict[Poison, _Outcome]
) -> list[Measurement]:
    groups = scene.groups.tolist()

    def one(name: str, dice: npt.NDArray[np.float64] | None) -> Measurement:
        values = np.zeros(len(usual)) if dice is None else dice
        if dice is None:
            name += " (the training stops: no network for anybody)"
        interval = mean_interval(usual - values, groups, scene.options.seed, (-1.0, 1.0))
        return Measurement.aimed(name, interval, len(values), 0.0)

    checked = [
        one(f"Dice that others lose, with the checks: {POISON_WORDS[kind]}", result.with_checks)
        for kind, result in outcomes.items()
    ]
    worst = max(checked, key=lambda measurement: measurement.value)
    found = [replace(worst, name=f"worst {worst.name}")]
    interval = mean_interval(usual, groups, scene.options.seed, (0.0, 1.0))
    found.append(Measurement.aimed("Dice without the bad site", interval, len(usual)))
    found += checked
    return found + [
        one(f"Dice that others lose, without the checks: {POISON_WORDS[kind]}", result.without)
        for kind, result in outcomes.items()
    ]


def _reading(
    scene: _Scene, usual: npt.NDArray[np.float64], outcomes: dict[Poison, _Outcome]
) -> str:
    lines = [
        f"Without the bad site the others' Dice is {float(usual.mean()):.2f} after this short "
        "training."
    ]
    for kind, result in outcomes.items():
        without, with_checks = (
            "no network" if dice is None else f"{float(dice.mean()):.2f}"
            for dice in (result.without, result.with_checks)
        )
        lines.append(
            f"{POISON_WORDS[kind].capitalize()}: {result.verdict}; Dice {without} without the "
            f"checks, {with_checks} with them."
        )
    return " ".join(lines)
