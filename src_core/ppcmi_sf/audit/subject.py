"""What an audit attacks: one site's models, key and slices, in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppcmi_sf.keys import TransformShare
from ppcmi_sf.models.autoencoder import Autoencoder, one_hot
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.roles import Site
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.dataset import GridSlices

Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class GroupedSlices:
    """Slices with the patient of each, by number: no name gets into an audit.

    Attributes
    ----------
    grid
        The slices; their ``cases`` are numbers, too.
    groups
        int64 ``(N,)``: slices of one patient have the same number. Numbers are unique over
        all slices of a subject.
    """

    grid: GridSlices
    groups: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.grid)

    @classmethod
    def of(cls, grid: GridSlices, groups: Sequence[int]) -> GroupedSlices:
        """Put slices and the numbers of their patients together; names of cases are dropped."""
        numbers: dict[str, str] = {}
        for name in grid.cases:
            numbers.setdefault(name, str(len(numbers)))
        nameless = GridSlices(grid.images, grid.masks, tuple(numbers[name] for name in grid.cases))
        return cls(nameless, np.asarray(groups, dtype=np.int64))

    @property
    def group_count(self) -> int:
        """Number of patients."""
        return len(np.unique(self.groups))

    def take(self, indices: Indices) -> GroupedSlices:
        """Some of the slices, in this order."""
        return GroupedSlices(self.grid.take(indices), self.groups[indices])

    def images(self) -> Tensor:
        """float32 ``(N, C, H, W)`` in [0, 1]."""
        return torch.from_numpy(self.grid.images.astype(np.float32))

    def labels(self) -> Tensor:
        """uint8 ``(N, H, W)``, class indices."""
        return torch.from_numpy(self.grid.masks)

    def inputs(self, model: Autoencoder, class_count: int) -> Tensor:
        """What an autoencoder of images or of masks takes: float32 ``(N, C or K, H, W)``."""
        return self.images() if model.role == "image" else one_hot(self.labels(), class_count)

    def pictures(self) -> npt.NDArray[np.float32]:
        """Grey pictures ``(N, H, W)`` in [0, 1]: the mean of the channels."""
        grey: npt.NDArray[np.float32] = self.grid.images.astype(np.float32).mean(axis=1)
        return grey

    @staticmethod
    def join(parts: Sequence[GroupedSlices]) -> GroupedSlices:
        """One after the other."""
        grid = GridSlices.join([part.grid for part in parts])
        return GroupedSlices(grid, np.concatenate([part.groups for part in parts]))


@dataclass(frozen=True)
class PartnerNetwork:
    """The same mapping network as the attacked site's, with a partner's own adapters.

    Attributes
    ----------
    site
        The partner's name in it.
    mask_autoencoder
        The partner's, whose latents this network gives.
    """

    network: UnifiedMappingNetwork
    site: str
    mask_autoencoder: Autoencoder


@dataclass(frozen=True)
class Partner:
    """Another site's models, with that site's name; a network where it has one."""

    name: str
    image_autoencoder: Autoencoder
    mapping: PartnerNetwork | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """Everything an audit needs, in memory.

    Attributes
    ----------
    site
        The site that is attacked, with its key.
    share
        Of its client key, for parts of the transform.
    members, others
        Slices that the site's autoencoders were trained on, and those of patients that were
        set apart.
    public
        What an attacker trains on: like the site's, but of other patients than ``members``.
    public_is_own
        There are no public images: ``public`` is ``others``, which makes the attacker
        stronger (images of the very same scanner) and the training set small. The
        attacker is then not asked about these (see ``unknown``).
    network, network_site
        A mapping network, and the site's name in it.
    partners
        Other sites' models; empty: the audit trains surrogates.
    notes
        What else is to be told of the data, in plain words.
    surrogates
        What was trained for one attack, for the next; by :mod:`ppcmi_sf.audit.surrogates`.
    """

    study: StudySpec
    site: Site
    share: TransformShare
    members: GroupedSlices
    others: GroupedSlices
    public: GroupedSlices
    public_is_own: bool = True
    network: UnifiedMappingNetwork | None = None
    network_site: str = ""
    partners: tuple[Partner, ...] = ()
    notes: tuple[str, ...] = ()
    surrogates: dict[str, Autoencoder] = field(default_factory=dict, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.site.device

    @property
    def asking(self) -> list[tuple[Partner, PartnerNetwork]]:
        """The partners who have the mapping network themselves, and what they have."""
        return [(one, one.mapping) for one in self.partners if one.mapping is not None]

    @property
    def everything(self) -> GroupedSlices:
        """Members, then others."""
        return GroupedSlices.join([self.members, self.others])

    @cached_property
    def unknown(self) -> GroupedSlices:
        """Slices that an attacker who trains on ``public`` has not trained on."""
        if self.public_is_own:
            return self.members
        every, public = self.everything, set(self.public.grid.digests())
        is_unknown = [digest not in public for digest in every.grid.digests()]
        return every.take(np.flatnonzero(is_unknown))


def choose(slices: GroupedSlices, limit: int, seed: int) -> GroupedSlices:
    """At most ``limit`` slices, from as many patients as can be, drawn from the seed."""
    return slices.take(np.sort(_drawn(slices, limit, seed)))


def choose_in_turn(slices: GroupedSlices, limit: int, seed: int) -> GroupedSlices:
    """The same slices, ordered so that the first n are of as many patients as can be."""
    return slices.take(_drawn(slices, limit, seed))


def _drawn(slices: GroupedSlices, limit: int, seed: int) -> Indices:
    rng = np.random.default_rng((seed, 0xC4005E))
    turn: dict[int, int] = {}
    order = []
    for index in rng.permutation(len(slices)):
        group = int(slices.groups[index])
        turn[group] = turn.get(group, -1) + 1
        order.append((turn[group], index))
    order.sort(key=lambda entry: entry[0])  # stable: within a round in the drawn order
    return np.array([index for _, index in order[:limit]], dtype=np.intp)


def divide(slices: GroupedSlices, share: float, seed: int) -> tuple[GroupedSlices, GroupedSlices]:
    """Two parts without a common patient; about ``share`` of the slices are in the first.

    With one patient alone, its slices are divided: an attacker who knows some of a patient's
    slices is stronger, not weaker.
    """
    rng = np.random.default_rng((seed, 0xD171DE))
    groups = rng.permutation(np.unique(slices.groups))
    if len(groups) < 2:
        cut = max(1, min(len(slices) - 1, round(share * len(slices))))
        every = np.arange(len(slices))
        return slices.take(every[:cut]), slices.take(every[cut:])
    first: list[int] = [int(groups[0])]
    for group in groups[1:-1]:
        if np.isin(slices.groups, first).sum() >= share * len(slices):
            break
        first.append(int(group))
    inside = np.isin(slices.groups, first)
    return slices.take(np.flatnonzero(inside)), slices.take(np.flatnonzero(~inside))
