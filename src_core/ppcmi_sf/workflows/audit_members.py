"""Who was in a site's training: by the slices themselves, not by the names of their patients.

A data folder changes: patients are added, files renamed, the manifest mended. An audit that took
these for members, or members for others, would find less of a leak than there is.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ppcmi_sf.audit.subject import GroupedSlices
from ppcmi_sf.data import Case


class KnownSlices:
    """Tells slices of the training from others, and what was left out for it.

    Parameters
    ----------
    digests
        Of the slices that the site was trained on; without any, all is taken as it is given.
    """

    def __init__(self, digests: Sequence[str]) -> None:
        self._digests = frozenset(digests)
        self.notes: list[str] = []
        if not digests:
            self.notes.append(
                "who was in the training is taken from the patients' names: the site was trained "
                "before its slices were noted"
            )

    def learned(self, slices: GroupedSlices) -> GroupedSlices:
        """Those that the site was trained on."""
        return self._part(slices, True, "of the data folder: the site was not trained on them")

    def strange(self, slices: GroupedSlices, what: str) -> GroupedSlices:
        """Those that it was not trained on."""
        return self._part(slices, False, f"that were to be {what}: the site was trained on them")

    def compare_names(self, own: Sequence[Case], more: Sequence[Case], what: str) -> None:
        """Note patients of the same name in both; that may be one patient, or two.

        Names are not trusted to leave anybody out: many folders count their patients from 1.
        """
        count = len({case.group for case in own} & {case.group for case in more})
        if count:
            self.notes.append(
                f"{count} patients of those given as {what} are named like patients of the data "
                "folder: if they are the same people, some count as other patients who are not, "
                "and attacks look weaker or stronger than they are"
            )

    def new(self, slices: GroupedSlices, *taken: GroupedSlices) -> GroupedSlices:
        """Those that are not among others: counted twice, one patient would pass for two."""
        there = {digest for part in taken for digest in part.grid.digests()}
        is_new = [digest not in there for digest in slices.grid.digests()]
        kept = slices.take(np.flatnonzero(is_new))
        if len(kept) < len(slices):
            count = len(slices) - len(kept)
            self.notes.append(f"left out {count} slices that are in the data folder, too")
        return kept

    def _part(self, slices: GroupedSlices, wanted: bool, why: str) -> GroupedSlices:
        if not self._digests:
            return slices
        known = [digest in self._digests for digest in slices.grid.digests()]
        kept = slices.take(np.flatnonzero(np.array(known, dtype=np.bool_) == wanted))
        if len(kept) < len(slices):
            self.notes.append(f"left out {len(slices) - len(kept)} slices {why}")
        return kept
