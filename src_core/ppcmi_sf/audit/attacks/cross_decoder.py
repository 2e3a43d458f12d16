"""Attack 1: decode a site's protected latents with the decoders of its partners.

Attacker
    Another site of the study that gets hold of the opened bundle of a partner.
Knowledge
    The protected latents, and its own image decoder. No key, and no image of the attacked site.
Method
    The latents go through the decoder as they are. SSIM and PSNR with the original, the partner
    with the best mean counting; beside them those of the mean image of other patients.
Source
    Bello et al., arXiv 2603.05541, 2026, section on cross-decoder inversion.
Cost
    A decoder pass for each image; where no partner's model is given, two short trainings.
Meaning
    An SSIM as high as the mean image's means that the partner learned no more than what all such
    images have in common. The planted weaknesses show what the same decoders make of latents with
    one transform for all items, and with none.
"""

from __future__ import annotations

import numpy as np

from ppcmi_sf.audit.exposure import (
    SETTING_WORDS,
    Setting,
    decode,
    encode,
    item_ids,
    made_up_share,
    protect,
    settings,
)
from ppcmi_sf.audit.likeness import (
    Likeness,
    Pictures,
    best_of,
    likeness,
    mean_measurement,
    mean_pictures,
    specific,
    ssim_measurement,
)
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.result import Attack, AttackResult, AuditPicture, Measurement
from ppcmi_sf.audit.subject import GroupedSlices, Partner, Subject, choose
from ppcmi_sf.audit.surrogates import partners_of
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import Job
from ppcmi_sf.stages import Stages

SSIM_AIM = 0.34
OTHER_KEYS = 8
OWN = "the site's own decoder with its key"

ATTACK = Attack(
    id="cross-decoder",
    title="Decoding with a partner's decoder",
    attacker="another site of the study, with the opened bundle of this site",
    knowledge="the protected latents, and the attacker's own image decoder; no key, no image",
    method="the latents are decoded as they are; the decoder that does best counts",
    source="Bello et al., arXiv 2603.05541, 2026",
    meaning="SSIM is 1 for the original itself. What the mean image of other patients reaches is "
    "what knowing nothing gives.",
    risk="another site that opens a bundle of this site could see more of its images than what "
    "all such images have in common",
)


def run(subject: Subject, options: AuditOptions) -> Job[AttackResult]:
    """Decode by every partner, in every setting."""
    # Partners that were given trained on images of their own; stand-ins on the public ones.
    among = subject.everything if subject.partners else subject.unknown
    targets = choose(among, options.item_limit, options.seed)
    originals = targets.pictures()
    baseline_pictures = mean_pictures(targets, subject.everything)
    stages = Stages(15 + OTHER_KEYS)
    baseline = yield from stages.run(likeness(originals, baseline_pictures))
    partners = yield from stages.run(partners_of(subject, options), 4)
    latents = yield from stages.run(encode(subject, targets))
    ids = item_ids(options.seed, len(targets))
    best: dict[Setting, tuple[Likeness, Pictures]] = {}
    for setting in settings(subject.study):
        protected = protect(subject, latents, ids, setting)
        job = _best_partner(partners, protected, originals)
        best[setting] = yield from stages.run(job, 2)
    own = yield from stages.run(_own(subject, latents, originals))
    trying = _with_other_keys(subject, partners, latents, originals, options)
    others = yield from stages.run(trying, OTHER_KEYS)
    compared = {SETTING_WORDS["sent"]: best["sent"], OWN: own}
    comparing = specific(originals, compared, targets.groups, options.seed)
    told = yield from stages.run(comparing, 2)
    return AttackResult(
        ATTACK,
        (
            *_measurements(best, baseline, own[0], targets, options.seed),
            *_key_measurements(others, baseline, targets, options.seed),
            *told,
        ),
        _pictures(originals, baseline_pictures, best),
        _reading(best, baseline, others),
        (
            "a partner that adapts its decoder to the latents (see the learned inversion)",
            "partners that started their training from the same weights as this site, unless they "
            "were given",
        ),
    )


def _best_partner(
    partners: tuple[Partner, ...], protected: LatentPyramid, originals: Pictures
) -> Job[tuple[Likeness, Pictures]]:
    tries: dict[str, Likeness] = {}
    pictures: dict[str, Pictures] = {}
    stages = Stages(2 * len(partners))
    for number, partner in enumerate(partners):
        name, decoding = f"{number}", decode(partner.image_autoencoder, protected)
        pictures[name] = yield from stages.run(decoding)
        tries[name] = yield from stages.run(likeness(originals, pictures[name]))
    chosen = best_of(tries)
    return tries[chosen], pictures[chosen]


