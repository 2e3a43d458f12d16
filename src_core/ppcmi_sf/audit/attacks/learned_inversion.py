"""Attack 3: learn to turn protected latents into images, from known pairs or from public images.

Attacker
    Somebody who reads a site's protected latents and has images of that site (some patients'
    images leaked or were published), or images like them.
Knowledge
    Three kinds: *n* known pairs of image and protected latents of the attacked site, of other
    patients than those attacked (n = 1, 5, 20, 100, as many as there are); the same pairs, used
    through what mixing, bias and order do not change; public images alone, of which the attacker
    trains an autoencoder and then a decoder over ever new keys.
Method
    A decoder of the study's size is trained by the engine's own loop from protected latents to
    images. Without training: kernel regression on distances to the known items; and of the known
    images, the one whose spectrum and sorted lengths are nearest.
Source
    Dosovitskiy and Brox, CVPR 2016 (inverting features by a trained decoder); He, Zhang and Lee,
    ACSAC 2019 (attacks on split inference with and without the victim's data); Saunders et al.,
    ICML 1998 (kernel ridge regression).
Cost
    Some minutes of training on a laptop.
Meaning
    SSIM beside that of the mean image, over n. With one transform for all items it rises with n:
    the decoder learns the key. The budget is small; a longer training gets more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from ppcmi_sf.audit.exposure import (
    SETTING_WORDS,
    Setting,
    decode,
    encode,
    encode_with,
    item_ids,
    made_up_share,
    protect,
    settings,
)
from ppcmi_sf.audit.invariants import signature
from ppcmi_sf.audit.inversion import train_inversion
from ppcmi_sf.audit.kernel_regression import regress
from ppcmi_sf.audit.likeness import (
    Likeness,
    Pictures,
    likeness,
    mean_measurement,
    mean_pictures,
    specific,
    ssim_measurement,
)
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.result import Attack, AttackResult, AuditPicture, Measurement
from ppcmi_sf.audit.subject import GroupedSlices, Subject, choose, choose_in_turn, divide
from ppcmi_sf.audit.surrogates import attackers_autoencoder
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.stages import Stages
from ppcmi_sf.training.dataset import needs_two_items

KNOWN = (1, 5, 20, 100)
QUICK_KNOWN = (20,)
POOL_SHARE = 0.7
SIMULATED = 1_000_000  # items of the attacker's own; never an id of an attacked item

ATTACK = Attack(
    id="learned-inversion",
    title="A decoder trained by the attacker",
    attacker="somebody who reads protected latents and has some images of the site, or like them",
    knowledge="n known pairs of image and protected latents, of other patients than the attacked "
    "ones; or only public images of the same kind; no key",
    method="a decoder is trained from protected latents to images; also kernel regression on "
    "distances to the known items, and the known image that is nearest by what mixing, bias and "
    "order do not change (spectrum and sorted lengths)",
    source="Dosovitskiy and Brox, CVPR 2016; He, Zhang and Lee, ACSAC 2019; Saunders et al., ICML "
    "1998",
    meaning="SSIM over n, beside that of the mean image. A longer training, or more pairs, may get "
    "more.",
    risk="somebody with some images of this site, or like them, could make pictures of the "
    "others from their protected latents",
)


@dataclass
class _Study:
    """What the steps of this attack share."""

    subject: Subject
    options: AuditOptions
    pool: GroupedSlices
    targets: GroupedSlices
    pool_latents: LatentPyramid
    target_latents: LatentPyramid
    tries: dict[tuple[Setting, str], tuple[Likeness, Pictures]] = field(default_factory=dict)

    def exposed(self, setting: Setting) -> tuple[LatentPyramid, LatentPyramid]:
        """Protected latents of the pool and of the targets; no item has another's id."""
        ids = item_ids(self.options.seed, len(self.pool) + len(self.targets))
        cut = len(self.pool)
        return (
            protect(self.subject, self.pool_latents, ids[:cut], setting),
            protect(self.subject, self.target_latents, ids[cut:], setting),
        )

    def judge(self, setting: Setting, name: str, pictures: Pictures) -> Job[None]:
        found = yield from likeness(self.targets.pictures(), pictures)
        self.tries[setting, name] = found, pictures


