"""The state of a training on disk, as safetensors (nothing is ever unpickled)."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ppcmi_sf.files import write_tensors


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    kept: dict[str, Tensor],
    report: dict[str, Any],
    signature: str,
) -> None:
    """Write model, optimiser, the weights to keep and report (atomically)."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"kept.{name}": value for name, value in kept.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    # A copy each: safetensors refuses tensors that share memory.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}
    text = json.dumps(report)
    write_tensors(
        path,
        tensors,
        {"report": text, "signature": signature, "checksum": _checksum(tensors, text)},
    )


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, signature: str
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Put a checkpoint's state into model and optimiser; give back report and the weights to keep.

    Returns ``None``, and changes nothing, when the file is damaged or of another
    signature: the training then starts anew.
    """
    try:
        with safe_open(path, framework="pt") as handle:
            metadata = handle.metadata() or {}
            if metadata.get("signature") != signature:
                return None
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
        if metadata["checksum"] != _checksum(tensors, metadata["report"]):
            return None
        report: dict[str, Any] = json.loads(metadata["report"])
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "kept": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, rest = name.split(".", 1)
            parts[part][rest] = value
        if not _shapes(parts["model"]) == _shapes(parts["kept"]) == _shapes(model.state_dict()):
            return None  # of another version; load_state_dict would take over what does fit
    except (SafetensorError, OSError, KeyError, ValueError):
        return None
    model.load_state_dict(parts["model"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in parts["optimizer"].items():
        index, field = name.split(".", 1)
        moments.setdefault(int(index), {})[field] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return report, parts["kept"]


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def _checksum(tensors: dict[str, Tensor], report: str) -> str:
    """CRC-32 of everything: finds damage, which would otherwise be trained on."""
    value = zlib.crc32(report.encode())
    for name in sorted(tensors):
        value = zlib.crc32(name.encode(), value)
        value = zlib.crc32(tensors[name].numpy().reshape(-1).view("u1").data, value)
    return f"{value:08x}"
