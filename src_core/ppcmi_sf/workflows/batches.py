"""How many items go through a network at a time, for every command alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

BATCH = 8


def in_batches(slices: Iterator[npt.NDArray[np.float32]]) -> Iterator[torch.Tensor]:
    """Slices ``(C, H, W)`` as batches ``(B, C, H, W)`` of at most 8."""
    held: list[npt.NDArray[np.float32]] = []
    for item in slices:
        held.append(item)
        if len(held) == BATCH:
            yield torch.from_numpy(np.stack(held))
            held = []
    if held:
        yield torch.from_numpy(np.stack(held))
