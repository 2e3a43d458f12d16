"""Attack 8: learn from protected latents what nobody meant to tell: scanner, class mix, encoder.

Attacker
    The mapping server, or anybody who reads opened bundles.
Knowledge
    Protected latents, and those of some other patients with the property known. No key.
Method
    Numbers that need no key (as for linkability) go into a linear classifier, which answers for
    patients that it has not seen; the kind of numbers is chosen on the known patients.
    *Scanner*: half of the patients are given another contrast (gamma), as another machine would.
    *Class mix*: whether the structures of the masks take more of the image than in the middle
    case. *Autoencoder*: whether the site's own or a partner's made the latents.
Source
    Ateniese et al., Int. J. Security and Networks 10(3), 2015; Ganju et al., ACM CCS 2018.
Cost
    Seconds; a ridge regression.
Meaning
    The share of right answers; chance is what is right when the more frequent answer is given to
    all. Who sent a bundle need not be inferred: its recipient reads the sender in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.audit.classifier import cross_predict
from ppcmi_sf.audit.exposure import (
    SETTING_WORDS,
    Setting,
    encode,
    encode_with,
    item_ids,
    protect,
    settings,
)
from ppcmi_sf.audit.keyless import features
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.result import Attack, AttackResult, Measurement
from ppcmi_sf.audit.statistics import mean_interval, wilson
from ppcmi_sf.audit.subject import GroupedSlices, Subject, choose
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import Job
from ppcmi_sf.training.dataset import GridSlices
from ppcmi_sf.transform import Role

GAMMA = 1.5
MIN_PATIENTS = 6

ATTACK = Attack(
    id="property",
    title="Scanner, class mix and autoencoder",
    attacker="a mapping server without a share, or anybody who reads opened bundles",
    knowledge="protected latents, and those of other patients with the property known; no key",
    method="a linear classifier on numbers that need no key, tested on patients it has not seen",
    source="Ateniese et al., IJSN 10(3), 2015; Ganju et al., ACM CCS 2018",
    meaning="the share of right answers. Chance is what is right when the more frequent answer is "
    "given to all.",
    risk="the server could learn about equipment and patients what nobody meant to tell",
)


@dataclass(frozen=True, eq=False)
class _Question:
    """What is asked: latents, the patient of each, the truth, and under which role they went."""

    name: str
    latents: LatentPyramid
    groups: npt.NDArray[np.int64]
    truth: npt.NDArray[np.bool_]
    role: Role


def run(subject: Subject, options: AuditOptions) -> Job[AttackResult]:
    """Ask each question in every setting."""
    limit = max(2 * options.item_limit, MIN_PATIENTS)
    slices = choose(subject.everything, limit, options.seed)
    if slices.group_count < MIN_PATIENTS:
        raise PPCMIError(
            f"There are {slices.group_count} patients; {MIN_PATIENTS} are needed to learn a "
            "property on some and test it on others.",
            hint="Give more data, with a manifest.csv that names the patient of each image.",
        )
    questions = yield from _questions(subject, slices, options.seed)
    found: dict[Setting, list[Measurement]] = {}
    for setting in settings(subject.study):
        for question in questions:
            one = yield from _ask(subject, question, setting, options.seed)
            found.setdefault(setting, []).append(one)
    ordered = [one for measurements in found.values() for one in measurements]
    open_points = [
        "properties of a patient such as age or sex, which the audit does not know",
        "learned features, and many more examples than a site has",
    ]
    if not subject.partners:
        open_points.append("whose autoencoder made the latents: no partner's model was given")
    reading = _reading(subject, found["sent"])
    return AttackResult(ATTACK, tuple(ordered), (), reading, tuple(open_points))


def _questions(subject: Subject, slices: GroupedSlices, seed: int) -> Job[list[_Question]]:
    groups = slices.groups
    plain = yield from encode(subject, slices)
    half = np.isin(groups, _half_of(groups, seed))
    other = yield from encode(subject, _with_contrast(slices, half))
    foreground = (slices.grid.masks > 0).mean(axis=(1, 2))
    large = foreground > np.median(foreground)
    masks = yield from encode(subject, slices, "mask")
    questions = [
        _Question("scanner (contrast), from image latents", other, groups, half, "image"),
        _Question("class mix, from image latents", plain, groups, large, "image"),
        _Question("class mix, from mask latents", masks, groups, large, "mask"),
    ]
    if subject.partners:
        partner = subject.partners[0].image_autoencoder
        theirs = yield from encode_with(partner, subject, slices)
        own = torch.from_numpy(~half)[:, None, None, None]
        mixed = LatentPyramid(
            {name: torch.where(own, value, theirs[name]) for name, value in plain.items()}
        )
        questions.append(
            _Question("whose autoencoder, from image latents", mixed, groups, half, "image")
        )
    return questions


def _half_of(groups: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.int64]:
    rng = np.random.default_rng((seed, 0x9209))
    order = rng.permutation(np.unique(groups))
    return order[: len(order) // 2]


def _with_contrast(slices: GroupedSlices, chosen: npt.NDArray[np.bool_]) -> GroupedSlices:
    """Slices of which some were made by a machine with another contrast."""
    images = slices.grid.images.astype(np.float32)
    images[chosen] = images[chosen] ** GAMMA
    grid = GridSlices(images.astype(np.float16), slices.grid.masks, slices.grid.cases)
    return GroupedSlices(grid, slices.groups)


def _ask(subject: Subject, question: _Question, setting: Setting, seed: int) -> Job[Measurement]:
    items = item_ids(seed, len(question.truth))
    sent = protect(subject, question.latents, items, setting, question.role)
    values = yield from features(sent)
    guesses = yield from cross_predict(values, question.truth, question.groups, seed)
    right = (guesses == question.truth).astype(np.float64)
    share = float(question.truth.mean())
    value, low, high = mean_interval(right, question.groups.tolist(), seed, (0.0, 1.0))
    if low == high:  # all right or all wrong: no certainty, with so many patients
        low, high = wilson(value, len(np.unique(question.groups)))
    name = f"right answers, {question.name}, {SETTING_WORDS[setting]}"
    return Measurement(name, value, low, high, len(right), max(share, 1 - share))


def _reading(subject: Subject, sent: list[Measurement]) -> str:
    text = " ".join(_sentences(sent))
    if subject.study.arrangement == "escrow":
        text += (
            " An escrow server holds the site's share and undoes the transform: for it the lines "
            "without a transform count."
        )
    return f"{text} Which site sent a bundle is written in it, for its recipient to read."


def _sentences(sent: list[Measurement]) -> Iterator[str]:
    for one in sent:
        chance, low = one.chance or 0.5, one.low
        what = one.name.removeprefix("right answers, ").removesuffix(f", {SETTING_WORDS['sent']}")
        told = "can be told" if low is not None and low > chance else "was not told reliably"
        yield f"{what[0].upper()}{what[1:]}: {told} ({one.value:.0%} right, chance {chance:.0%})."
