"""What sites and server exchange, in memory: the roles of the engine, rounded as in bundles."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppcmi_sf.bundle import Precision, new_item_id
from ppcmi_sf.bundle.payload import decode, encode
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latent_noise import LatentNoise
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.autoencoder import Autoencoder, one_hot
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.roles import MappingServer, Site
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.alignment import AlignmentPairs
from ppcmi_sf.training.dataset import GridSlices, SiteData
from ppcmi_sf.training.mapping import SitePairs
from ppcmi_sf.training.slice_batches import augmenter_for
from ppcmi_sf.workflows.batches import BATCH
from ppcmi_sf.workflows.protect import default_precision

Items = Sequence[str]

FRESH = 1000  # number of the first augmented copy that the mapping network never sees


class UnkeyedSite(Site):
    """A site whose latents travel as they are: the ablation without keyed transform."""

    @torch.inference_mode()
    def protect_images(self, images: Tensor, items: Items) -> LatentPyramid:
        """``E_x(x)``."""
        return self._noisy(self.image_autoencoder.encode(images.to(self.device)))

    @torch.inference_mode()
    def protect_masks(self, labels: Tensor, items: Items) -> LatentPyramid:
        """``E_y(y)``."""
        masks = one_hot(labels.to(self.device), self.study.class_count)
        return self._noisy(self.mask_autoencoder.encode(masks))

    @torch.inference_mode()
    def recover_masks(self, protected: LatentPyramid, items: Items) -> LatentPyramid:
        """Nothing is to be undone."""
        return protected.to(self.device).to(torch.float32)


class UnkeyedServer(MappingServer):
    """The server of such sites: nothing to undo, nothing to protect."""

    @torch.inference_mode()
    def read(self, site: str, role: str, protected: LatentPyramid, items: Items) -> LatentPyramid:
        """What the server works on: what it got."""
        return protected

    @torch.inference_mode()
    def map(self, site: str, protected: LatentPyramid, items: Items) -> LatentPyramid:
        """Image latents to mask latents."""
        assert self.network is not None
        device = next(self.network.parameters()).device
        latents = protected.to(device).to(torch.float32)
        mapped: LatentPyramid = self.network({site: latents})[site]
        return mapped


def make_key(study: StudySpec, site: str, seed: int) -> ClientKey:
    """A key that is the same in every run, so that a run can be repeated."""
    secret = hashlib.sha256(f"benchmark key of {site}, seed {seed}".encode()).digest()
    return ClientKey(site, study.fingerprint, 1, secret)


def make_site(
    study: StudySpec,
    name: str,
    image: Autoencoder,
    mask: Autoencoder,
    seed: int,
    *,
    keyed: bool,
    noise: float = 0.0,
) -> Site:
    """A site in its role; with ``noise`` on all that it sends, the same for the same seed."""
    key, added = make_key(study, name, seed), LatentNoise(noise, seed=seed) if noise else None
    return (Site if keyed else UnkeyedSite)(study, image, mask, key, added)


def make_server(
    study: StudySpec,
    names: list[str],
    seed: int,
    network: UnifiedMappingNetwork | None,
    *,
    keyed: bool,
) -> MappingServer:
    """The server in its role; with the sites' transform shares in ``escrow``."""
    if not keyed:
        return UnkeyedServer(study, {}, network)
    shares = {name: make_key(study, name, seed).transform_share() for name in names}
    return MappingServer(study, shares if study.arrangement == "escrow" else {}, network)


def through_bundle(pyramid: LatentPyramid, precision: Precision = "float16") -> LatentPyramid:
    """What is left of float32 latents at the other end."""
    return LatentPyramid(
        {
            name: torch.from_numpy(decode(name, encode(name, value.cpu().numpy(), precision)))
            for name, value in pyramid.items()
        }
    )


def new_items(count: int) -> Items:
    """Pseudonyms, as many as there are items."""
    return tuple(new_item_id() for _ in range(count))


