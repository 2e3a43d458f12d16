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


@dataclass(frozen=True)
class RevealedCase:
    """A mask, and the reply that it comes of.

    Attributes
    ----------
    name, source
        Of the case: its name, and the path of its image when the query was made.
    mask
        The file.
    reply_id, query_id
        Ids of the reply and of the query that it answers.
    sender
        Name of who replied.
    network
        Id of the mapping network.
    new
        Whether the mask was written now; otherwise it was there already and may come of
        something else.
    image_changed
        Whether another image lies at ``source`` now than when the query was made.
    """

    name: str
    source: str
    mask: Path
    reply_id: str
    query_id: str
    sender: str
    network: str
    new: bool
    image_changed: bool = False


@dataclass
class RevealReport(BatchReport):
    """A batch of masks, with the case of each, in the order of the replies."""

    cases: list[RevealedCase] = field(default_factory=list)
