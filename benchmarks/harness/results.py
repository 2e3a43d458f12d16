"""The results file: one JSON line for each finished run; a line is there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from ppcmi_sf.device import device_model
from ppcmi_sf.files import write_text

FORMAT = 1
PACKAGES = ("torch", "monai", "numpy", "napari-ppcmi")


@dataclass(frozen=True)
class RunKey:
    """What tells a run from the others of a results file.

    Attributes
    ----------
    sites
        Number of sites.
    settings
        Hash of the plan's settings that decide the run's numbers.
    """

    dataset: str
    row: str
    seed: int
    sites: int
    settings: str


def size_name(size: Sequence[int]) -> str:
    """Rows and columns in the names of files: ``64``, ``64x32``."""
    rows, columns = size
    return str(rows) if rows == columns else f"{rows}x{columns}"


def setting_name(dataset: str, size: Sequence[int], sites: int) -> str:
    """What names of files begin with that belong to a data set at a size and number of sites."""
    return f"{dataset}-{size_name(size)}-{sites}-sites"


def settings_hash(settings: dict[str, Any]) -> str:
    """Hash of settings."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


class ResultsFile:
    """Finished runs. Several processes may append to one file.

    Parameters
    ----------
    path
        Made with the first run.
    """

    def __init__(self, path: Path) -> None:
        self._path = Path(path)

    def read(self) -> list[dict[str, Any]]:
        """Every run."""
        if not self._path.is_file():
            return []
        lines = self._path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]

    def holds(self, key: RunKey) -> bool:
        """Whether a run is finished."""
        return any(run["key"] == asdict(key) for run in self.read())

    def append(self, key: RunKey, fields: dict[str, Any]) -> None:
        """Add a run."""
        line = json.dumps({"format": FORMAT, "key": asdict(key), **fields}, sort_keys=True)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(self._path) + ".lock"):
            known = self._path.read_text(encoding="utf-8") if self._path.is_file() else ""
            write_text(self._path, known + line + "\n")


@cache
def provenance() -> dict[str, Any]:
    """Commit, versions and machine, as they were when they were first asked for."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--", "src_core", "benchmarks")),
        "versions": {name: version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "machine": {
            "processor": device_model(torch.device("cpu")),
            "threads": torch.get_num_threads(),
        },
    }


def _git(*words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""  # not a checkout
    return done.stdout.strip()
