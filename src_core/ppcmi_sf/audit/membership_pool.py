"""Members of a training and others, who are asked about side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ppcmi_sf.audit.item_losses import Losses
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.statistics import LEVEL, Interval, auc_interval, tpr_at_fpr
from ppcmi_sf.audit.subject import GroupedSlices, Subject, choose
from ppcmi_sf.errors import PPCMIError

RATES = (0.01, 0.001)
"""Rates of false positives at which true ones are told."""


@dataclass(frozen=True, eq=False)
class MembershipPool:
    """Slices that are asked about.

    Attributes
    ----------
    slices
        Members first.
    members
        bool ``(N,)``: which were in the training.
    seed
        Of the resampling for intervals.
    """

    slices: GroupedSlices
    members: npt.NDArray[np.bool_]
    seed: int

    def interval(self, scores: Losses, level: float = LEVEL) -> Interval:
        """AUC of scores, which should be higher for members."""
        groups = self.slices.groups
        inside, outside = self.members, ~self.members
        return auc_interval(
            scores[inside],
            scores[outside],
            self.seed,
            groups[inside].tolist(),
            groups[outside].tolist(),
            level,
        )

    def rate(self, scores: Losses, fpr: float) -> Interval:
        """True positives at a rate of false ones."""
        groups = self.slices.groups
        inside, outside = self.members, ~self.members
        return tpr_at_fpr(
            scores[inside],
            scores[outside],
            fpr,
            seed=self.seed,
            groups_pos=groups[inside].tolist(),
            groups_neg=groups[outside].tolist(),
        )

    def by_patient(self, scores: Losses) -> tuple[Losses, npt.NDArray[np.bool_]]:
        """Mean score of each patient, and whether it is a member."""
        groups = np.unique(self.slices.groups)
        means = [float(scores[self.slices.groups == group].mean()) for group in groups]
        members = [bool(self.members[self.slices.groups == group].any()) for group in groups]
        return np.array(means), np.array(members, dtype=np.bool_)


def draw_pool(subject: Subject, options: AuditOptions) -> MembershipPool:
    """As many members as others; in a full audit up to a hundred others, to tell a rate at 1 %.

    Raises
    ------
    PPCMIError
        There are fewer than two patients on a side, or fewer than four slices.
    """
    members, others = subject.members, subject.others
    limit = min(len(members), len(others), 2 * options.item_limit)
    if min(members.group_count, others.group_count) < 2 or limit < 4:
        raise PPCMIError(
            "Membership needs slices of at least two patients of the training and of two that were "
            f"set apart; there are {members.group_count} and {others.group_count}.",
            hint="Give the audit a folder of patients that no training has seen.",
        )
    more = limit if options.quick or options.items else max(limit, round(1 / RATES[0]))
    parts = [choose(members, limit, options.seed), choose(others, more, options.seed)]
    flags = np.repeat([True, False], [len(part) for part in parts])
    return MembershipPool(GroupedSlices.join(parts), flags, options.seed)
