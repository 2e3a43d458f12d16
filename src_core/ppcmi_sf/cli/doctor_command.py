"""``ppcmi doctor``: whether this machine has what is needed."""

from __future__ import annotations

import platform
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from ppcmi_sf._version import __version__
from ppcmi_sf.cli.console import command, show_result
from ppcmi_sf.cli.options import JsonOption
from ppcmi_sf.errors import ResourceError

EXAMPLE = "Example: ppcmi doctor --json"
LIBRARIES = ("torch", "monai", "SimpleITK", "nibabel", "safetensors", "cryptography", "napari")
OPTIONAL = ("napari",)
ENOUGH_MEMORY = 4 * 2**30
ENOUGH_DISK = 2 * 2**30


@command
def doctor(json_output: JsonOption = False) -> None:
    """Check versions, device, memory and disk, and run the method once on random numbers."""
    fields: dict[str, Any] = {"ppcmi": __version__, "python": platform.python_version()}
    fields |= {name: _version(name) for name in LIBRARIES}
    missing = [name for name in LIBRARIES if fields[name] is None and name not in OPTIONAL]
    if missing:
        raise ResourceError(
            f"Missing: {', '.join(missing)}.", hint="Install napari-ppcmi again with pip."
        )
    import torch

    from ppcmi_sf.device import available_bytes, choose_device, describe_device

    device = choose_device()
    fields["device"] = describe_device(device)
    memory = available_bytes(torch.device("cpu"))
    disk = shutil.disk_usage(tempfile.gettempdir()).free
    fields["memory_free_gib"] = round(memory / 2**30, 1)
    fields["disk_free_gib"] = round(disk / 2**30, 1)
    fields["round_trip_error"] = _round_trip()
    advice = []
    if memory < ENOUGH_MEMORY:
        advice.append("Little memory is free; training may be refused.")
    if disk < ENOUGH_DISK:
        advice.append(f"Little disk space is free in {Path(tempfile.gettempdir())}.")
    fields["advice"] = advice
    lines = [
        f"{key}: {'not installed' if value is None else value}"
        for key, value in fields.items()
        if key != "advice"
    ]
    show_result(fields, [*lines, *(advice or ["All well."])], as_json=json_output)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _round_trip() -> float:
    """Relative error of protect and recover on this machine (at most 1e-5)."""
    import torch

    from ppcmi_sf.keys import ClientKey
    from ppcmi_sf.latents import LatentPyramid
    from ppcmi_sf.study import StudySpec, make_classes
    from ppcmi_sf.transform import KeyedLatentTransform

    study = StudySpec(name="doctor", modality="OTHER", classes=make_classes(["structure"]))
    share = ClientKey.generate("doctor", study.fingerprint).transform_share()
    transform = KeyedLatentTransform(share, study, "image")
    latents = LatentPyramid({s.name: torch.randn(1, *s.shape) for s in study.scales})
    items = ["0123456789abcdef"]
    back = transform.recover(transform.protect(latents, items), items)
    error = max(
        float((back[name] - value).norm() / value.norm()) for name, value in latents.items()
    )
    if error > 1e-5:
        raise ResourceError(
            f"The keyed transform is not exact on this machine (relative error {error:.1e}).",
            hint="Install torch and numpy again; this must not happen.",
        )
    return error
