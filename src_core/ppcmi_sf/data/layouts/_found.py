"""What a layout gives: cases, and problems that concern one case only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ppcmi_sf.data.cases import Case
from ppcmi_sf.errors import PPCMIError


@dataclass(frozen=True)
class Found:
    """Cases of a folder, masks not yet demanded, and problems by case name."""

    cases: list[Case]
    problems: list[tuple[str, PPCMIError]] = field(default_factory=list)


@dataclass(frozen=True)
class Layout:
    """How one kind of folder is arranged.

    Attributes
    ----------
    description
        What the folder looks like, in one line.
    matches
        Whether a folder looks like this layout.
    find
        Cases of a folder. Its second argument is the folder of the masks when they
        lie elsewhere; its third whether only cases meant for training are wanted.
    """

    description: str
    matches: Callable[[Path], bool]
    find: Callable[[Path, Path | None, bool], Found]
