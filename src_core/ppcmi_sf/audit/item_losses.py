"""The loss of each single item, which is what membership inference looks at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppcmi_sf.audit.exposure import encode, encode_with, item_ids, noisy, protect
from ppcmi_sf.audit.subject import GroupedSlices, Partner, PartnerNetwork, Subject
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.training.losses import image_loss, mask_loss, scale_weights
from ppcmi_sf.training.mapping import SitePairs

Losses = npt.NDArray[np.float64]

BATCH = 8


def latent_pairs(subject: Subject, slices: GroupedSlices, seed: int) -> Job[SitePairs]:
    """Image and mask latents of slices as the mapping server works on them.

    In ``escrow`` that is without the transform, in ``blind`` with it; with the site's noise, if it
    adds any.
    """
    images = yield from encode(subject, slices, "image")
    masks = yield from encode(subject, slices, "mask")
    items = item_ids(seed, len(slices))
    if subject.study.arrangement == "blind":
        images = protect(subject, images, items, "sent", "image")
        masks = protect(subject, masks, items, "sent", "mask")
    else:
        images = noisy(subject, images, items, "image")
        masks = noisy(subject, masks, items, "mask")
    return SitePairs(images, masks, np.zeros(len(slices), dtype=np.bool_))


def partner_pairs(
    subject: Subject, partner: Partner, mapping: PartnerNetwork, slices: GroupedSlices
) -> Job[SitePairs]:
    """Latents of slices by a partner's autoencoders, as the network in ``escrow`` takes them."""
    images = yield from encode_with(partner.image_autoencoder, subject, slices)
    masks = yield from encode_with(mapping.mask_autoencoder, subject, slices)
    return SitePairs(images, masks, np.zeros(len(slices), dtype=np.bool_))


def mapping_losses(
    network: UnifiedMappingNetwork, site: str, pairs: SitePairs, device: torch.device
) -> Job[Losses]:
    """Each item's loss: over the scales, its mean squared error in units of the targets' variance.

    The coarser scales weigh less, as in the training.
    """
    variances = {name: float(value.float().var()) for name, value in pairs.targets.items()}
    weights = scale_weights(variances)
    found = []
    network.eval()
    for start in range(0, pairs.inputs.batch_size, BATCH):
        yield Progress(start, pairs.inputs.batch_size, "mapping")
        rows = slice(start, start + BATCH)
        with torch.inference_mode():
            inputs = pairs.inputs.items_at(rows).to(device).to(torch.float32)
            mapped: LatentPyramid = network({site: inputs})[site].to(torch.device("cpu"))
            terms = [
                (mapped[name] - pairs.targets[name][rows].float()).square().mean(dim=(1, 2, 3))
                / max(variance, 1e-12)
                * weights[name]
                for name, variance in variances.items()
            ]
            found.append(torch.stack(terms).sum(dim=0).double().numpy())
    return np.concatenate(found)


def reconstruction_losses(
    model: Autoencoder, slices: GroupedSlices, class_count: int, device: torch.device
) -> Job[Losses]:
    """The training's own loss of each item's reconstruction."""
    loss = image_loss() if model.role == "image" else mask_loss("dice-ce")
    found: list[float] = []
    model.eval()
    for start in range(0, len(slices), BATCH):
        yield Progress(start, len(slices), "reconstructing")
        part = slices.take(np.arange(start, min(start + BATCH, len(slices))))
        values = part.inputs(model, class_count)
        with torch.inference_mode():
            logits: Tensor = model(values.to(device)).cpu()
            found.extend(
                float(loss(logits[row : row + 1], values[row : row + 1]))
                for row in range(len(part))
            )
    return np.array(found, dtype=np.float64)
