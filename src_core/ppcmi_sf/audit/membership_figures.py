"""What is told of one model's membership: AUC of each way of asking, rates, and by patient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ppcmi_sf.audit import likelihood
from ppcmi_sf.audit.item_losses import Losses
from ppcmi_sf.audit.membership_pool import RATES, MembershipPool
from ppcmi_sf.audit.result import Measurement
from ppcmi_sf.audit.shadow_models import Shadows
from ppcmi_sf.audit.statistics import LEVEL, Interval, auc_interval, resolvable, tpr

AIM = (0.47, 0.53)
TPR_AIM = 0.02
REVERSED = ", read the other way round"


@dataclass(frozen=True, eq=False)
class ModelFigures:
    """Figures of one model.

    Attributes
    ----------
    scores
        By the name of its AUC: what each way gives each slice, more for a member.
    measurements
        The AUC farthest from guessing first.
    """

    pool: MembershipPool
    scores: Mapping[str, Losses]
    measurements: tuple[Measurement, ...]


def figures_of(
    what: str, pool: MembershipPool, losses: Losses, shadows: Shadows | None
) -> ModelFigures:
    """All ways of asking one model, whose losses are known."""
    ways = {"loss threshold": -losses}
    if shadows is not None:
        ways |= {
            "likelihood ratio, online": likelihood.online(losses, shadows),
            "likelihood ratio, offline": likelihood.offline(losses, shadows),
        }
    scores = {f"AUC, {what}, {how}": values for how, values in ways.items()}
    found = {name: _auc(name, pool, values) for name, values in scores.items()}
    ordered = sorted(found.values(), key=lambda one: -abs(one.value - 0.5))
    rates = [_rate(what, pool, _both_ways(ways, ordered, what), fpr) for fpr in RATES]
    best = max(ways, key=lambda how: found[f"AUC, {what}, {how}"].value)
    more = [_by_patient(f"AUC, {what}, {best}", pool, ways[best])]
    if shadows is not None:
        name = f"AUC, {what}, difficulty alone: no model of the site is asked"
        interval = pool.interval(likelihood.difficulty(shadows))
        more.append(Measurement.aimed(name, interval, len(losses), 0.5))
    return ModelFigures(pool, scores, (*ordered, *rates, *more))


def interval_of_the_farthest(models: list[ModelFigures], name: str) -> tuple[int, Interval]:
    """Among how many AUCs one was chosen, and its interval widened for that.

    By Bonferroni: without any membership, the farthest of twelve lies outside of an interval of
    95 % far more often than once in twenty times.
    """
    count = sum(len(model.scores) for model in models)
    (model,) = (model for model in models if name in model.scores)
    return count, model.pool.interval(model.scores[name], 1 - (1 - LEVEL) / count)


def _auc(name: str, pool: MembershipPool, scores: Losses) -> Measurement:
    least, most = AIM
    interval = pool.interval(scores)
    return Measurement.aimed(name, interval, len(scores), 0.5, least=least, most=most)


def _both_ways(
    ways: Mapping[str, Losses], found: list[Measurement], what: str
) -> dict[str, Losses]:
    """The ways, and the other way round where it tells more: an attacker would turn it, too."""
    turned = {one.name.removeprefix(f"AUC, {what}, ") for one in found if one.value < 0.5}
    return {**ways, **{how + REVERSED: -ways[how] for how in turned}}


def _rate(what: str, pool: MembershipPool, ways: Mapping[str, Losses], fpr: float) -> Measurement:
    """The most true positives that any way gets: an AUC near 0.5 may hide a few who are named."""
    inside = pool.members
    rates = {how: tpr(scores[inside], scores[~inside], fpr) for how, scores in ways.items()}
    how = max(rates, key=lambda way: rates[way])
    negatives, positives = int((~pool.members).sum()), int(pool.members.sum())
    name = f"true positives at {100 * fpr:g} % false ones, {what}, most of {len(ways)} ways: {how}"
    known = resolvable(negatives, fpr)
    if not known:
        name += f" (not resolved: {negatives} non-members, {round(1 / fpr)} are needed)"
    most = TPR_AIM if known and fpr == RATES[0] else None
    return Measurement.aimed(name, pool.rate(ways[how], fpr), positives, fpr, most=most)


def _by_patient(name: str, pool: MembershipPool, scores: Losses) -> Measurement:
    means, members = pool.by_patient(scores)
    interval = auc_interval(means[members], means[~members], pool.seed)
    name += ", mean over a patient's slices"
    return Measurement.aimed(name, interval, len(means), 0.5)
