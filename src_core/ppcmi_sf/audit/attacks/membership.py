"""Attack 7: find out whether a patient's slice was in a model's training.

Attacker
    Whoever has a model and a slice: a site with the mapping network, the server, or a thief of the
    site folder with its autoencoders.
Knowledge
    The slice with its mask, the model, and (for the likelihood ratio) slices like it on which
    shadow models are trained. For the mapping network also the latents of the slice, which a site
    has of its own and the server has in ``escrow``. Another site has neither these nor the site's
    encoders: it encodes the slice by its own, and asks the same network through its own adapters.
Method
    *Loss threshold*: what the model was trained on has a lower loss (Yeom et al., IEEE CSF 2018).
    *Likelihood ratio* (LiRA): shadow models, each trained on a random half of the patients, tell
    what loss this very slice has when it is in the training and when it is not (online), or when it
    is not (offline). As many members as non-members are asked about, in a full audit up to a
    hundred of the latter, which a rate at 1 % needs.
Source
    Carlini et al., "Membership inference attacks from first principles", IEEE S&P 2022.
Cost
    A short training for each shadow model: minutes.
Meaning
    AUC: the chance that a member gets a higher score than a non-member; 0.5 is guessing. The
    true-positive rate at few false ones tells whether *some* members can be named with certainty;
    it is that of the way of asking that gets the most.
    *Difficulty alone* asks no model of the site: far from 0.5, members and non-members differ as
    such (other patients, other quality), and so would any AUC.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ppcmi_sf.audit.item_losses import (
    Losses,
    latent_pairs,
    mapping_losses,
    partner_pairs,
    reconstruction_losses,
)
from ppcmi_sf.audit.learnt_by_heart import autoencoder_by_heart, network_by_heart
from ppcmi_sf.audit.membership_figures import (
    AIM,
    ModelFigures,
    figures_of,
    interval_of_the_farthest,
)
from ppcmi_sf.audit.membership_pool import RATES, MembershipPool, draw_pool
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.result import Attack, AttackResult, Measurement
from ppcmi_sf.audit.shadow_models import (
    Shadows,
    autoencoder_shadows,
    mapping_shadows,
)
from ppcmi_sf.audit.statistics import auc, resolvable
from ppcmi_sf.audit.subject import Subject
from ppcmi_sf.progress import Job
from ppcmi_sf.stages import Stages
from ppcmi_sf.training.mapping import SitePairs

STAGES = 3
PARTNER_MODELS = 2  # shadow models; as many as the site's own would double the time
BY_A_PARTNER = "mapping network by a partner's own autoencoders"

ATTACK = Attack(
    id="membership",
    title="Was this slice in the training?",
    attacker="whoever has a model and a slice: a site with the mapping network, the server, a "
    "thief of the site folder",
    knowledge="the slice with its mask and latents, the model, and similar slices on which shadow "
    "models are trained",
    method="loss threshold; likelihood ratio with shadow models trained on random halves of the "
    "patients (LiRA), online and offline",
    source="Yeom et al., IEEE CSF 2018; Carlini et al., IEEE S&P 2022",
    meaning="AUC: the chance that a member gets a higher score than a non-member. 0.5 is guessing. "
    "True positives at 1 % false ones: the share of members that can be named with few mistakes.",
    risk="somebody could find out that a certain patient's images were used, and so that the "
    "patient was treated here",
)


@dataclass
class _Found:
    models: list[ModelFigures] = field(default_factory=list)
    planted: list[Measurement] = field(default_factory=list)


def run(subject: Subject, options: AuditOptions) -> Job[AttackResult]:
    """Attack the mapping network, the image and the mask autoencoder."""
    pool = draw_pool(subject, options)
    found = _Found()
    stages = Stages(STAGES)
    yield from stages.run(_attack_network(subject, pool, options, found))
    for role in ("image", "mask"):
        yield from stages.run(_attack_autoencoder(subject, role, pool, options, found))
    farthest = max(
        (model.measurements[0] for model in found.models), key=lambda one: abs(one.value - 0.5)
    )
    rest = [one for model in found.models for one in model.measurements if one is not farthest]
    return AttackResult(
        ATTACK,
        (farthest, *rest, *found.planted),
        (),
        _reading(subject, pool, found, farthest),
        _not_tested(subject, options),
    )


def _attack_network(
    subject: Subject, pool: MembershipPool, options: AuditOptions, found: _Found
) -> Job[None]:
    """Ask the site's mapping network, if it has one, and one that learnt by heart."""
    if subject.network is None:
        return
    models = _models(options, "mapping")
    stages = Stages(models + 1 + (PARTNER_MODELS + 1 if subject.asking else 0))
    pairs = yield from stages.run(latent_pairs(subject, pool.slices, options.seed), weight=0)
    job = mapping_losses(subject.network, subject.network_site, pairs, subject.device)
    losses = yield from stages.run(job, weight=0)
    training = mapping_shadows(subject, pairs, pool.slices.groups, models, options)
    shadows = yield from stages.run(training, weight=models)
    found.models.append(figures_of("mapping network", pool, losses, shadows))
    found.planted.append((yield from stages.run(network_by_heart(subject, pool, pairs))))
    if subject.asking:
        through = _through_partners(subject, pool, options)
        found.models.append((yield from stages.run(through, weight=PARTNER_MODELS + 1)))


