"""Which device the networks run on, and whether a training fits into memory."""

from __future__ import annotations

import os
import platform
from typing import TypeVar

import psutil
import torch
from torch import Tensor, nn

from ppcmi_sf.errors import ResourceError

Network = TypeVar("Network", bound=nn.Module)

DEVICE_NAMES = ("auto", "cpu", "cuda", "mps")


def choose_device(name: str = "auto") -> torch.device:
    """Pick a device: CUDA, else Apple's MPS, else the CPU; or the one that is named.

    Raises
    ------
    ResourceError
        The named device does not exist on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    present = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(name, False):
        raise ResourceError(
            f"The device '{name}' is not available on this machine.",
            hint=f"Available: auto, {', '.join(key for key, there in present.items() if there)}.",
        )
    return torch.device(name)


def device_model(device: torch.device) -> str:
    """Name of the GPU, or the kind of processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple GPU (MPS)"
    return platform.processor() or platform.machine()


def describe_device(device: torch.device) -> str:
    """One sentence that says which device is used."""
    name = device_model(device)
    if device.type == "cuda":
        return f"Using the GPU {name}."
    if device.type == "mps":
        return f"Using the {name}."
    return f"Using the CPU ({name}, {torch.get_num_threads()} of {os.cpu_count()} cores)."


def place(module: Network, device: torch.device) -> Network:
    """Move a network to a device, channels last (a third faster for convolutions on a CPU)."""
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def available_bytes(device: torch.device) -> int:
    """Memory that is free on the device (for MPS and CPU: of the machine)."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def activation_bytes(model: nn.Module, *inputs: object) -> int:
    """Bytes of all layers' outputs in one forward pass, counted on meta tensors.

    Nothing is computed and nothing of that size is allocated.
    """
    total = 0

    def count(_module: nn.Module, _inputs: object, output: object) -> None:
        nonlocal total
        if isinstance(output, Tensor):
            total += output.numel() * output.element_size()

    leaves = [module for module in model.modules() if not list(module.children())]
    hooks = [module.register_forward_hook(count) for module in leaves]
    try:
        model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def training_bytes(parameters: int, activations: int, data: int) -> int:
    """Estimate a training's peak: weights, gradients, two Adam moments, the weights to keep, data.

    Activations count twice, since the backward pass holds their gradients too.
    """
    return parameters * 4 * 5 + activations * 2 + data


def require_memory(needed: int, device: torch.device, what: str) -> None:
    """Refuse a job that will not fit.

    Raises
    ------
    ResourceError
        ``needed`` bytes are more than what is free; the message names both.
    """
    free = available_bytes(device)
    if needed > free:
        raise ResourceError(
            f"{what} needs about {needed / 2**30:.1f} GiB of memory; "
            f"{free / 2**30:.1f} GiB are free on {device.type}.",
            hint="Use a smaller batch size, fewer augmented copies, or a machine with more memory.",
        )
