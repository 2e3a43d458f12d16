"""Attack 5: see the layout of an image in its protected latents, without any key.

Attacker
    Whoever reads protected latents: a mapping server, somebody who found an opened bundle.
Knowledge
    The protected latents of the attacked items; for the order of the positions, public images of
    the same kind and an autoencoder that the attacker trained on them.
Method
    Of each item the first principal component over the positions, and the map of the lengths of
    the centred features: mixing and bias change neither, but for a sign. Both are correlated with
    the image at the size of the features. Where positions are put into a new order, it is looked
    for in two ways. Over many items: which positions go together is matched with which places go
    together in public images. Within one item: positions with like features are taken for
    neighbours, and laid out by a spectral embedding.
Source
    Vogelstein et al., PLoS ONE 10(4), 2015 (graph matching); Belkin and Niyogi, Neural Computation
    15, 2003 (Laplacian eigenmaps).
Cost
    Seconds to a minute.
Meaning
    |r| is 1 for the picture itself, and what the mean image of other patients has with it is what
    knowing nothing gives. Precision of neighbours: of the pairs of positions that the attacker
    takes for neighbours, the share that are.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppcmi_sf.audit.exposure import (
    SETTING_WORDS,
    Setting,
    encode,
    encode_with,
    item_ids,
    protect,
    settings,
    true_places,
)
from ppcmi_sf.audit.invariants import first_component, norm_map
from ppcmi_sf.audit.likeness import mean_measurement, mean_pictures
from ppcmi_sf.audit.matching import MOST_PLACES, match_layout
from ppcmi_sf.audit.neighbours import (
    Places,
    chance_precision,
    correlation,
    laid_out,
    lay_out,
    likeness_over_items,
    likeness_within,
    neighbour_precision,
    shrink,
    symmetries,
)
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.result import Attack, AttackResult, AuditPicture, Measurement
from ppcmi_sf.audit.subject import GroupedSlices, Subject, choose, choose_in_turn
from ppcmi_sf.audit.surrogates import attackers_autoencoder
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.stages import Stages
from ppcmi_sf.study import ScaleSpec

Numbers = npt.NDArray[np.float64]

AS_THEY_LIE = "first component, positions as they lie"
NORMS = "map of lengths, positions as they lie"
OVER_ITEMS = "first component, order matched with public images"
WITHIN = "first component, laid out by likeness within the item"

ATTACK = Attack(
    id="layout",
    title="The layout of the image, without any key",
    attacker="whoever reads protected latents: a mapping server, or a finder of an opened bundle",
    knowledge="the protected latents of the attacked items, public images of the same kind, and "
    "which way up a picture belongs; no key",
    method="the first principal component of the features over the positions, and the map of "
    "their lengths; where positions are in a new order, those that go together are matched with "
    "places that go together in public images, or laid side by side within one item",
    source="Vogelstein et al., PLoS ONE 10(4), 2015 (graph matching); Belkin and Niyogi, Neural "
    "Computation 15, 2003 (Laplacian eigenmaps)",
    meaning="|r| with the image at the size of the features: 1 is the picture itself. The mean "
    "image of other patients is what knowing nothing gives.",
    risk="whoever opens a bundle sees a coarse picture of each image in it, without any key",
)


@dataclass
class _Study:
    """What the steps of this attack share.

    Attributes
    ----------
    laid_out_items, rounds
        How many items are laid out one by one; steps of the graph matching.
    scale
        The finest scale that has no more positions than graph matching can deal with.
    public
        The attacker's own latents of public images at that scale.
    small
        The images at that size, ``(N, H, W)``.
    tries
        By setting and method: |r| of each item, and the picture of each item that has one.
    precisions
        By setting, and over all items or within one: one figure for each item (or one in all).
    """

    subject: Subject
    targets: GroupedSlices
    latents: LatentPyramid
    seed: int
    laid_out_items: int
    rounds: int
    scale: ScaleSpec
    public: Tensor
    small: Numbers
    tries: dict[tuple[Setting, str], tuple[Numbers, Numbers]] = field(default_factory=dict)
    precisions: dict[tuple[Setting, str], Numbers] = field(default_factory=dict)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.scale.rows, self.scale.columns

    def add(self, setting: Setting, name: str, pictures: Numbers, *, any_way_up: bool) -> None:
        """Judge pictures ``(n, H, W)`` of the first n items."""
        best, shown = [], []
        for picture, image in zip(pictures, self.small, strict=False):
            ways = symmetries(picture) if any_way_up else [picture]
            found = [correlation(way, image) for way in ways]
            best.append(max(found))
            shown.append(ways[int(np.argmax(found))])
        self.tries[setting, name] = np.array(best), np.stack(shown)


def run(subject: Subject, options: AuditOptions) -> Job[AttackResult]:
    """Look at one scale in every setting."""
    # the first few are laid out one by one, and should be of as many patients
    targets = choose_in_turn(subject.unknown, options.item_limit, options.seed)
    stages = Stages(7)
    latents = yield from stages.run(encode(subject, targets))
    scale = _scale(subject)
    shape = scale.rows, scale.columns
    study = _Study(
        subject,
        targets,
        latents,
        options.seed,
        2 if options.quick else 12,
        3 if options.quick else 12,
        scale,
        (yield from stages.run(_public(subject, options, scale), 3)),
        shrink(targets.pictures(), shape),
    )
    means = shrink(mean_pictures(targets, subject.everything), shape)
    pairs = zip(means, study.small, strict=True)
    baseline = np.array([correlation(mean, image) for mean, image in pairs])
    for setting in settings(subject.study):
        yield from stages.run(_look(study, setting))
    return AttackResult(
        ATTACK,
        tuple(_measurements(study, baseline)),
        _pictures(study),
        _reading(study, baseline),
        (
            "coarser scales (they show less)",
            "solvers of puzzles that learn what images of this kind look like",
        ),
    )


def _scale(subject: Subject) -> ScaleSpec:
    for scale in subject.study.scales:
        if scale.rows * scale.columns <= MOST_PLACES:
            return scale
    raise PPCMIError(
        "The features of this study are too large for this attack.",
        hint="It is for images of up to 1024 x 1024 pixels.",
    )


def _public(subject: Subject, options: AuditOptions, scale: ScaleSpec) -> Job[Tensor]:
    """What the attacker compares with; only needed where positions are put into a new order."""
    if subject.study.arrangement == "blind":
        return torch.empty(0)
    public = choose(subject.public, options.item_limit, options.seed)
    own = yield from attackers_autoencoder(subject, options)
    latents = yield from encode_with(own, subject, public)
    return latents[scale.name]


def _look(study: _Study, setting: Setting) -> Job[None]:
    ids = item_ids(study.seed, len(study.targets))
    features = protect(study.subject, study.latents, ids, setting)[study.scale.name]
    component = first_component(features).numpy()
    count, (rows, columns) = len(component), study.shape
    study.add(setting, AS_THEY_LIE, component.reshape(count, rows, columns), any_way_up=False)
    lengths = norm_map(features).numpy().reshape(count, rows, columns)
    study.add(setting, NORMS, lengths, any_way_up=False)
    if setting == "none" or study.subject.study.arrangement == "blind":
        return
    flat = features.flatten(2)
    truth = true_places(study.subject, study.scale)
    stages = Stages(2)
    yield from stages.run(_over_items(study, setting, features, component, truth))
    yield from stages.run(_within_items(study, setting, flat, component, truth))


def _over_items(
    study: _Study, setting: Setting, features: Tensor, component: Numbers, truth: Places
) -> Job[None]:
    alike = likeness_over_items(features.flatten(2))
    precision = neighbour_precision(alike, truth, study.shape)
    study.precisions[setting, "over all items"] = np.array([precision])
    places = yield from match_layout(features, study.public, study.rounds)
    pictures = np.stack([laid_out(values, places).reshape(study.shape) for values in component])
    study.add(setting, OVER_ITEMS, pictures, any_way_up=True)


def _within_items(
    study: _Study, setting: Setting, flat: Tensor, component: Numbers, truth: Places
) -> Job[None]:
    precisions, pictures = [], []
    for number, one in enumerate(flat):
        alike = likeness_within(one)
        precisions.append(neighbour_precision(alike, truth, study.shape))
        yield Progress(number, len(flat), "laying positions out within an item")
        if number < study.laid_out_items:
            guessed = lay_out(alike, study.shape)
            pictures.append(laid_out(component[number], guessed).reshape(study.shape))
            yield Progress(number, len(flat), "laying positions out within an item")
    study.precisions[setting, "within one item"] = np.array(precisions)
    study.add(setting, WITHIN, np.stack(pictures), any_way_up=True)


def _best(study: _Study, setting: Setting) -> str:
    names = [name for at, name in study.tries if at == setting]
    return max(names, key=lambda name: float(study.tries[setting, name][0].mean()))


def _measurements(study: _Study, baseline: Numbers) -> list[Measurement]:
    chance = float(baseline.mean())

    def measured(name: str, values: Numbers, at: float, limit: float | None = None) -> Measurement:
        groups = study.targets.groups[: len(values)]
        ends = (0.0, 1.0) if limit is None else (-1.0, 1.0)  # that with an aim is a difference
        return mean_measurement(
            name, values, groups, study.seed, chance=at, at_most=limit, limits=ends
        )

    best = _best(study, "sent")
    sent = study.tries["sent", best][0]
    above = sent - baseline[: len(sent)]
    found = [
        measured(f"|r| with the image, best of all ({best}), as sent", sent, chance),
        measured("|r| above that of the mean image, best of all, as sent", above, 0.0, 0.0),
    ]
    for (setting, name), (values, _) in study.tries.items():
        words = f"|r| with the image, {name}, {SETTING_WORDS[setting]}"
        found.append(measured(words, values, chance))
    for (setting, name), values in study.precisions.items():
        words = f"precision of neighbours, {name}, {SETTING_WORDS[setting]}"
        found.append(measured(words, values, chance_precision(study.shape)))
    return found


def _pictures(study: _Study) -> tuple[AuditPicture, ...]:
    pictures = [AuditPicture("the image at the size of the features", _unit(study.small[0]))]
    for (setting, name), (_, shown) in study.tries.items():
        if name == _best(study, setting):
            picture = shown[0]
            if np.corrcoef(picture.ravel(), study.small[0].ravel())[0, 1] < 0:
                picture = -picture
            pictures.append(AuditPicture(f"{name}, {SETTING_WORDS[setting]}", _unit(picture)))
    return tuple(pictures)


def _unit(picture: Numbers) -> npt.NDArray[np.float32]:
    low, high = float(picture.min()), float(picture.max())
    stretched = (picture - low) / (high - low) if high > low else np.zeros_like(picture)
    return stretched.astype(np.float32)


def _reading(study: _Study, baseline: Numbers) -> str:
    best = _best(study, "sent")
    sent = float(study.tries["sent", best][0].mean())
    none = float(study.tries["none", _best(study, "none")][0].mean())
    return (
        f"Without a key, the best picture of the layout ({best}) has |r| = {sent:.2f} with the "
        f"image; the mean image of other patients has {float(baseline.mean()):.2f}, and the "
        f"features without transform {none:.2f}."
    )
