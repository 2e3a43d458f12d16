"""What came of a batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ppcmi_sf.errors import PPCMIError


@dataclass
class BatchReport:
    """Files written, names of what was done before, and what failed with the reason."""

    written: list[Path] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failures: list[tuple[str, PPCMIError]] = field(default_factory=list)


@dataclass
class ProtectReport(BatchReport):
    """A batch of bundles, with the slices in them and their bytes."""

    items: int = 0
    bytes: int = 0

    def add(self, path: Path, items: int) -> None:
        """Count a bundle that was written."""
        self.written.append(path)
        self.items += items
        self.bytes += path.stat().st_size
