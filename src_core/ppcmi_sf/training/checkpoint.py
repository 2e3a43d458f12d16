"""The state of a training on disk, as safetensors (nothing is ever unpickled)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ppcmi_sf.files import atomic_path


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
    report: dict[str, Any],
    signature: str,
) -> None:
    """Write model, optimiser, best weights and report (atomically)."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    # A copy each: safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    with atomic_path(path) as temporary:
        save_file(
            tensors, temporary, metadata={"report": json.dumps(report), "signature": signature}
        )


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, signature: str
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Put a checkpoint's state into model and optimiser; give back report and best weights.

    Returns ``None``, and changes nothing, when the file is damaged or of another
    signature: the training then starts anew.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
            if metadata.get("signature") != signature:
                return None
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        report: dict[str, Any] = json.loads(metadata["report"])
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, rest = name.split(".", 1)
            parts[part][rest] = value
        model.load_state_dict(parts["model"])
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError):
        return None
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimizer"].items():
        index, field = name.split(".", 1)
        moments.setdefault(int(index), {})[field] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return report, parts["best"]
