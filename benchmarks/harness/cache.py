"""Trainings that several rows share, kept in a folder: written whole or not at all.

A training is found again by everything that decides it, the engine's own code included.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

import ppcmi_sf
from harness.budget import Stage
from ppcmi_sf.files import write_tensors, write_text
from ppcmi_sf.models.store import weights_of

CODE = (
    *("models", "training", "study.py", "flips.py"),
    *("transform.py", "roles.py", "keys.py", "latents.py"),
)


class StageCache:
    """A folder with one folder for each training.

    Parameters
    ----------
    folder
        Made when it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)

    def get_or_train(
        self,
        settings: Mapping[str, Any],
        build: Callable[[], nn.Module],
        train: Callable[[Stage], nn.Module],
        stage: Stage,
    ) -> tuple[nn.Module, Stage]:
        """Give the network of a training and what it took, whenever that was.

        Parameters
        ----------
        settings
            Everything that decides the training, besides the engine's code.
        build
            Makes the network without its weights.
        train
            Makes and trains it, and notes in the stage what it took.
        """
        place = self._folder / f"{stage.name}-{_digest(settings)}"
        if place.is_dir():
            network = build()
            network.load_state_dict(load_file(place / "weights.safetensors"), strict=False)
            fields = json.loads((place / "stage.json").read_text(encoding="utf-8"))
            return network.eval(), Stage(**fields)
        network = train(stage)
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder, prefix=".part.") as part:
            tensors = {
                name: value.detach().cpu().contiguous()
                for name, value in weights_of(network).items()
            }
            whole = Path(part) / "whole"
            write_tensors(whole / "weights.safetensors", tensors, {})
            write_text(whole / "stage.json", json.dumps(stage.to_json()))
            with suppress(OSError):  # another process was quicker
                whole.rename(place)
        return network.eval(), stage

    def clear(self) -> None:
        """Remove everything."""
        shutil.rmtree(self._folder, ignore_errors=True)


@cache
def code_digest() -> str:
    """Hash of the engine's code that trainings run, as it was when it was first asked for."""
    root = Path(ppcmi_sf.__file__).parent
    digest = hashlib.sha256()
    for name in CODE:
        path = root / name
        for module in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            digest.update(module.read_bytes())
    return digest.hexdigest()


def _digest(settings: Mapping[str, Any]) -> str:
    text = json.dumps({"code": code_digest(), **settings}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]