def _through_partners(
    subject: Subject, pool: MembershipPool, options: AuditOptions
) -> Job[ModelFigures]:
    """Ask the network as its other sites can, by their own autoencoders.

    The partner counts whose losses tell most; it trains shadow models, too.
    """
    tried: list[tuple[float, Losses, SitePairs]] = []
    for partner, mapping in subject.asking:
        pairs = yield from partner_pairs(subject, partner, mapping, pool.slices)
        losses = yield from mapping_losses(mapping.network, mapping.site, pairs, subject.device)
        told = auc(-losses[pool.members], -losses[~pool.members])
        tried.append((told, losses, pairs))
    _, losses, pairs = max(tried, key=lambda one: one[0])
    groups = pool.slices.groups
    shadows = yield from mapping_shadows(subject, pairs, groups, PARTNER_MODELS, options)
    return figures_of(BY_A_PARTNER, pool, losses, shadows)


def _attack_autoencoder(
    subject: Subject, role: str, pool: MembershipPool, options: AuditOptions, found: _Found
) -> Job[None]:
    """Ask one of the site's autoencoders; in a full audit also one that learnt by heart."""
    site, count = subject.site, subject.study.class_count
    model = site.image_autoencoder if role == "image" else site.mask_autoencoder
    models = _models(options, role)
    stages = Stages(models + 1 if models else 1)
    asking = reconstruction_losses(model, pool.slices, count, subject.device)
    losses = yield from stages.run(asking, weight=0)
    shadows: Shadows | None = None
    if models:
        training = autoencoder_shadows(subject, role, pool.slices, models, options)
        shadows = yield from stages.run(training, weight=models)
        planted = autoencoder_by_heart(subject, role, pool, shadows, options)
        found.planted.append((yield from stages.run(planted)))
    found.models.append(figures_of(f"{role} autoencoder", pool, losses, shadows))


def _models(options: AuditOptions, what: str) -> int:
    """Shadow models of a kind; an even number, since they come in complementary pairs."""
    if options.quick:
        return 2 if what == "mapping" else 0
    return 4 if what == "mapping" else 2


def _reading(subject: Subject, pool: MembershipPool, found: _Found, farthest: Measurement) -> str:
    members, others = int(pool.members.sum()), int((~pool.members).sum())
    groups = pool.slices.groups
    text = (
        f"{members} slices of {len(np.unique(groups[pool.members]))} patients of the training "
        f"against {others} slices of {len(np.unique(groups[~pool.members]))} other patients."
    )
    count, (value, low, high) = interval_of_the_farthest(found.models, farthest.name)
    text += (
        f" Farthest from guessing of {count} figures: {farthest.name.removeprefix('AUC, ')}: "
        f"{value:.2f} ({low:.2f} to {high:.2f}, widened since it was chosen among them)."
    )
    if low <= 0.5 <= high:
        text += (
            " This interval includes 0.5: with so few patients neither a leak nor its absence is "
            "shown."
        )
    elif value > AIM[1]:
        text += " So membership can be told better than by guessing."
    elif value < AIM[0]:
        text += (
            " Members have the *higher* losses: who knows that can turn the question round and "
            "tell membership better than by guessing, unless members and others differ as such "
            "(see difficulty alone)."
        )
    for one in found.planted:
        if one.low is None or one.low <= 0.5:
            text += (
                f" Even where slices are known by heart ({one.name.split(', ')[1]}) the interval "
                "reaches 0.5: with so few patients its figures say little."
            )
    for fpr in RATES:
        if not resolvable(others, fpr):
            text += (
                f" With {others} non-members a rate at {100 * fpr:g} % false positives cannot be "
                f"resolved ({round(1 / fpr)} are needed)."
            )
    if subject.network is None:
        text += " The site has no mapping network, so that was not attacked."
    return text


def _not_tested(subject: Subject, options: AuditOptions) -> tuple[str, ...]:
    open_points = [
        "more shadow models, or longer trained ones: they make the likelihood ratio stronger",
        "augmented copies of a slice as further questions",
        "slices that the site set apart count as non-members; where it trained with patience, "
        "they had a small say in when the training ended",
    ]
    if options.quick:
        open_points.append("the likelihood ratio on the autoencoders (only without --quick)")
    if subject.network is not None:
        open_points.append("the other sites' slices in the mapping network")
        if not subject.asking:
            open_points.append(
                "a partner who has the mapping network without this site's adapters and encoders, "
                "and encodes a slice by its own"
            )
    return tuple(open_points)
