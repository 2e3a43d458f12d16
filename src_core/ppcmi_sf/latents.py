"""LatentPyramid: the multi-scale latents of a batch of images or masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

from ppcmi_sf.study import ScaleSpec


class LatentPyramid(Mapping[str, Tensor]):
    """Tensors by scale name, finest scale first, each ``(B, C, H, W)``.

    Parameters
    ----------
    scales
        Scale name to tensor. All have the same B.
    """

    def __init__(self, scales: Mapping[str, Tensor]) -> None:
        if not scales:
            raise ValueError("a latent pyramid has at least one scale")
        if len({tensor.shape[0] for tensor in scales.values()}) != 1:
            raise ValueError("all scales of a pyramid have the same batch size")
        self._scales = dict(scales)

    def __getitem__(self, name: str) -> Tensor:
        return self._scales[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._scales)

    def __len__(self) -> int:
        return len(self._scales)

    def __repr__(self) -> str:
        # Shapes only: values are patient data.
        shapes = ", ".join(f"{name}={tuple(value.shape)}" for name, value in self.items())
        return f"LatentPyramid({shapes})"

    @property
    def batch_size(self) -> int:
        """Number of items B."""
        return int(next(iter(self._scales.values())).shape[0])

    def map(self, function: Callable[[Tensor], Tensor]) -> LatentPyramid:
        """Apply ``function`` to every scale's tensor."""
        return LatentPyramid({name: function(tensor) for name, tensor in self.items()})

    def to(self, target: torch.device | torch.dtype) -> LatentPyramid:
        """Move to a device or convert to a dtype."""
        return self.map(lambda tensor: tensor.to(target))

    def items_at(self, index: Tensor | slice) -> LatentPyramid:
        """Pick items of the batch."""
        return self.map(lambda tensor: tensor[index])

    def matches(self, scales: Iterable[ScaleSpec]) -> bool:
        """Whether names, order and shapes are those of ``scales``."""
        expected = [(scale.name, scale.shape) for scale in scales]
        return expected == [(name, tuple(tensor.shape[1:])) for name, tensor in self.items()]

    @staticmethod
    def concatenate(pyramids: Iterable[LatentPyramid]) -> LatentPyramid:
        """Join batches along B."""
        every = list(pyramids)
        return LatentPyramid({name: torch.cat([p[name] for p in every]) for name in every[0]})
