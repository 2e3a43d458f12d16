"""The privacy audit: what an attacker gets from the open site's own models and features."""

from __future__ import annotations

from pathlib import Path

from napari_ppcmi._protocol.bundles import CaseProblem
from napari_ppcmi._protocol.message import Answer, NoiseLevel, Request


class AuditSite(Request):
    """Attack the open site and write the report. Answer: :class:`Audited`.

    Attributes
    ----------
    data
        What the site was trained on.
    partners
        Folders of other sites of the study.
    public
        Images like the site's, of others; none: those that the site set apart are taken.
    unseen
        Images with masks of patients that no training saw: for the question who was in one.
    noise
        Level of the noise that is on what the attackers get; 0 is none.
    thorough
        Longer trainings and more images than for a first look.
    attacks
        Ids; all where none is named.
    """

    data: Path
    out: Path
    partners: tuple[Path, ...] = ()
    public: Path | None = None
    unseen: Path | None = None
    noise: NoiseLevel = 0.0
    thorough: bool = False
    attacks: tuple[str, ...] = ()
    seed: int = 0
    device: str = "auto"


class AuditRow(Answer):
    """A number of an attack, in words; for an attack that was not run only the reason."""

    attack: str
    measured: str
    number: str = ""
    interval: str = ""
    n: str = ""
    chance: str = ""
    aim: str = ""


class Audited(Answer):
    """What came of it.

    Attributes
    ----------
    caution
        What the numbers do not promise.
    not_tested
        What was left open, a line each.
    """

    html: Path
    rows: tuple[AuditRow, ...]
    caution: str
    not_tested: tuple[str, ...] = ()
    problems: tuple[CaseProblem, ...] = ()
