"""ItemTransform: a fresh orthogonal mixing of all the values of each item, and a gain.

In the ``escrow`` arrangement it follows the site's keyed transform, so that no two items
go through the same one. Per item and scale, on all C·H·W values at once::

    protect:  u = g · S₃ F S₂ F S₁ z        recover:  z = (S₃ F S₂ F S₁)ᵀ u / g

``S`` are diagonal matrices of random signs, ``F`` is the orthonormal three-dimensional DCT-II
(over channels, rows and columns), ``g`` a random gain between ½ and 2. Products of signs and a fast
orthogonal transform mix nearly as a Haar matrix does at a fraction of its cost (Yu et al.,
"Orthogonal Random Features", NeurIPS 2016). Without ``g``, the length of an item would stay
what it was.

The deterministic generator: the item's seed comes from the transform share, with role, scale and
the item's pseudonym, which travels in the bundle, as context (:mod:`ppcmi_sf.keys`); its
SHAKE-256 stream (FIPS 202) gives one little-endian uint64 word *w* for
``g = 4^((⌊w / 2¹¹⌋ + ½) / 2⁵³ − ½)``, then for each of S₁, S₂ and S₃ one bit for each value (rows
of (C, H, W) in order, the most significant bit of a byte first; each S begins a new byte); a bit
of 1 is a sign of +1.

It is not encryption either: whoever holds the share undoes it, and it is only as secret as that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ppcmi_sf.keys import TransformShare
from ppcmi_sf.study import ScaleSpec

SIGNS = 3
WORD_BYTES = 8


class ItemTransform:
    """The per-item transforms of one role and scale.

    Parameters
    ----------
    share
        The site's transform share, or the one that the site derives from its client key.
    role
        ``image`` or ``mask``.
    scale
        Name and shape of the scale.
    """

    def __init__(self, share: TransformShare, role: str, scale: ScaleSpec) -> None:
        self._share, self._role, self._scale = share, role, scale
        self._bases = [cosine_basis(side) for side in scale.shape]

    def protect(self, latents: Tensor, items: Sequence[str]) -> Tensor:
        """Mix ``(B, C, H, W)``; ``items`` are the B pseudonyms."""
        gain, signs = self._draw(latents, items)
        mixed = signs[0] * latents
        for sign in signs[1:]:
            mixed = sign * self._cosines(mixed)
        return gain * mixed

    def recover(self, latents: Tensor, items: Sequence[str]) -> Tensor:
        """Inverse of :meth:`protect` (relative error at most 1e-5 in float32)."""
        gain, signs = self._draw(latents, items)
        mixed = signs[-1] * latents
        for sign in signs[-2::-1]:
            mixed = sign * self._cosines(mixed, inverse=True)
        return mixed / gain

    def _draw(self, latents: Tensor, items: Sequence[str]) -> tuple[Tensor, list[Tensor]]:
        if len(items) != latents.shape[0]:
            raise ValueError(f"{latents.shape[0]} items have {len(items)} pseudonyms")
        drawn = [self._draw_one(item) for item in items]
        gains = torch.tensor([gain for gain, _ in drawn]).to(latents).reshape(-1, 1, 1, 1)
        every = np.stack([signs for _, signs in drawn], axis=1) if drawn else None
        if every is None:
            return gains, [torch.ones_like(latents)] * SIGNS
        return gains, list(torch.from_numpy(every).to(latents))

    def _draw_one(self, item: str) -> tuple[float, np.ndarray[tuple[int, ...], np.dtype[np.int8]]]:
        shape = self._scale.shape
        count = int(np.prod(shape))
        each = -(-count // 8)
        seed = self._share.stream_seed(self._role, self._scale.name, f"item/{item}")
        stream = hashlib.shake_256(seed).digest(WORD_BYTES + SIGNS * each)
        word = int.from_bytes(stream[:WORD_BYTES], "little")
        uniform = ((word >> 11) + 0.5) / 2.0**53
        packed = np.frombuffer(stream, np.uint8, offset=WORD_BYTES).reshape(SIGNS, each)
        bits = np.unpackbits(packed, axis=1, count=count).view(np.int8)
        return 4.0 ** (uniform - 0.5), (2 * bits - 1).reshape(SIGNS, *shape)

    def _cosines(self, values: Tensor, *, inverse: bool = False) -> Tensor:
        """The three-dimensional DCT-II, or its inverse (its transpose)."""
        channels, rows, columns = (
            (basis.T if inverse else basis).to(values) for basis in self._bases
        )
        mixed = torch.matmul(channels, values.flatten(2)).reshape(values.shape)
        return torch.matmul(rows, torch.matmul(mixed, columns.T))


def cosine_basis(size: int) -> Tensor:
    """The orthonormal DCT-II as a matrix (size×size, float32): rows are frequencies."""
    frequency, place = np.arange(size)[:, None], np.arange(size)[None]
    basis = np.sqrt(2 / size) * np.cos(np.pi * (2 * place + 1) * frequency / (2 * size))
    basis[0] /= np.sqrt(2)
    return torch.from_numpy(basis.astype(np.float32))
