"""UnifiedMappingNetwork: image latent pyramids of every site to mask latent pyramids.

Two presets. ``paper`` maps each scale alone (:mod:`ppcmi_sf.models.mapping_paper`);
``fused`` is one network over all scales (:mod:`ppcmi_sf.models.mapping_fused`),
with two things around it for each site:

- *standardisation*: a mean per channel and one spread per scale, of the site's
  inputs and of its targets, so that sites and scales weigh alike;
- an *adapter* pair of 1×1 convolutions, which turns the site's own latent
  coordinates into the trunk's and back. Without it a ``blind`` server, which
  sees every site's latents in another basis, could not share one trunk. There
  the first one learns faster than the trunk, and the second one reads the site's
  mask latents out of the trunk's features by itself; in ``escrow``, where the
  sites' latents are alike, one for all sites does so before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from ppcmi_sf.errors import ModelFileError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.mapping_fused import FusedTrunk
from ppcmi_sf.models.mapping_paper import PaperTrunk
from ppcmi_sf.study import EXCHANGED_STAGES, AutoencoderPreset, ScaleSpec, StudySpec

TRUNK_WIDTHS: dict[AutoencoderPreset, tuple[int, ...]] = {
    "fine": (48, 96, 160, 256),
    "ppcmi-sf": (64, 128, 256),
    "small": (64, 64, 64),
}
"""Channels of the fused trunk's levels, for each preset of the autoencoders."""


TURNING = 2.0
"""How many times faster than the trunk a ``blind`` network learns to turn what a site sends."""


class _ScaleAdapter(nn.Module):
    """Standardisation and 1×1 convolutions of one site at one scale.

    Parameters
    ----------
    channels
        Of the latents.
    learned
        Whether there are convolutions.
    features
        Of the trunk at this scale, where each site's latents are in a basis of its own: it turns
        them fast, and reads its mask latents out by itself. ``None``: the trunk gives mask latents.
    """

    mean_in: Tensor
    spread_in: Tensor
    mean_out: Tensor
    spread_out: Tensor

    def __init__(self, channels: int, features: int | None, *, learned: bool) -> None:
        super().__init__()
        for name in ("in", "out"):
            self.register_buffer(f"mean_{name}", torch.zeros(channels))
            self.register_buffer(f"spread_{name}", torch.ones(()))
        # Adam moves a weight by the learning rate, so smaller weights before a factor learn faster.
        self.gain = 1.0 if features is None else TURNING
        self.convolve_in = _identity_convolution(channels, self.gain) if learned else nn.Identity()
        self.convolve_out: nn.Module = nn.Identity()
        if features is not None:
            self.convolve_out = nn.Conv2d(features, channels, 1)
        elif learned:
            self.convolve_out = _identity_convolution(channels)

    def enter(self, latents: Tensor) -> Tensor:
        standard = (latents - self.mean_in[:, None, None]) / self.spread_in
        adapted: Tensor = self.gain * self.convolve_in(standard)
        return adapted

    def leave(self, features: Tensor) -> Tensor:
        standard: Tensor = self.convolve_out(features)
        return standard * self.spread_out + self.mean_out[:, None, None]


def _trunk_widths(study: StudySpec) -> tuple[int, ...]:
    """Of the levels from the finest scale on: the bottleneck's, where nothing else is exchanged."""
    return TRUNK_WIDTHS[study.autoencoder][EXCHANGED_STAGES - len(study.scales) :]


def _identity_convolution(channels: int, gain: float = 1.0) -> nn.Conv2d:
    convolution = nn.Conv2d(channels, channels, 1)
    with torch.no_grad():
        convolution.weight.copy_(torch.eye(channels)[:, :, None, None] / gain)
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
    return convolution


class UnifiedMappingNetwork(nn.Module):
    """One mapping network for all sites.

    Parameters
    ----------
    study
        Decides preset and scales.
    sites
        Names of the sites that it is trained for.
    adapters
        Whether each site gets standardisation and adapters. Default: with
        ``fused`` yes, with ``paper`` no (the paper has neither).
    """

    def __init__(
        self, study: StudySpec, sites: Iterable[str], *, adapters: bool | None = None
    ) -> None:
        super().__init__()
        self.site_names = tuple(sites)
        self.scales = study.scales
        learned = study.mapping == "fused" if adapters is None else adapters
        self.has_adapters = learned
        widths = _trunk_widths(study)
        # One read-out for all sites, followed by one each, learns slowly where every site wants
        # its latents in another basis (docs/decisions/0031).
        own_read_out = learned and study.mapping == "fused" and study.arrangement == "blind"
        self.trunk = (
            FusedTrunk(self.scales, widths, read_out=not own_read_out)
            if study.mapping == "fused"
            else PaperTrunk(self.scales)
        )
        # By number, since a site's name may hold characters that a module's name may not.
        self.adapters = nn.ModuleList(
            nn.ModuleDict(
                {
                    scale.name: _ScaleAdapter(
                        scale.channels, width if own_read_out else None, learned=learned
                    )
                    for scale, width in zip(self.scales, widths, strict=False)
                }
            )
            for _ in self.site_names
        )

    def adapter(self, site: str, scale: ScaleSpec) -> _ScaleAdapter:
        """The adapter of a site at a scale.

        Raises
        ------
        ModelFileError
            The network was not trained with this site.
        """
        if site not in self.site_names:
            raise ModelFileError(
                f"This mapping network was not trained with site '{site}'; "
                f"it knows {', '.join(self.site_names)}.",
                hint="Train it again with a training bundle of that site.",
            )
        adapters = self.adapters[self.site_names.index(site)]
        assert isinstance(adapters, nn.ModuleDict)
        adapter = adapters[scale.name]
        assert isinstance(adapter, _ScaleAdapter)
        return adapter

    @torch.no_grad()
    def standardise(self, site: str, inputs: LatentPyramid, targets: LatentPyramid) -> None:
        """Set a site's means (per channel) and spreads (per scale) from its training pairs."""
        for scale in self.scales:
            adapter = self.adapter(site, scale)
            for name, values in (("in", inputs[scale.name]), ("out", targets[scale.name])):
                mean = values.float().mean(dim=(0, 2, 3))
                centred = values.float() - mean[:, None, None]
                getattr(adapter, f"mean_{name}").copy_(mean)
                getattr(adapter, f"spread_{name}").copy_(centred.std().clamp_min(1e-6))

    def forward(self, batch: Mapping[str, LatentPyramid]) -> dict[str, LatentPyramid]:
        """Map image latents to mask latents.

        Parameters
        ----------
        batch
            Site name to that site's image latents; sites share one pass.

        Returns
        -------
        dict
            Site name to its mask latents, same batch sizes.
        """
        entered = LatentPyramid.concatenate(
            LatentPyramid(
                {s.name: self.adapter(site, s).enter(pyramid[s.name]) for s in self.scales}
            )
            for site, pyramid in batch.items()
        )
        mapped = self.trunk(entered)
        result, start = {}, 0
        for site, pyramid in batch.items():
            part = mapped.items_at(slice(start, start + pyramid.batch_size))
            start += pyramid.batch_size
            result[site] = LatentPyramid(
                {s.name: self.adapter(site, s).leave(part[s.name]) for s in self.scales}
            )
        return result
