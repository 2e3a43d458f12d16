"""Site and MappingServer: the protocol, in symbols ``T ∘ M ∘ T⁻¹ ∘ T ∘ E_x``.

A site: ``x → E_x → T``; later ``T⁻¹ → D_y → mask``. The server: ``T⁻¹ → M → T``
in the ``escrow`` arrangement, where it holds each site's transform share;
``M`` alone in the ``blind`` one, where it holds nothing secret.
Every image or mask is an *item* with a random pseudonym, which travels with its latents and, in
``escrow``, picks its transform. A reply's items have the pseudonyms of the query's.
Files, folders and batches are the business of :mod:`ppcmi_sf.workflows`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy

import torch
from torch import Tensor

from ppcmi_sf.errors import KeyFileError
from ppcmi_sf.keys import ClientKey, TransformShare
from ppcmi_sf.latent_noise import LatentNoise
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.autoencoder import Autoencoder, one_hot
from ppcmi_sf.models.folding import folded
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.study import StudySpec
from ppcmi_sf.transform import KeyedLatentTransform, Role


class Site:
    """One hospital: its two autoencoders and its client key.

    Parameters
    ----------
    study
        What all sites agreed on.
    image_autoencoder, mask_autoencoder
        Trained at this site, and not trained any further; they never leave it.
    key
        This site's client key; it never leaves it either.
    noise
        Added to all latents before they are protected. Default: none.

    Raises
    ------
    StudyError
        The key belongs to another study.
    """

    def __init__(
        self,
        study: StudySpec,
        image_autoencoder: Autoencoder,
        mask_autoencoder: Autoencoder,
        key: ClientKey,
        noise: LatentNoise | None = None,
    ) -> None:
        self.study = study
        self.noise = noise
        self.image_autoencoder = image_autoencoder.eval()
        self.mask_autoencoder = mask_autoencoder.eval()
        self._image_model, self._mask_model = folded(image_autoencoder), folded(mask_autoencoder)
        self.device = next(image_autoencoder.parameters()).device
        share = key.transform_share()
        self._image_transform = KeyedLatentTransform(share, study, "image")
        self._mask_transform = KeyedLatentTransform(share, study, "mask")

    @torch.inference_mode()
    def protect_images(self, images: Tensor, items: Sequence[str]) -> LatentPyramid:
        """``T(E_x(x))`` of float32 images ``(B, C, H, W)`` in [0, 1] with B pseudonyms."""
        latents = self._image_model.encode(images.to(self.device))
        return self._image_transform.protect(self._noisy(latents), items)

    @torch.inference_mode()
    def protect_masks(self, labels: Tensor, items: Sequence[str]) -> LatentPyramid:
        """``T(E_y(y))`` of class indices ``(B, H, W)``."""
        masks = one_hot(labels.to(self.device), self.study.class_count)
        latents = self._mask_model.encode(masks)
        return self._mask_transform.protect(self._noisy(latents), items)

    @torch.inference_mode()
    def reveal_masks(self, protected: LatentPyramid, items: Sequence[str]) -> Tensor:
        """``D_y(T⁻¹(z'))``: class probabilities ``(B, K, H, W)``."""
        return self._mask_model.decode(self.recover_masks(protected, items))

    @torch.inference_mode()
    def recover_masks(self, protected: LatentPyramid, items: Sequence[str]) -> LatentPyramid:
        """``T⁻¹(z')``: mask latents, for the alignment of the decoder."""
        return self._mask_transform.recover(protected.to(self.device).to(torch.float32), items)

    @torch.inference_mode()
    def reconstruct_images(self, protected: LatentPyramid, items: Sequence[str]) -> Tensor:
        """``D_x(T⁻¹(z'))``: what the site's own decoder makes of its image latents."""
        latents = self._image_transform.recover(protected.to(self.device).to(torch.float32), items)
        return self._image_model.decode(latents)

    def with_noise(self, noise: LatentNoise | None) -> Site:
        """The same site, networks and key, with this noise on what it sends."""
        other = copy(self)
        other.noise = noise
        return other

    def with_image_autoencoder(self, autoencoder: Autoencoder) -> Site:
        """The same site and key with another image autoencoder."""
        other = copy(self)
        other.image_autoencoder, other._image_model = autoencoder.eval(), folded(autoencoder)
        return other

    def _noisy(self, latents: LatentPyramid) -> LatentPyramid:
        return latents if self.noise is None else self.noise(latents)


class MappingServer:
    """Holds the mapping network and, in ``escrow``, a transform share of each site.

    Parameters
    ----------
    study
        What all sites agreed on.
    shares
        Site name to transform share; empty in the ``blind`` arrangement.
    network
        The mapping network, once it is trained.
    """

    def __init__(
        self,
        study: StudySpec,
        shares: Mapping[str, TransformShare],
        network: UnifiedMappingNetwork | None = None,
    ) -> None:
        self.study = study
        self.shares = dict(shares)
        self.network = network.eval() if network is not None else None
        self._folded = folded(network) if network is not None else None
        self._transforms: dict[tuple[str, Role], KeyedLatentTransform] = {}

    @torch.inference_mode()
    def read(
        self, site: str, role: Role, protected: LatentPyramid, items: Sequence[str]
    ) -> LatentPyramid:
        """What the server works on: ``T⁻¹(z')`` in ``escrow``, ``z'`` itself in ``blind``."""
        if self.study.arrangement == "blind":
            return protected
        return self._transform(site, role).recover(protected, items)

    @torch.inference_mode()
    def map(self, site: str, protected: LatentPyramid, items: Sequence[str]) -> LatentPyramid:
        """Protected image latents of a site to its protected mask latents, item by item."""
        assert self._folded is not None, "train the mapping network first"
        device = next(self._folded.parameters()).device
        latents = self.read(site, "image", protected.to(device).to(torch.float32), items)
        mapped: LatentPyramid = self._folded({site: latents})[site]
        if self.study.arrangement == "blind":
            return mapped
        return self._transform(site, "mask").protect(mapped, items)

    def _transform(self, site: str, role: Role) -> KeyedLatentTransform:
        if site not in self.shares:
            raise KeyFileError(
                f"The server holds no transform share of site '{site}'.",
                hint=f"Ask '{site}' for one (ppcmi share-transform) and give it with --share.",
            )
        if (site, role) not in self._transforms:
            self._transforms[site, role] = KeyedLatentTransform(self.shares[site], self.study, role)
        return self._transforms[site, role]
