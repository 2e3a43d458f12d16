"""What an attacker sees: a site's latents as they are sent, and with less protection.

Each attack is measured on what the study's arrangement really sends, and again with the
protection taken away in steps. Without these planted weaknesses a low number could also mean
that the attack does not work.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from ppcmi_sf.audit.subject import GroupedSlices, Subject
from ppcmi_sf.keys import TransformShare
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.progress import Job, Progress
from ppcmi_sf.study import ScaleSpec, StudySpec
from ppcmi_sf.transform import KeyedLatentTransform, Role

Pictures = npt.NDArray[np.float32]
Setting = Literal["sent", "fixed", "none"]

BATCH = 8

SETTING_WORDS: dict[Setting, str] = {
    "sent": "as sent",
    "fixed": "planted weakness: one transform for all items",
    "none": "planted weakness: no transform",
}


def settings(study: StudySpec) -> tuple[Setting, ...]:
    """The settings to measure; what is sent comes first.

    ``blind`` has one transform for all items as it is, so ``fixed`` would say the same twice.
    """
    return ("sent", "fixed", "none") if study.arrangement == "escrow" else ("sent", "none")


def item_ids(seed: int, count: int, start: int = 0) -> tuple[str, ...]:
    """Ids of 16 hex digits, as those of a bundle, but the same for the same seed."""
    return tuple(
        hashlib.sha256(f"ppcmi-audit/{seed}/{number}".encode()).hexdigest()[:16]
        for number in range(start, start + count)
    )


def made_up_share(share: TransformShare, label: str) -> TransformShare:
    """A share of a key that has nothing to do with the site's: its secret comes from the label."""
    return replace(share, secret=hashlib.sha256(f"ppcmi-audit/{label}".encode()).digest())


def encode(subject: Subject, slices: GroupedSlices, role: Role = "image") -> Job[LatentPyramid]:
    """The site's latents of slices, without transform: float32, on the CPU."""
    model = subject.site.image_autoencoder if role == "image" else subject.site.mask_autoencoder
    return (yield from encode_with(model, subject, slices))


def encode_with(model: Autoencoder, subject: Subject, slices: GroupedSlices) -> Job[LatentPyramid]:
    """Latents of slices by any autoencoder of the study: float32, on the CPU."""
    parts = []
    for start in range(0, len(slices), BATCH):
        part = slices.take(np.arange(start, min(start + BATCH, len(slices))))
        values = part.inputs(model, subject.study.class_count)
        with torch.no_grad():
            parts.append(model.eval().encode(values.to(subject.device)).to(torch.device("cpu")))
        yield Progress(start, len(slices), "encoding")
    return LatentPyramid.concatenate(parts)


def transform_of(
    subject: Subject, setting: Setting, role: Role = "image", share: TransformShare | None = None
) -> KeyedLatentTransform | None:
    """The transform of a setting; ``None`` where there is none."""
    if setting == "none":
        return None
    per_item = False if setting == "fixed" else None
    return KeyedLatentTransform(share or subject.share, subject.study, role, per_item=per_item)


def protect(
    subject: Subject,
    latents: LatentPyramid,
    items: tuple[str, ...],
    setting: Setting,
    role: Role = "image",
    share: TransformShare | None = None,
) -> LatentPyramid:
    """Latents as an attacker gets them.

    Parameters
    ----------
    items
        An id for each item; see :func:`item_ids`. Two bundles of the same images have
        different ids.
    share
        Of another key or epoch, instead of the site's.
    """
    transform = transform_of(subject, setting, role, share)
    if setting == "sent":
        latents = noisy(subject, latents, items, role)
    return latents if transform is None else transform.protect(latents, items)


def noisy(
    subject: Subject, latents: LatentPyramid, items: tuple[str, ...], role: Role
) -> LatentPyramid:
    """Latents with the site's noise, if it adds any: the same for the same items and role."""
    noise = subject.site.noise
    if noise is None:
        return latents
    digest = hashlib.sha256(f"ppcmi-audit/noise/{role}/{'/'.join(items)}".encode()).digest()
    return replace(noise, seed=int.from_bytes(digest[:7], "little"))(latents)


def decode(model: Autoencoder, pyramid: LatentPyramid) -> Job[Pictures]:
    """Grey pictures ``(N, H, W)`` in [0, 1] that an image decoder makes of latents."""
    device = next(model.parameters()).device
    pictures = []
    for start in range(0, pyramid.batch_size, BATCH):
        part = pyramid.items_at(slice(start, start + BATCH)).to(device)
        with torch.no_grad():
            pictures.append(model.eval().decode(part).mean(dim=1).cpu().numpy())
        yield Progress(start, pyramid.batch_size, "decoding")
    return np.concatenate(pictures).astype(np.float32)


def true_places(subject: Subject, scale: ScaleSpec) -> npt.NDArray[np.intp]:
    """Where each position of a scale lies really, without what is drawn for an item: ``(H·W,)``.

    For judging an attack, and for attackers who are given that part of a key. Two sets of
    latents that differ by the number of the position are protected; the length of the difference
    is that number, since this part of the transform is linear and keeps lengths.
    """
    zero = {one.name: torch.zeros(1, *one.shape) for one in subject.study.scales}
    marked = {name: value.clone() for name, value in zero.items()}
    number = torch.arange(scale.rows * scale.columns, dtype=torch.float32)
    marked[scale.name][0, 0] = number.reshape(scale.rows, scale.columns)
    transform = transform_of(subject, "fixed")
    assert transform is not None
    first = transform.protect(LatentPyramid(marked), [""])[scale.name]
    second = transform.protect(LatentPyramid(zero), [""])[scale.name]
    places = (first - second)[0].norm(dim=0).flatten().round().long()
    return np.asarray(places.numpy(), dtype=np.intp)
