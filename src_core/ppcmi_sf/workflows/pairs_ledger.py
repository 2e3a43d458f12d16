"""Which training bundles a site has made of which data, so that none is made twice.

Pairs that are made twice would count twice in the server's training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ppcmi_sf.data import Case
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.files import write_text
from ppcmi_sf.registry import source_stamp


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Failure(_Strict):
    case: str
    message: str
    hint: str


class PairsEntry(_Strict):
    """One export: what was asked for, the files of its bundles, and what failed."""

    asked: str
    files: list[str]
    failed: list[_Failure]

    def failures(self) -> list[tuple[str, PPCMIError]]:
        """What failed, as it was told then."""
        return [(f.case, PPCMIError(f.message, hint=f.hint)) for f in self.failed]


class _Ledger(_Strict):
    entries: list[PairsEntry] = []


class PairsLedger:
    """The ledger in one JSON file, which never leaves the site."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, asked: str, out: Path) -> PairsEntry | None:
        """An export of the very same data and settings whose bundles are all in ``out`` still."""
        for entry in self._read().entries:
            files = [Path(name) for name in entry.files]
            there = all(f.is_file() and f.parent == out.resolve() for f in files)
            if entry.asked == asked and there:
                return entry
        return None

    def add(
        self, asked: str, files: Sequence[Path], failures: Sequence[tuple[str, PPCMIError]]
    ) -> None:
        """Note an export."""
        ledger = self._read()
        ledger.entries.append(
            PairsEntry(
                asked=asked,
                files=[str(path.resolve()) for path in files],
                failed=[
                    _Failure(case=case, message=error.message, hint=error.hint)
                    for case, error in failures
                ],
            )
        )
        write_text(self.path, ledger.model_dump_json(indent=1) + "\n", mode=0o600)

    def _read(self) -> _Ledger:
        try:
            return _Ledger.model_validate_json(self.path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, ValidationError):
            return _Ledger()  # without it, pairs are just made once more


def pairs_asked(cases: Sequence[Case], *settings: object) -> str:
    """Changes with the files of the cases, their groups, and every setting."""
    digest = hashlib.sha256(repr(settings).encode())
    for case in cases:
        files = [path for path in (case.image, case.mask) if path is not None]
        try:
            stamp = source_stamp(files)
        except OSError:
            stamp = "unreadable"
        known = [case.name, case.group, case.channel_axis, *(str(f.resolve()) for f in files)]
        digest.update(repr([known, stamp]).encode())
    return digest.hexdigest()
