"""Training of the unified mapping network on the pairs of all sites."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ppcmi_sf.device import activation_bytes, place, require_memory, training_bytes
from ppcmi_sf.errors import TrainingError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.progress import Job
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.cut_mix import cut_mix
from ppcmi_sf.training.dataset import batch_count, require_two_values
from ppcmi_sf.training.fit_options import MAPPING_FIT, FitOptions
from ppcmi_sf.training.loop import FitReport, fit
from ppcmi_sf.training.losses import MappingLoss, mapping_loss
from ppcmi_sf.training.site_weights import MAX_SITE_WEIGHT, site_weights

CUT_MIX = 0.5  # docs/decisions/0033


@dataclass(frozen=True)
class SitePairs:
    """Training pairs of one site, as the server sees them (recovered, or protected if blind).

    Attributes
    ----------
    inputs, targets
        Image and mask latents, N items each, float16 or float32.
    validation
        bool ``(N,)``: items that the site set apart (split by patient).
    parts
        int64 ``(N,)``: which of the site's bundles each item came in, or ``None``: all in one. A
        site may keep a patient's pairs in one bundle (see :mod:`ppcmi_sf.training.cross_fit`).
    """

    inputs: LatentPyramid
    targets: LatentPyramid
    validation: npt.NDArray[np.bool_]
    parts: npt.NDArray[np.int64] | None = None

    def take(self, indices: npt.NDArray[np.intp]) -> SitePairs:
        """Some of the pairs, in this order."""
        index = torch.from_numpy(indices)
        parts = None if self.parts is None else self.parts[indices]
        inputs, targets = self.inputs.items_at(index), self.targets.items_at(index)
        return SitePairs(inputs, targets, self.validation[indices], parts)


@dataclass(frozen=True)
class MappingOptions:
    """How the server trains.

    Parameters
    ----------
    loss
        ``normalised`` divides each scale's MSE by its targets' variance, and the coarser scales
        weigh less (see :func:`~ppcmi_sf.training.losses.mapping_loss`); ``mse`` is the paper's.
    adapters
        See :class:`~ppcmi_sf.models.mapping.UnifiedMappingNetwork`.
    cut_mix
        Share of the training pairs in which a rectangle is another pair's (see
        :mod:`ppcmi_sf.training.cut_mix`): the network then learns single pairs less by heart.
        ``None``: :data:`CUT_MIX` with ``fused``; none with ``paper``, as in the paper.
    max_site_weight
        Largest share of the loss that one site has, however many pairs it sends; from three
        sites on (see :func:`ppcmi_sf.training.site_weights.site_weights`).
    """

    fit: FitOptions = field(default_factory=lambda: MAPPING_FIT)
    loss: MappingLoss = "normalised"
    adapters: bool | None = None
    cut_mix: float | None = None
    max_site_weight: float = MAX_SITE_WEIGHT

    def cut_mix_for(self, study: StudySpec) -> float:
        """The share of mixed pairs in a study."""
        if self.cut_mix is not None:
            return self.cut_mix
        return CUT_MIX if study.mapping == "fused" else 0.0


Pair = tuple[dict[str, LatentPyramid], dict[str, LatentPyramid]]


class MappingTask:
    """The mapping network's batches and loss (see :class:`ppcmi_sf.training.loop.Task`).

    Every batch holds items of every site, in proportion to their numbers.
    """

    name = "Mapping network"

    def __init__(
        self,
        study: StudySpec,
        pairs: Mapping[str, SitePairs],
        options: MappingOptions,
        device: torch.device,
        *,
        network: UnifiedMappingNetwork | None = None,
    ) -> None:
        self.pairs, self.options, self.device = pairs, options, device
        self._cut_mix = options.cut_mix_for(study)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(options.fit.seed)
            if network is None:
                network = UnifiedMappingNetwork(study, pairs, adapters=options.adapters)
        self._training = {name: np.flatnonzero(~p.validation) for name, p in pairs.items()}
        self._factors = _factors(self._training, options.max_site_weight)
        self._spreads: dict[str, dict[str, Tensor]] = {}
        for name, site in pairs.items():
            chosen = torch.from_numpy(self._training[name])
            inputs, targets = site.inputs.items_at(chosen), site.targets.items_at(chosen)
            if network.has_adapters:
                network.standardise(name, inputs, targets)
            self._spreads[name] = _spreads(targets, device)
        self.network = place(network, device)
        self.model: nn.Module = self.network

    def steps(self) -> int:
        """Batches per epoch."""
        total = sum(len(indices) for indices in self._training.values())
        return batch_count(total, self.options.fit.batch_size)

    def train_batches(self, epoch: int) -> Iterator[Pair]:
        """Shuffled batches, a function of seed and epoch."""
        rng = np.random.default_rng((self.options.fit.seed, epoch))
        # Each site's items lie evenly over the epoch, so that no batch is empty or of one item
        # however few items a site has.
        order = sorted(
            ((place + 0.5) / len(indices), name, index)
            for name, indices in self._training.items()
            for place, index in enumerate(rng.permutation(indices))
        )
        for part in np.array_split(np.arange(len(order)), self.steps()):
            chosen: dict[str, list[np.intp]] = {name: [] for name in self.pairs}
            for at in part:
                chosen[order[at][1]].append(order[at][2])
            yield self._mixed(
                self._load({name: np.array(items) for name, items in chosen.items()}), rng
            )

    def validation_batches(self) -> Iterator[Pair]:
        """The validation items of all sites."""
        size = self.options.fit.batch_size
        for name, site in self.pairs.items():
            indices = np.flatnonzero(site.validation)
            for start in range(0, len(indices), size):
                yield self._load({name: indices[start : start + size]})

    def loss(self, batch: Pair) -> Tensor:
        """Loss of a batch, each site weighing as many items as it has in it, up to its cap."""
        inputs, targets = batch
        mapped = self.network(inputs)
        count = sum(pyramid.batch_size for pyramid in inputs.values())
        terms = []
        for name, target in targets.items():
            spreads = self._spreads[name] if self.options.loss == "normalised" else None
            weight = self._factors[name] * target.batch_size / count
            terms.append(weight * mapping_loss(mapped[name], target, spreads))
        return sum(terms[1:], terms[0])

    def _load(self, chosen: Mapping[str, npt.NDArray[np.intp]]) -> Pair:
        inputs, targets = {}, {}
        for name, indices in chosen.items():
            if len(indices):
                index = torch.from_numpy(np.sort(indices))
                inputs[name] = self._take(self.pairs[name].inputs, index)
                targets[name] = self._take(self.pairs[name].targets, index)
        return inputs, targets

    def _mixed(self, batch: Pair, rng: np.random.Generator) -> Pair:
        inputs, targets = {}, {}
        for name in batch[0]:
            inputs[name], targets[name] = cut_mix(
                batch[0][name], batch[1][name], self._cut_mix, rng
            )
        return inputs, targets

    def _take(self, pyramid: LatentPyramid, index: Tensor) -> LatentPyramid:
        return pyramid.map(
            lambda value: value[index].to(
                self.device, torch.float32, memory_format=torch.channels_last
            )
        )


def _factors(training: Mapping[str, npt.NDArray[np.intp]], most: float) -> dict[str, float]:
    """By what each site's items are weighed up or down, so that no site exceeds its cap."""
    counts = {name: len(indices) for name, indices in training.items()}
    weights, total = site_weights(counts, most), sum(counts.values())
    return {name: weights[name] * total / count if count else 1.0 for name, count in counts.items()}


