"""A new site joins a trained mapping network: only its adapters are trained, the trunk stays.

The other sites' results do not change by a bit, and a few pairs do, since an adapter pair is
nothing but 1×1 convolutions around a trunk that knows the task.
"""

from __future__ import annotations

from pathlib import Path

import torch

from ppcmi_sf.errors import ModelFileError, TrainingError
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.progress import Job
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.loop import FitReport, fit
from ppcmi_sf.training.mapping import MappingOptions, MappingTask, SitePairs


class JoiningTask(MappingTask):
    """The new adapters' batches and loss (see :class:`ppcmi_sf.training.loop.Task`).

    ``model`` is the new site's adapters alone; ``network`` is the network with them in it.
    """

    name = "Adapters of the new site"

    def __init__(
        self,
        study: StudySpec,
        network: UnifiedMappingNetwork,
        site: str,
        pairs: SitePairs,
        options: MappingOptions,
        device: torch.device,
    ) -> None:
        larger = _with_site(study, network, site)
        super().__init__(study, {site: pairs}, options, device, network=larger)
        # In evaluation mode throughout: the trunk's running averages stay as they are, too.
        self.network.requires_grad_(False).eval()
        self.model = self.network.adapters[-1].requires_grad_(True)


def join_mapping(
    study: StudySpec,
    network: UnifiedMappingNetwork,
    site: str,
    pairs: SitePairs,
    options: MappingOptions,
    *,
    device: torch.device,
    checkpoint: Path | None = None,
    signature: str = "",
) -> Job[tuple[UnifiedMappingNetwork, FitReport]]:
    """Give a copy of a trained network that knows one site more.

    Raises
    ------
    ModelFileError
        The network has no adapters, or knows the site already.
    TrainingError
        No pairs to train on, or the loss is not finite.
    """
    if pairs.validation.all():
        raise TrainingError(
            f"All pairs of site '{site}' are set apart for validation.",
            hint=f"Ask '{site}' to protect its training pairs again.",
        )
    task = JoiningTask(study, network, site, pairs, options, device)
    report = yield from fit(task, options.fit, checkpoint=checkpoint, signature=signature)
    return task.network.requires_grad_(True), report


def _with_site(
    study: StudySpec, network: UnifiedMappingNetwork, site: str
) -> UnifiedMappingNetwork:
    if not network.has_adapters:
        raise ModelFileError(
            "This mapping network has no adapters, so no site can join it.",
            hint="Train it anew with the pairs of every site.",
        )
    if site in network.site_names:
        raise ModelFileError(
            f"This mapping network knows site '{site}' already.",
            hint="Give the new site another name.",
        )
    larger = UnifiedMappingNetwork(study, (*network.site_names, site), adapters=True)
    weights = {name: value.detach().clone() for name, value in network.state_dict().items()}
    known = len(network.site_names)
    for name in larger.adapters[-1].state_dict():
        # Where latents are alike between sites, as in ``escrow``, their mean is nearly right.
        others = [weights[f"adapters.{number}.{name}"] for number in range(known)]
        weights[f"adapters.{known}.{name}"] = torch.stack(others).mean(dim=0)
    larger.load_state_dict(weights)
    return larger.to(next(network.parameters()).device)
