"""What an audit finds: measurements with their intervals, pictures, and the whole report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Measurement:
    """One number of an attack.

    Attributes
    ----------
    name
        What was measured, in plain words.
    value
        The number.
    low, high
        Its 95 % interval, or ``None`` where there is none.
    n
        How many items (or pairs, or decisions) it is computed from.
    chance
        What somebody gets who knows nothing; ``None`` where that is not defined.
    aim
        What it should be, such as ``at most 0.34``; empty where there is no aim.
    met
        Whether the number meets the aim; ``None`` where there is none.
    shown
        Whether the whole interval does; a number that meets its aim by chance is no proof.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    chance: float | None = None
    aim: str = ""
    met: bool | None = None
    shown: bool = False

    @classmethod
    def aimed(
        cls,
        name: str,
        interval: tuple[float, float, float],
        n: int,
        chance: float | None = None,
        *,
        least: float | None = None,
        most: float | None = None,
    ) -> Measurement:
        """A number with its interval, and how it stands to its aim; without limits there is none.

        Parameters
        ----------
        interval
            The number, and the lower and the upper end; NaN where there is none.
        least, most
            What it should not be below or above.
        """
        value, *ends = interval
        low, high = (end if math.isfinite(end) else None for end in ends)
        if least is None and most is None:
            return cls(name, value, low, high, n, chance)
        bottom = -math.inf if least is None else least
        top = math.inf if most is None else most
        if least is None:
            words = f"at most {most:g}"
        else:
            words = f"at least {least:g}" if most is None else f"{least:g} to {most:g}"
        shown = low is not None and high is not None and bottom <= low and high <= top
        return cls(name, value, low, high, n, chance, words, bottom <= value <= top, shown)


@dataclass(frozen=True, eq=False)
class AuditPicture:
    """A grey picture: its title, and pixels float32 ``(H, W)`` in [0, 1]."""

    title: str
    pixels: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Attack:
    """What an attack is, whatever it finds.

    Attributes
    ----------
    id
        Short name, for ``--attack``.
    title
        For people.
    attacker
        Who would do it.
    knowledge
        What that attacker is assumed to know and to have.
    method
        What is done, in plain words.
    source
        Where the method is from.
    meaning
        How to read its numbers.
    risk
        What may happen where an aim is not met.
    """

    id: str
    title: str
    attacker: str
    knowledge: str
    method: str
    source: str
    meaning: str
    risk: str = ""


@dataclass(frozen=True, eq=False)
class AttackResult:
    """What an attack found.

    Attributes
    ----------
    measurements
        The first is the one for the summary; those of the planted weaknesses come last.
    pictures
        In the order of the report.
    reading
        What the numbers say, in plain words.
    not_tested
        What this attack leaves open.
    seconds
        How long it took.
    problem
        Why it was not run; empty when it was.
    """

    attack: Attack
    measurements: tuple[Measurement, ...] = ()
    pictures: tuple[AuditPicture, ...] = ()
    reading: str = ""
    not_tested: tuple[str, ...] = ()
    seconds: float = 0.0
    problem: str = ""


@dataclass(frozen=True, eq=False)
class AuditReport:
    """Everything that an audit found, with what is needed to repeat it.

    Attributes
    ----------
    study, site, arrangement
        Name of the study, name of the site, ``escrow`` or ``blind``.
    study_fingerprint, key_id, epoch, encoders, network
        Which study, client key, key epoch, autoencoders and mapping network were looked at;
        ``network`` is empty where the site has none.
    defences
        What is switched on, in plain words.
    data
        Plain words for the data and models that were used: how many slices and patients, whose
        partners' models, which public images.
    versions
        Program and library to version.
    seed, quick
        Same seed, same numbers; ``quick`` takes fewer items and shorter trainings.
    results
        One for each attack.
    """

    study: str
    site: str
    arrangement: str
    study_fingerprint: str
    key_id: str
    epoch: int
    encoders: str
    network: str
    defences: tuple[str, ...]
    data: tuple[str, ...]
    versions: Mapping[str, str]
    seed: int
    quick: bool
    results: tuple[AttackResult, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Everything but the pictures' pixels, as plain values for :func:`json.dumps`.

        Times are left out, so that the same audit gives the same JSON.
        """
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain["format"] = "ppcmi-audit"
        plain["defences"], plain["data"] = list(self.defences), list(self.data)
        plain["versions"] = dict(self.versions)
        plain["results"] = [_result_fields(result) for result in self.results]
        return plain


def _result_fields(result: AttackResult) -> dict[str, Any]:
    return {
        "attack": asdict(result.attack),
        "measurements": [_finite(asdict(one)) for one in result.measurements],
        "pictures": [picture.title for picture in result.pictures],
        "reading": result.reading,
        "not_tested": list(result.not_tested),
        "problem": result.problem,
    }


def _finite(fields: dict[str, Any]) -> dict[str, Any]:
    """Replace numbers that JSON does not have by null."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in fields.items()
    }
