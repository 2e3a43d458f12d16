"""Attack 2: the site's own decoder with a wrong key, with none, and with parts of the transform.

Attacker
    Somebody with a copy of the site's folder (its decoder) and an opened bundle, but not its key;
    or with a part of the transform.
Knowledge
    The protected latents and the site's own image decoder. In turn: another key; nothing; all but
    what is drawn for the item; what is drawn for the item alone; that and the order of the
    positions; that and mixing and bias.
Method
    What can be undone is undone, and the rest decoded as it is.
Source
    Bello et al., arXiv 2603.05541, 2026 (wrong keys); the parts are ours.
Cost
    A decoder pass for each image and case.
Meaning
    SSIM beside that of the mean image. With the right key it is the decoder's own quality, which
    shows that the attack works. A part that is known and gives much is a part whose rest hides
    little.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ppcmi_sf.audit.exposure import (
    decode,
    encode,
    item_ids,
    made_up_share,
    protect,
    transform_of,
    true_places,
)
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
from ppcmi_sf.audit.subject import GroupedSlices, Subject, choose
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import Job
from ppcmi_sf.stages import Stages

WRONG_KEYS = 3
RIGHT = "planted weakness: the right key"
WITHOUT = "no key"
ALL_BUT_ITEM = "all known but what is drawn for the item"
ITEM = "what is drawn for the item known"
ORDER_KNOWN = f"{ITEM}, and the order of the positions"
MIXING_KNOWN = f"{ITEM}, and mixing and bias"

ATTACK = Attack(
    id="wrong-key",
    title="The site's own decoder without the right key",
    attacker="somebody with the site's folder and an opened bundle, but not the key",
    knowledge="the protected latents and the site's own decoder; in turn a wrong key, no key, and "
    "parts of the transform",
    method="what is known of the transform is undone, and the rest decoded as it is",
    source="Bello et al., arXiv 2603.05541, 2026; the parts are ours",
    meaning="SSIM beside that of the mean image; a part that gives much when it is known hides "
    "little by itself",
    risk="a stolen site folder and an opened bundle would show images without the key",
)


def run(subject: Subject, options: AuditOptions) -> Job[AttackResult]:
    """Decode with what each attacker knows."""
    targets = choose(subject.everything, options.item_limit, options.seed)
    originals = targets.pictures()
    baseline_pictures = mean_pictures(targets, subject.everything)
    stages = Stages(22)
    baseline = yield from stages.run(likeness(originals, baseline_pictures))
    latents = yield from stages.run(encode(subject, targets))
    ids = item_ids(options.seed, len(targets))
    found: dict[str, tuple[Likeness, Pictures]] = {}
    for name, attempt in _attempts(subject, latents, ids, options.seed):
        pictures = yield from stages.run(decode(subject.site.image_autoencoder, attempt))
        found[name] = (yield from stages.run(likeness(originals, pictures))), pictures
    compared = {name: found[name] for name in (WITHOUT, RIGHT)}
    told = yield from specific(originals, compared, targets.groups, options.seed)
    return AttackResult(
        ATTACK,
        (*_measurements(found, baseline, targets, options.seed), *told),
        _pictures(originals, baseline_pictures, found),
        _reading(found, baseline),
        ("a decoder that is trained anew (see the learned inversion)", "guessing a key"),
    )


def _attempts(
    subject: Subject, latents: LatentPyramid, ids: tuple[str, ...], seed: int
) -> Iterator[tuple[str, LatentPyramid]]:
    """What goes into the decoder, by what is known."""
    protected = protect(subject, latents, ids, "sent")
    yield WITHOUT, protected
    for number in range(WRONG_KEYS):
        share = made_up_share(subject.share, f"wrong-key/{seed}/{number}")
        wrong = transform_of(subject, "sent", share=share)
        assert wrong is not None
        yield _wrong(number), wrong.recover(protected, ids)
    right = transform_of(subject, "sent")
    assert right is not None
    recovered = right.recover(protected, ids)
    if subject.study.arrangement == "escrow":
        # In blind studies nothing is drawn for an item, and the positions stay where they are.
        yield from _parts(subject, latents, protected, ids)
    yield RIGHT, recovered


def _parts(
    subject: Subject, latents: LatentPyramid, protected: LatentPyramid, ids: tuple[str, ...]
) -> Iterator[tuple[str, LatentPyramid]]:
    paper = transform_of(subject, "fixed")
    assert paper is not None
    yield ALL_BUT_ITEM, paper.recover(protected, ids)
    without_item = paper.protect(latents, ids)
    yield ITEM, without_item
    places = {
        scale.name: torch.from_numpy(true_places(subject, scale)) for scale in subject.study.scales
    }
    ordered = {name: _take(value, places[name].argsort()) for name, value in without_item.items()}
    yield ORDER_KNOWN, LatentPyramid(ordered)
    scrambled = {name: _take(value, places[name]) for name, value in latents.items()}
    yield MIXING_KNOWN, LatentPyramid(scrambled)


def _wrong(number: int) -> str:
    return f"wrong key {number + 1} of {WRONG_KEYS}"


def _take(latents: Tensor, places: Tensor) -> Tensor:
    """The positions of ``(N, C, H, W)`` in another order."""
    return latents.flatten(2)[:, :, places].reshape(latents.shape)


def _measurements(
    found: dict[str, tuple[Likeness, Pictures]],
    baseline: Likeness,
    targets: GroupedSlices,
    seed: int,
) -> list[Measurement]:
    chance, groups = float(baseline.ssim.mean()), targets.groups
    wrong = np.mean([found[_wrong(number)][0].ssim for number in range(WRONG_KEYS)], axis=0)
    cases = {f"a wrong key (mean of {WRONG_KEYS})": wrong}
    cases |= {name: one.ssim for name, (one, _) in found.items() if not name.startswith("wrong")}
    shown = [
        mean_measurement(
            f"SSIM above that of the mean image, {name}",
            values - baseline.ssim,
            groups,
            seed,
            chance=0.0,
            at_most=0.0,
        )
        for name, values in list(cases.items())[:2]
    ]
    for name, values in cases.items():
        words = f"SSIM with the original, {name}"
        shown.append(ssim_measurement(words, values, groups, seed, chance=chance))
    return shown


def _pictures(
    originals: Pictures, baseline: Pictures, found: dict[str, tuple[Likeness, Pictures]]
) -> tuple[AuditPicture, ...]:
    middle = int(np.argsort(found[WITHOUT][0].ssim)[len(originals) // 2])
    pictures = [
        AuditPicture("original (the middle one by SSIM)", originals[middle]),
        AuditPicture("mean image of other patients", baseline[middle]),
    ]
    pictures += [
        AuditPicture(name, decoded[middle])
        for name, (_, decoded) in found.items()
        if not name.startswith("wrong") or name == _wrong(0)
    ]
    return tuple(pictures)


def _reading(found: dict[str, tuple[Likeness, Pictures]], baseline: Likeness) -> str:
    def mean(name: str) -> str:
        return f"{float(found[name][0].ssim.mean()):.2f}"

    text = (
        f"With the right key the decoder reaches an SSIM of {mean(RIGHT)}, with a wrong one "
        f"{mean(_wrong(0))} and with none {mean(WITHOUT)}; the mean image has "
        f"{float(baseline.ssim.mean()):.2f}."
    )
    if ALL_BUT_ITEM in found:
        text += (
            f" Who knows all but what is drawn for the item gets {mean(ALL_BUT_ITEM)}; who knows "
            f"that alone {mean(ITEM)}, with the order of the positions {mean(ORDER_KNOWN)}, with "
            f"mixing and bias {mean(MIXING_KNOWN)}."
        )
    return text