def _spreads(pyramid: LatentPyramid, device: torch.device) -> dict[str, Tensor]:
    """Standard deviation of each scale, about its channels' own means.

    About one common mean, the bias of a blind site's protected latents would count.
    """
    spreads = {}
    for name, value in pyramid.items():
        centred = value.float() - value.float().mean(dim=(0, 2, 3), keepdim=True)
        spreads[name] = centred.std().clamp_min(1e-6).to(device)
    return spreads


def train_mapping(
    study: StudySpec,
    pairs: Mapping[str, SitePairs],
    options: MappingOptions,
    *,
    device: torch.device,
    checkpoint: Path | None = None,
    signature: str = "",
) -> Job[tuple[UnifiedMappingNetwork, FitReport]]:
    """Train the mapping network on every site's pairs.

    Raises
    ------
    TrainingError
        No pairs, or the loss is not finite.
    ResourceError
        Memory will not do.
    """
    if not pairs:
        raise TrainingError(
            "There are no training pairs.", hint="Give training bundles of at least one site."
        )
    for name, site in pairs.items():
        if site.validation.all():
            raise TrainingError(
                f"All pairs of site '{name}' are set apart for validation.",
                hint=f"Ask '{name}' to protect its training pairs again, or leave the site out.",
            )
    require_two_values(sum(int((~site.validation).sum()) for site in pairs.values()), study)
    parameters, activations = _sizes(study, list(pairs), options)
    require_memory(
        training_bytes(parameters, activations, 0), device, "Training the mapping network"
    )
    task = MappingTask(study, pairs, options, device)
    report = yield from fit(task, options.fit, checkpoint=checkpoint, signature=signature)
    return task.network, report


def _sizes(study: StudySpec, sites: list[str], options: MappingOptions) -> tuple[int, int]:
    """Parameters, and bytes of a batch's activations (a convolution's and its norm's outputs)."""
    with torch.device("meta"):
        model = UnifiedMappingNetwork(study, sites, adapters=options.adapters)
        size = options.fit.batch_size
        one_site = {
            sites[0]: LatentPyramid({s.name: torch.empty(size, *s.shape) for s in study.scales})
        }
        activations = activation_bytes(model, one_site)
    return sum(value.numel() for value in model.parameters()), activations