def run(subject: Subject, options: AuditOptions) -> Job[AttackResult]:
    """Train on more and more known pairs, and on public images, in every setting."""
    pool, targets = _pool_and_targets(subject, options)
    plans = _plans(subject, options, len(pool))
    stages = Stages(8 + len(plans))
    pool_latents = yield from stages.run(encode(subject, pool))
    target_latents = yield from stages.run(encode(subject, targets))
    study = _Study(subject, options, pool, targets, pool_latents, target_latents)
    baseline_pictures = mean_pictures(targets, pool)
    baseline = yield from stages.run(likeness(targets.pictures(), baseline_pictures))
    for setting, number in plans:
        yield from stages.run(_by_pairs(study, setting, number))
    yield from stages.run(_by_public_images(study), 3)
    yield from stages.run(_by_comparing(study))
    told = yield from stages.run(_specific(study))
    return AttackResult(
        ATTACK,
        (*_measurements(study, baseline), *told),
        _pictures(study, baseline_pictures),
        _reading(study, baseline),
        (
            "known pairs of the very patients that are attacked",
            "generative models trained on many thousands of images of the same kind",
        ),
    )


def _pool_and_targets(
    subject: Subject, options: AuditOptions
) -> tuple[GroupedSlices, GroupedSlices]:
    """Known slices, a few of each of many patients first, and those that are attacked."""
    if len(subject.unknown) < 2:
        raise PPCMIError(
            "There is one slice alone that the attacker has not got already; two are needed, to "
            "know one and to attack the other.",
            hint="Give more data, or public images.",
        )
    share = POOL_SHARE
    if subject.public_is_own:  # the attacker knows these anyhow, so fewer of the members
        wanted = POOL_SHARE * len(subject.everything) - len(subject.others)
        share = max(0.0, wanted / len(subject.members))
    pool, rest = divide(subject.unknown, share, options.seed)
    if subject.public_is_own:
        pool = GroupedSlices.join([pool, subject.others])
    targets = choose(rest, options.item_limit, options.seed)
    return choose_in_turn(pool, max(KNOWN), options.seed), targets


def _plans(subject: Subject, options: AuditOptions, pool: int) -> list[tuple[Setting, int]]:
    """How many known pairs a decoder is trained on, in which setting."""
    wanted = QUICK_KNOWN if options.quick else KNOWN
    numbers = sorted({min(number, pool) for number in wanted})
    if needs_two_items(subject.study):
        numbers = [number for number in numbers if number > 1] or numbers
    plans: list[tuple[Setting, int]] = []
    for setting in settings(subject.study):
        if setting != "none":
            plans += [(setting, number) for number in numbers]
        elif not options.quick:
            plans.append((setting, numbers[-1]))
    return plans


def _by_pairs(study: _Study, setting: Setting, number: int) -> Job[None]:
    known, attacked = study.exposed(setting)
    images = study.pool.images()[:number]
    model = yield from train_inversion(
        study.subject,
        known.items_at(slice(number)),
        images,
        study.options.step_limit,
        study.options.seed + number,
    )
    pictures = yield from decode(model, attacked)
    yield from study.judge(setting, f"{number} known pairs", pictures)


def _by_public_images(study: _Study) -> Job[None]:
    """The attacker's own autoencoder, then a decoder over ever new keys of the attacker's own."""
    subject, options = study.subject, study.options
    public = choose(subject.public, options.item_limit, options.seed)
    own = yield from attackers_autoencoder(subject, options)
    latents = yield from encode_with(own, subject, public)
    for setting in settings(subject.study):
        if setting == "fixed" and options.quick:
            continue
        if setting == "none":
            model = own
        else:

            def scramble(batch: LatentPyramid, step: int, how: Setting = setting) -> LatentPyramid:
                size = batch.batch_size
                ids = item_ids(options.seed, size, SIMULATED + step * size)
                share = made_up_share(subject.share, f"attacker/{step}")
                return protect(subject, batch, ids, how, share=share)

            steps, seed = options.step_limit, options.seed
            model = yield from train_inversion(
                subject, latents, public.images(), steps, seed, scramble
            )
        _, attacked = study.exposed(setting)
        pictures = yield from decode(model, attacked)
        yield from study.judge(setting, "public images alone", pictures)


