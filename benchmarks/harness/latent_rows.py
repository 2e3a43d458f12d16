"""Rows that train on latents: autoencoders, pairs, mapping network, alignment, joining."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from harness.budget import Stage, fit_within, options_for, timed
from harness.cache import StageCache
from harness.data import BenchmarkData, base_study, divide_slices, joining_site
from harness.exchange import (
    FRESH,
    Answering,
    Copies,
    alignment_pairs,
    make_key,
    make_server,
    make_site,
    training_pairs,
)
from harness.plan import DataSet, Plan, Step
from harness.rows import Row
from harness.traffic import joining_bytes, model_bytes, pair_bytes, query_bytes, reply_bytes
from ppcmi_sf.device import device_model, place
from ppcmi_sf.errors import TrainingError
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.blocks import PyramidPooling
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.roles import MappingServer, Site
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.alignment import AlignmentOptions, AlignmentTask, with_decoder
from ppcmi_sf.training.autoencoders import AutoencoderOptions, AutoencoderTask
from ppcmi_sf.training.dataset import SiteData
from ppcmi_sf.training.encoder_alignment import (
    EncoderAlignmentOptions,
    EncoderAlignmentTask,
    LatentReader,
    with_encoder,
)
from ppcmi_sf.training.joining import JoiningTask
from ppcmi_sf.training.mapping import MappingOptions, MappingTask, SitePairs
from ppcmi_sf.transform import Role

ROLES: tuple[Role, ...] = ("image", "mask")
HELD_BACK = 4  # one training slice of so many, when alignment is on images held back


@dataclass
class LatentRun:
    """One row with one seed on one data set: what it needs, and what it took."""

    plan: Plan
    dataset: DataSet
    row: Row
    data: BenchmarkData
    seed: int
    cache: StageCache
    device: torch.device
    stages: list[Stage] = field(default_factory=list)
    training_bytes: int = 0
    parameters: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.study: StudySpec = base_study(
            self.plan,
            self.dataset,
            autoencoder=self.plan.preset_of(self.row),
            mapping=self.row.mapping,
            arrangement=self.row.arrangement,
            use_skips=self.row.use_skips,
        )
        self.shares = self.row.shares or self.plan.shares
        self.budget = self.plan.budget_cpu_seconds * self.row.budget_factor

    def train(self) -> Answering:
        """Train everything; the collaboration that answers."""
        sites = {name: self._site(name, len(self.data.sites)) for name in self.data.sites}
        held, kept = self._parts()
        pairs = {name: self._pairs(name, site, kept[name]) for name, site in sites.items()}
        networks = self._networks(pairs)
        self.parameters["mapping"] = sum(count_parameters(one) for one in set(networks.values()))
        servers = {name: self._server(networks[name]) for name in sites}
        if self.row.alignment is not None:
            sites = {
                name: self._aligned(name, site, servers[name], held[name])
                for name, site in sites.items()
            }
        return Answering(sites, servers)

    def left(self) -> float:
        """What is left of the budget."""
        return self.budget - sum(stage.cpu_seconds for stage in self.stages)

    def _site(self, name: str, among: int) -> Site:
        shares = {"image": self.shares.image, "mask": self.shares.mask}
        models = {
            role: self._autoencoder(name, role, shares[role] * self.budget / among)
            for role in ROLES
        }
        self.parameters["autoencoders"] = sum(count_parameters(one) for one in models.values())
        return self._make_site(name, models["image"], models["mask"])

    def _make_site(self, name: str, image: Autoencoder, mask: Autoencoder) -> Site:
        row = self.row
        return make_site(self.study, name, image, mask, self.seed, keyed=row.keyed, noise=row.noise)

    def _autoencoder(self, name: str, role: str, budget: float) -> Autoencoder:
        data, row = self.data.sites[name], self.row
        options = AutoencoderOptions(
            fit=options_for(self.plan.steps.autoencoder, self.seed),
            mask_loss=row.mask_loss,
            latent_noise=row.latent_noise,
            guidance=row.guidance,
        )

        def train(stage: Stage) -> nn.Module:
            task = AutoencoderTask(self.study, role, data, options, self.device)
            fit_within(task, options.fit, budget, self.plan, stage)
            return task.autoencoder

        settings: dict[str, Any] = {
            "data": data.signature(),
            "budget": budget,
            "size": self.study.image_size,
            "preset": self.study.autoencoder,
            "modality": self.study.modality,
            "classes": self.study.class_count,
            "skips": row.use_skips,
            "fit": options.fit,
            "limits": (self.plan.max_epochs, self.plan.checks),
            "device": device_model(self.device),
        }
        if role == "mask":
            settings |= {"loss": row.mask_loss, "noise": row.latent_noise}
        else:
            guidance = options.guidance_for(self.study)
            settings |= {"loss": row.mask_loss, "guidance": guidance} if guidance else {}
        return self._staged(f"{role}-autoencoder", name, settings, role, train)

    def _staged(
        self, kind: str, site: str, settings: Mapping[str, Any], role: str, train: Any
    ) -> Autoencoder:
        network, stage = self.cache.get_or_train(
            settings, lambda: Autoencoder(self.study, role), train, Stage(kind, site)
        )
        self.stages.append(stage)
        assert isinstance(network, Autoencoder)
        return place(network, self.device)

    def _parts(self) -> tuple[dict[str, SiteData], dict[str, SiteData]]:
        """Slices for alignment, and those for the mapping network's pairs."""
        if self.row.alignment != "held-back":
            return dict(self.data.sites), dict(self.data.sites)
        held, kept = {}, {}
        for name, data in self.data.sites.items():
            slices = len(data.training)
            if slices < 2:
                raise TrainingError(
                    f"Site '{name}' has one training slice: none can be held back from the pairs.",
                    hint="Leave the rows with alignment on images held back out of the plan.",
                )
            count = min(max(2, slices // HELD_BACK), slices // 2)
            held[name], kept[name] = divide_slices(data, count)
        return held, kept

    def _pairs(self, name: str, site: Site, data: SiteData) -> SitePairs:
        stage = Stage("pairs", name)
        share = self.shares.pairs * self.budget / len(self.data.sites)
        server = self._server(None)
        with timed(stage):
            once = training_pairs(site, server, name, Copies(self.study, data, 0, 1, self.seed))
        copies = self._copies(data, stage.cpu_seconds, share)
        pairs = once
        if copies > 1:
            stage = Stage("pairs", name)
            with timed(stage):
                every = Copies(self.study, data, 0, copies, self.seed)
                pairs = training_pairs(site, server, name, every)
        stage.notes = {"copies": copies, "pairs": len(pairs.validation)}
        self.stages.append(stage)
        self.training_bytes += pair_bytes(self.study, len(pairs.validation))
        self.training_bytes += joining_bytes(self.row.arrangement)
        return pairs

    def _copies(self, data: SiteData, seconds: float, share: float) -> int:
        most = self.row.copies
        if most is None:
            most = 1 if self.row.mapping == "paper" else self.plan.copies
        slices = len(data.training) + len(data.validation)
        each = seconds / slices * len(data.training)
        return max(1, min(most, int(share / max(each, 1e-6))))

    def _networks(self, pairs: Mapping[str, SitePairs]) -> dict[str, UnifiedMappingNetwork]:
        later = self.shares.alignment if self.row.alignment or self._joins else 0.0
        budget = max(self.left() - later * self.budget, 0.05 * self.budget)
        if not self.row.separate:
            network = self._mapping("", pairs, budget)
            return dict.fromkeys(pairs, network)
        each = budget / len(pairs)
        return {name: self._mapping(name, {name: one}, each) for name, one in pairs.items()}

    @property
    def _joins(self) -> bool:
        return self.row.kind == "new-site"

    def _mapping(
        self, site: str, pairs: Mapping[str, SitePairs], budget: float
    ) -> UnifiedMappingNetwork:
        options = self._mapping_options(self.plan.steps.mapping)
        stage = Stage("mapping", site)
        task = MappingTask(self.study, pairs, options, self.device)
        if not self.row.pooling:
            remove_pooling(task.network)
        fit_within(task, options.fit, budget, self.plan, stage)
        self.stages.append(stage)
        return task.network.eval()

    def _mapping_options(self, step: Step) -> MappingOptions:
        row = self.row
        own = Step(
            batch_size=row.batch_size or step.batch_size,
            learning_rate=row.learning_rate or step.learning_rate,
        )
        return MappingOptions(
            fit=options_for(own, self.seed),
            loss=row.mapping_loss,
            adapters=row.adapters,
            cut_mix=row.cut_mix,
        )

    def _server(self, network: UnifiedMappingNetwork | None) -> MappingServer:
        names = list(self.data.sites)
        return make_server(self.study, names, self.seed, network, keyed=self.row.keyed)

    def _aligned(self, name: str, site: Site, server: MappingServer, data: SiteData) -> Site:
        if self.row.alignment == "encoder":
            return self._with_aligned_encoder(name, site, server, data)
        stage = Stage("alignment", name)
        budget = self.shares.alignment * self.budget / len(self.data.sites)
        options = AlignmentOptions(
            fit=options_for(self.plan.steps.alignment, self.seed), mask_loss=self.row.mask_loss
        )
        first = 0 if self.row.alignment == "same" else FRESH
        with timed(stage):
            once = alignment_pairs(
                site, server, name, Copies(self.study, data, first, 1, self.seed)
            )
        copies = self._copies(data, stage.cpu_seconds, budget / 2)
        if copies > 1:
            stage = Stage("alignment", name)
            with timed(stage):
                every = Copies(self.study, data, first, copies, self.seed)
                once = alignment_pairs(site, server, name, every)
        task = AlignmentTask(self.study, site.mask_autoencoder, once, options, self.device)
        fit_within(task, options.fit, max(budget - stage.cpu_seconds, 1e-3), self.plan, stage)
        stage.notes |= {"copies": copies}
        self.stages.append(stage)
        images = len(once.validation)
        self.training_bytes += query_bytes(self.study, images) + reply_bytes(self.study, images)
        aligned = with_decoder(site.mask_autoencoder, task)
        return self._make_site(name, site.image_autoencoder, aligned)

    def _with_aligned_encoder(
        self, name: str, site: Site, server: MappingServer, data: SiteData
    ) -> Site:
        assert server.network is not None
        options = EncoderAlignmentOptions(
            fit=options_for(self.plan.steps.encoder_alignment, self.seed),
            mask_loss=self.row.mask_loss,
        )
        share = make_key(self.study, name, self.seed).transform_share()
        decoder = site.mask_autoencoder.decoder
        reader = LatentReader(self.study, server.network, name, decoder, share)
        encoder = site.image_autoencoder.encoder
        task = EncoderAlignmentTask(self.study, encoder, reader, data, options, self.device)
        stage = Stage("alignment", name)
        budget = self.shares.alignment * self.budget / len(self.data.sites)
        fit_within(task, options.fit, budget, self.plan, stage)
        self.stages.append(stage)
        self.training_bytes += model_bytes(server.network)
        aligned = with_encoder(site.image_autoencoder, task)
        return self._make_site(name, aligned, site.mask_autoencoder)


class NewSiteRun(LatentRun):
    """The last site joins a network that the others have trained."""

    def train_others(self) -> None:
        """Train without the last site."""
        whole = self.data
        self.joiner = joining_site(whole)
        others = [name for name in whole.sites if name != self.joiner]
        self.data = whole.only(others)
        answering = self.train()
        self._network = next(iter(answering.servers.values())).network
        self._before = list(self.stages)
        self.data = whole.only([self.joiner])
        self._joining_site = self._site(self.joiner, len(others))
        self._own = self.stages[len(self._before) :]
        self.data = whole

    def others_seconds(self) -> float:
        """Processor time that the others' training took."""
        return sum(stage.cpu_seconds for stage in self._before)

    def join(self, pairs: int) -> tuple[Answering, list[Stage]]:
        """Let the last site join with so many of its slices; also what that alone took."""
        assert self._network is not None
        name, site = self.joiner, self._joining_site
        data, _ = divide_slices(self.data.sites[name], pairs)
        self.stages, self.training_bytes = [], 0
        known = self._pairs(name, site, data)
        options = self._mapping_options(self.plan.steps.joining)
        stage = Stage("joining", name)
        task = JoiningTask(self.study, self._network, name, known, options, self.device)
        budget = self.shares.alignment * self.budget
        fit_within(task, options.fit, budget, self.plan, stage)
        self.stages.append(stage)
        spent = [*self._own, *self.stages]
        server = self._server(task.network.eval())
        return Answering({name: site}, {name: server}), spent


def remove_pooling(network: UnifiedMappingNetwork) -> None:
    """Take the pyramid pooling out of the paper's mapping blocks."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, PyramidPooling):
                setattr(module, name, nn.Identity())


def count_parameters(model: nn.Module) -> int:
    """Parameters of a network."""
    return sum(value.numel() for value in model.parameters())
