"""The attacks, one module each, in the order of the report.

Each module has ``ATTACK``, what it is, and ``run(subject, options)``, a job that gives an
:class:`~ppcmi_sf.audit.result.AttackResult`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.result import Attack, AttackResult
from ppcmi_sf.audit.subject import Subject
from ppcmi_sf.progress import Job

Run: TypeAlias = Callable[[Subject, AuditOptions], Job[AttackResult]]


@dataclass(frozen=True)
class Entry:
    """An attack in the list.

    Attributes
    ----------
    attack, run
        Of its module.
    weight
        About how long it takes beside the others, for the progress.
    """

    attack: Attack
    run: Run
    weight: int


def all_attacks() -> tuple[Entry, ...]:
    """Every attack, in the order of the report."""
    from ppcmi_sf.audit.attacks import (
        cross_decoder,
        known_plaintext,
        layout,
        learned_inversion,
        linkability,
        malicious_participant,
        membership,
        property_inference,
        wrong_key,
    )

    return (
        Entry(cross_decoder.ATTACK, cross_decoder.run, 6),
        Entry(wrong_key.ATTACK, wrong_key.run, 8),
        Entry(learned_inversion.ATTACK, learned_inversion.run, 60),
        Entry(known_plaintext.ATTACK, known_plaintext.run, 5),
        Entry(layout.ATTACK, layout.run, 16),
        Entry(linkability.ATTACK, linkability.run, 4),
        Entry(membership.ATTACK, membership.run, 40),
        Entry(property_inference.ATTACK, property_inference.run, 4),
        Entry(malicious_participant.ATTACK, malicious_participant.run, 40),
    )