def _with_other_keys(
    subject: Subject,
    partners: tuple[Partner, ...],
    latents: LatentPyramid,
    originals: Pictures,
    options: AuditOptions,
) -> Job[list[Likeness]]:
    """The same with keys that the site has not got; in ``escrow``, new for each item, none."""
    if subject.study.arrangement == "escrow":
        return []
    keys = 2 if options.quick else OTHER_KEYS
    found, stages = [], Stages(keys)
    ids = item_ids(options.seed, latents.batch_size)
    for number in range(keys):
        share = made_up_share(subject.share, f"other-key/{options.seed}/{number}")
        protected = protect(subject, latents, ids, "sent", share=share)
        best, _ = yield from stages.run(_best_partner(partners, protected, originals))
        found.append(best)
    return found


def _own(
    subject: Subject, latents: LatentPyramid, originals: Pictures
) -> Job[tuple[Likeness, Pictures]]:
    decoded = yield from decode(subject.site.image_autoencoder, latents)
    return (yield from likeness(originals, decoded)), decoded


def _measurements(
    best: dict[Setting, tuple[Likeness, Pictures]],
    baseline: Likeness,
    own: Likeness,
    targets: GroupedSlices,
    seed: int,
) -> list[Measurement]:
    sent, groups = best["sent"][0], targets.groups
    chance, chance_psnr = float(baseline.ssim.mean()), float(baseline.psnr.mean())
    found = [
        ssim_measurement(
            "SSIM with the original, as sent",
            sent.ssim,
            groups,
            seed,
            chance=chance,
            at_most=SSIM_AIM,
        ),
        mean_measurement(
            "SSIM above that of the mean image, as sent",
            sent.ssim - baseline.ssim,
            groups,
            seed,
            chance=0.0,
            at_most=0.0,
        ),
        mean_measurement(
            "PSNR with the original in dB, as sent", sent.psnr, groups, seed, chance=chance_psnr
        ),
    ]
    for setting, (tried, _) in best.items():
        if setting != "sent":
            name = f"SSIM with the original, {SETTING_WORDS[setting]}"
            found.append(ssim_measurement(name, tried.ssim, groups, seed, chance=chance))
    name = f"SSIM with the original, {OWN}"
    found.append(ssim_measurement(name, own.ssim, groups, seed, chance=chance))
    return found


def _key_measurements(
    others: list[Likeness], baseline: Likeness, targets: GroupedSlices, seed: int
) -> list[Measurement]:
    if not others:
        return []
    chance = float(baseline.ssim.mean())
    worst = max((one.ssim for one in others), key=lambda ssim: float(ssim.mean()))
    return [
        ssim_measurement(name, ssim, targets.groups, seed, chance=chance)
        for name, ssim in (
            (
                f"SSIM with the original, with {len(others)} other keys, mean",
                np.mean([one.ssim for one in others], axis=0),
            ),
            (f"SSIM with the original, with {len(others)} other keys, the worst of them", worst),
        )
    ]


def _pictures(
    originals: Pictures, baseline: Pictures, best: dict[Setting, tuple[Likeness, Pictures]]
) -> tuple[AuditPicture, ...]:
    middle = int(np.argsort(best["sent"][0].ssim)[len(originals) // 2])
    decoded = [
        AuditPicture(f"decoded, {SETTING_WORDS[setting]}", pictures[middle])
        for setting, (_, pictures) in best.items()
    ]
    return (
        AuditPicture("original (the middle one by SSIM)", originals[middle]),
        AuditPicture("mean image of other patients", baseline[middle]),
        *decoded,
    )


def _reading(
    best: dict[Setting, tuple[Likeness, Pictures]], baseline: Likeness, others: list[Likeness]
) -> str:
    sent, chance = float(best["sent"][0].ssim.mean()), float(baseline.ssim.mean())
    none = float(best["none"][0].ssim.mean())
    against = "no more than" if sent <= chance else "more than"
    text = (
        f"A partner's decoder reaches an SSIM of {sent:.2f}, {against} the mean image "
        f"({chance:.2f}). Without any transform it would reach {none:.2f}."
    )
    if others:
        means = [float(one.ssim.mean()) for one in others]
        text += (
            f" It depends on the key: {len(others)} others gave {min(means):.2f} to "
            f"{max(means):.2f}. A rotation draws another one."
        )
    return text