def _by_comparing(study: _Study) -> Job[None]:
    """Without training: by distances to the known items, and by the invariants."""
    for setting in settings(study.subject.study):
        known, attacked = study.exposed(setting)
        for number in sorted({min(wanted, len(study.pool)) for wanted in KNOWN}):
            yield Progress(1, 1, "regression on known pairs")
            part = slice(number)
            guess = regress(known.items_at(part), study.pool.pictures()[part], attacked)
            yield from study.judge(setting, f"regression on {number} known pairs", guess)
        signs = signature(known)
        yield Progress(1, 1, "comparing spectra")
        spread = signs.std(dim=0, correction=0)
        spread = spread.clamp_min(max(1e-9, 1e-3 * float(spread.max())))  # no rounding as a sign
        distance = torch.cdist(signature(attacked) / spread, signs / spread)
        nearest = distance.argmin(dim=1).numpy()
        pictures = study.pool.pictures()[nearest]
        yield from study.judge(setting, "nearest known image by invariants", pictures)


def _best(study: _Study, setting: Setting) -> str:
    names = [name for at, name in study.tries if at == setting]
    return max(names, key=lambda name: float(study.tries[setting, name][0].ssim.mean()))


def _measurements(study: _Study, baseline: Likeness) -> list[Measurement]:
    groups, seed = study.targets.groups, study.options.seed
    chance, best = float(baseline.ssim.mean()), _best(study, "sent")
    sent = study.tries["sent", best][0]
    found = [
        ssim_measurement(
            f"SSIM with the original, best of all ({best}), as sent",
            sent.ssim,
            groups,
            seed,
            chance=chance,
        ),
        mean_measurement(
            "SSIM above that of the mean image, best of all, as sent",
            sent.ssim - baseline.ssim,
            groups,
            seed,
            chance=0.0,
            at_most=0.0,
        ),
        mean_measurement(
            f"PSNR with the original in dB, best of all ({best}), as sent",
            sent.psnr,
            groups,
            seed,
            chance=float(baseline.psnr.mean()),
        ),
    ]
    for (setting, name), (tried, _) in study.tries.items():
        words = f"SSIM with the original, {name}, {SETTING_WORDS[setting]}"
        found.append(ssim_measurement(words, tried.ssim, groups, seed, chance=chance))
    return found


def _specific(study: _Study) -> Job[tuple[Measurement, Measurement]]:
    """Whether the best attempt says anything of the very item."""
    pair: tuple[Setting, Setting] = ("sent", "none")
    best = {setting: _best(study, setting) for setting in pair}
    compared = {f"{name}, {SETTING_WORDS[at]}": study.tries[at, name] for at, name in best.items()}
    targets = study.targets
    return (yield from specific(targets.pictures(), compared, targets.groups, study.options.seed))


def _pictures(study: _Study, baseline: Pictures) -> tuple[AuditPicture, ...]:
    originals = study.targets.pictures()
    ssim = study.tries["sent", _best(study, "sent")][0].ssim
    middle = int(np.argsort(ssim)[len(ssim) // 2])
    pictures = [
        AuditPicture("original (the middle one by SSIM)", originals[middle]),
        AuditPicture("mean image of other patients", baseline[middle]),
    ]
    for setting in settings(study.subject.study):
        name = _best(study, setting)
        title = f"{name}, {SETTING_WORDS[setting]}"
        pictures.append(AuditPicture(title, study.tries[setting, name][1][middle]))
    return tuple(pictures)


def _reading(study: _Study, baseline: Likeness) -> str:
    best, chance = _best(study, "sent"), float(baseline.ssim.mean())
    sent = float(study.tries["sent", best][0].ssim.mean())
    weak = settings(study.subject.study)[1]
    weaker = float(study.tries[weak, _best(study, weak)][0].ssim.mean())
    against = "no more than" if sent <= chance else "more than"
    return (
        f"The best attempt ({best}) reaches an SSIM of {sent:.2f}, {against} the mean image "
        f"({chance:.2f}). With less protection ({SETTING_WORDS[weak]}) the best is {weaker:.2f}."
    )
