"""KeyedLatentTransform: client-specific mixing, bias and permutation of latents.

Per scale, with ``Q`` orthogonal (C×C), ``b`` a bias and ``P`` a permutation of
the H·W positions::

    protect:  z' = P (Qᵀ z + b)        recover:  z = Q (Pᵀ z' − b)

In ``escrow``, where the server can undo it, every item then goes through a transform of its own
(:mod:`ppcmi_sf.item_transform`), so that what is learned from some items serves for no other.

The deterministic generator, so that any two machines get the same transform:

1. ``seed = HKDF-Expand-SHA256(share, role | scale | part)`` (:mod:`ppcmi_sf.keys`);
2. the stream is SHAKE-256(seed) (FIPS 202), read as little-endian uint64 words *w*;
3. uniforms in (0, 1) are ``(⌊w / 2¹¹⌋ + ½) / 2⁵³``;
4. Gaussians come from Box-Muller on the first and second half of the uniforms;
5. ``Q`` is the Q of the QR decomposition, in float64, of the Gaussian matrix,
   each column multiplied by the sign of R's diagonal, which makes it Haar
   distributed (Mezzadri, Notices of the AMS 54, 2007);
6. ``P`` takes to place *i* the position with the *i*-th smallest word.

The keyed transform is not encryption. Without the per-item part it is the same linear map for every
item, it keeps distances, and a known latent pair is enough to solve for ``Q`` and ``b``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppcmi_sf.item_transform import ItemTransform
from ppcmi_sf.keys import TransformShare
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.study import ScaleSpec, StudySpec

Role = Literal["image", "mask"]


def _words(seed: bytes, count: int) -> npt.NDArray[np.uint64]:
    stream = hashlib.shake_256(seed).digest(8 * count)
    return np.frombuffer(stream, dtype="<u8").astype(np.uint64)


def gaussians(seed: bytes, count: int) -> npt.NDArray[np.float64]:
    """Draw ``count`` standard normal numbers from a 32-byte seed (float64)."""
    pairs = (count + 1) // 2
    uniforms = ((_words(seed, 2 * pairs) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53
    radius = np.sqrt(-2.0 * np.log(uniforms[:pairs]))
    angle = 2.0 * np.pi * uniforms[pairs:]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]


def orthogonal(seed: bytes, size: int) -> npt.NDArray[np.float64]:
    """Haar-distributed orthogonal matrix (size×size, float64) from a 32-byte seed."""
    q, r = np.linalg.qr(gaussians(seed, size * size).reshape(size, size))
    return np.asarray(q * np.sign(np.diag(r)), dtype=np.float64)


def permutation(seed: bytes, size: int) -> npt.NDArray[np.int64]:
    """Permutation of ``range(size)`` from a 32-byte seed."""
    return np.argsort(_words(seed, size), kind="stable").astype(np.int64)


@dataclass(frozen=True, repr=False)
class ScaleTransform:
    """The transform of one scale: ``Q`` (C, C), ``b`` (C,), and ``P`` (H·W,) or ``None``."""

    mixing: Tensor
    bias: Tensor
    positions: Tensor | None

    @classmethod
    def derive(
        cls, share: TransformShare, role: Role, scale: ScaleSpec, *, permute: bool
    ) -> ScaleTransform:
        """Derive from a transform share; see the module's description."""
        name, places = scale.name, scale.rows * scale.columns
        mixing = orthogonal(share.stream_seed(role, name, "mixing"), scale.channels)
        bias = gaussians(share.stream_seed(role, name, "bias"), scale.channels)
        order = permutation(share.stream_seed(role, name, "positions"), places)
        return cls(
            torch.from_numpy(mixing.astype(np.float32)),
            torch.from_numpy(bias.astype(np.float32)),
            torch.from_numpy(order) if permute else None,
        )

    def protect(self, latents: Tensor) -> Tensor:
        """``P (Qᵀ z + b)`` for ``(B, C, H, W)``, any B."""
        # A row for each position: P then moves whole rows, many times faster than single values.
        rows = torch.matmul(latents.flatten(2).mT, self.mixing.to(latents)) + self.bias.to(latents)
        if self.positions is not None:
            rows = rows.index_select(1, self.positions.to(latents.device))
        return rows.mT.reshape(latents.shape)

    def recover(self, latents: Tensor) -> Tensor:
        """``Q (Pᵀ z' − b)``, the inverse of :meth:`protect`."""
        rows = latents.flatten(2).mT.contiguous()
        if self.positions is not None:
            rows = rows.index_select(1, torch.argsort(self.positions).to(latents.device))
        mixed = torch.matmul(rows - self.bias.to(latents), self.mixing.to(latents).T)
        return mixed.mT.reshape(latents.shape)


class KeyedLatentTransform:
    """All scales' transforms of one site, study, epoch and role.

    Linear for each item, exactly invertible (relative error at most 1e-5 in float32) and
    differentiable. ``blind`` studies leave the positions where they are, since
    the server's convolutions need them, and treat all items alike.

    Parameters
    ----------
    share
        The site's transform share; a site derives its own from its client key.
    study
        Decides scales and arrangement.
    role
        ``image`` or ``mask``: the two get independent transforms.
    per_item
        Whether each item gets a transform of its own. Default: in ``escrow`` yes, in
        ``blind`` no. ``False`` is the paper's transform, for comparisons.

    Raises
    ------
    StudyError
        The share belongs to another study.
    """

    def __init__(
        self,
        share: TransformShare,
        study: StudySpec,
        role: Role,
        *,
        per_item: bool | None = None,
    ) -> None:
        study.require(share.study, f"The transform share of site '{share.site}'")
        permute = study.arrangement == "escrow"
        self.role = role
        self.scales = {
            scale.name: ScaleTransform.derive(share, role, scale, permute=permute)
            for scale in study.scales
        }
        self.items = {
            scale.name: ItemTransform(share, role, scale)
            for scale in study.scales
            if (permute if per_item is None else per_item)
        }

    def protect(self, pyramid: LatentPyramid, items: Sequence[str]) -> LatentPyramid:
        """Site side: latents to protected latents.

        Parameters
        ----------
        items
            The pseudonym of each of the B items, never used for another item of this role. They
            travel with the protected latents. Ignored where all items are treated alike.
        """
        protected = {}
        for name, value in pyramid.items():
            mixed = self.scales[name].protect(value)
            protected[name] = self.items[name].protect(mixed, items) if self.items else mixed
        return LatentPyramid(protected)

    def recover(self, pyramid: LatentPyramid, items: Sequence[str]) -> LatentPyramid:
        """Inverse of :meth:`protect`: protected latents to latents."""
        recovered = {}
        for name, value in pyramid.items():
            mixed = self.items[name].recover(value, items) if self.items else value
            recovered[name] = self.scales[name].recover(mixed)
        return LatentPyramid(recovered)