@dataclass(frozen=True)
class Copies:
    """Slices of a site with augmented copies, a batch at a time.

    Attributes
    ----------
    first, count
        Copy 0 is the slice as it is; the others depend on seed and number. Validation slices
        come once, as they are.
    """

    study: StudySpec
    data: SiteData
    first: int
    count: int
    seed: int

    def __len__(self) -> int:
        return self.count * len(self.data.training) + len(self.data.validation)

    def batches(self) -> Iterator[tuple[Tensor, npt.NDArray[np.uint8], bool]]:
        """Images, masks, and whether they are of the validation part."""
        augment = augmenter_for(self.study)
        for part, apart in ((self.data.training, False), (self.data.validation, True)):
            numbers = (0,) if apart else range(self.first, self.first + self.count)
            entries = [(index, copy) for copy in numbers for index in range(len(part))]
            for start in range(0, len(entries), BATCH):
                pairs = [
                    self._load(part, index, copy, augment)
                    for index, copy in entries[start : start + BATCH]
                ]
                images = torch.from_numpy(np.stack([image for image, _ in pairs]))
                yield images, np.stack([mask for _, mask in pairs]), apart

    def _load(
        self, part: GridSlices, index: int, copy: int, augment: object
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        image, mask = part.images[index].astype(np.float32), part.masks[index]
        if copy:
            return augment(image, mask, (self.seed, copy, index))  # type: ignore[operator,no-any-return]
        return image, mask


def training_pairs(site: Site, server: MappingServer, name: str, copies: Copies) -> SitePairs:
    """What the server has of a site after it has read its training bundles."""
    precision = default_precision("training", site.study)
    read: dict[str, list[LatentPyramid]] = {"image": [], "mask": []}
    flags: list[bool] = []
    for images, masks, apart in copies.batches():
        items = new_items(len(images))
        sent = {
            "image": site.protect_images(images, items),
            "mask": site.protect_masks(torch.from_numpy(masks), items),
        }
        for role, protected in sent.items():
            recovered = server.read(name, role, through_bundle(protected, precision), items)
            read[role].append(recovered.to(torch.float16))
        flags.extend([apart] * len(images))
    # Clones: tensors made in inference mode may not enter a training.
    inputs, targets = (
        LatentPyramid.concatenate(read[role]).map(torch.clone) for role in ("image", "mask")
    )
    return SitePairs(inputs, targets, np.array(flags, np.bool_))


def alignment_pairs(site: Site, server: MappingServer, name: str, copies: Copies) -> AlignmentPairs:
    """What a site has after it has asked for the mapped latents of its own images."""
    mapped, masks, flags = [], [], []
    for images, labels, apart in copies.batches():
        items = new_items(len(images))
        reply = server.map(name, through_bundle(site.protect_images(images, items)), items)
        recovered = site.recover_masks(through_bundle(reply), items)
        mapped.append(recovered.to(torch.float16))
        masks.append(labels)
        flags.extend([apart] * len(images))
    return AlignmentPairs(
        LatentPyramid.concatenate(mapped).map(torch.clone),
        np.concatenate(masks),
        np.array(flags, np.bool_),
    )


@dataclass(frozen=True)
class Answering:
    """A trained collaboration that answers: images of a site in, class probabilities out."""

    sites: Mapping[str, Site]
    servers: Mapping[str, MappingServer]

    def predict(self, name: str, planes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """``D_y(T⁻¹(T(M(T⁻¹(T(E_x(x)))))))``, with what bundles leave of it."""
        site, parts = self.sites[name], []
        for start in range(0, len(planes), BATCH):
            images = torch.from_numpy(planes[start : start + BATCH])
            items = new_items(len(images))
            query = through_bundle(site.protect_images(images, items))
            reply = through_bundle(self.servers[name].map(name, query, items))
            parts.append(site.reveal_masks(reply, items).cpu().numpy())
        return np.concatenate(parts)
