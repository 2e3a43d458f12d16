"""Run the chosen attacks one after the other."""

from __future__ import annotations

import platform
import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from importlib.metadata import version

from ppcmi_sf._version import __version__
from ppcmi_sf.audit.attacks import Entry, all_attacks
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.result import AttackResult, AuditReport
from ppcmi_sf.audit.subject import Subject
from ppcmi_sf.errors import InputFileError, PPCMIError
from ppcmi_sf.models.store import weights_id
from ppcmi_sf.progress import Job, Progress, retold

PARTS = 1000  # of the progress of one attack, for each unit of its weight

NOT_A_PROMISE = (
    "These are the attacks that were run, with these data and this budget. An attacker with more "
    "data, more time or another method may get more."
)


def choose_attacks(ids: Collection[str] = ()) -> tuple[Entry, ...]:
    """The attacks of these ids, in the order of the report; all where none is named.

    Raises
    ------
    PPCMIError
        There is no attack of such an id.
    """
    every = all_attacks()
    known = [entry.attack.id for entry in every]
    unknown = [name for name in ids if name not in known]
    if unknown:
        raise PPCMIError(
            f"There is no attack '{unknown[0]}'.", hint=f"Choose from: {', '.join(known)}."
        )
    return tuple(entry for entry in every if not ids or entry.attack.id in ids)


def run_attacks(
    subject: Subject, options: AuditOptions, ids: Collection[str] = ()
) -> Job[AuditReport]:
    """Attack a subject and report. What cannot be run is in the report with its reason.

    Parameters
    ----------
    ids
        Which attacks; all where none is named.

    Raises
    ------
    PPCMIError
        There is no attack of such an id.
    """
    entries = choose_attacks(ids)
    total = PARTS * sum(entry.weight for entry in entries)
    done, results = 0, []
    for entry in entries:
        result = yield from _one(entry, subject, options, done, total)
        results.append(result)
        done += PARTS * entry.weight
    yield Progress(total, total, "Audit done")
    return _report(subject, options, results)


def _one(
    entry: Entry, subject: Subject, options: AuditOptions, before: int, total: int
) -> Job[AttackResult]:
    """One attack, its progress as a part of the whole."""
    started = time.monotonic()
    title, inside = entry.attack.title, 0
    yield Progress(before, total, title)

    def tell(step: Progress) -> Progress:
        # An attack counts its steps anew in each of its parts; a bar must not go back.
        nonlocal inside
        inside = max(inside, int(PARTS * entry.weight * min(1.0, step.fraction)))
        return Progress(before + inside, total, f"{title}: {step.message}", step.values)

    try:
        result = yield from retold(entry.run(subject, options), tell)
    except PPCMIError as error:
        result = AttackResult(entry.attack, problem=_told(error))
    return replace(result, seconds=time.monotonic() - started)


def _told(error: PPCMIError) -> str:
    """Why an attack was not run; never a path, which may name a patient."""
    return "A file cannot be used." if isinstance(error, InputFileError) else error.message


def _report(
    subject: Subject, options: AuditOptions, results: Sequence[AttackResult]
) -> AuditReport:
    site = subject.site
    return AuditReport(
        study=subject.study.name,
        site=subject.share.site,
        arrangement=subject.study.arrangement,
        study_fingerprint=subject.study.fingerprint,
        key_id=subject.share.key_id,
        epoch=subject.share.epoch,
        encoders=weights_id(site.image_autoencoder.encoder, site.mask_autoencoder.encoder),
        network="" if subject.network is None else weights_id(subject.network),
        defences=defences_of(subject),
        data=data_of(subject),
        versions=_versions(),
        seed=options.seed,
        quick=options.quick,
        results=tuple(results),
    )


def defences_of(subject: Subject) -> tuple[str, ...]:
    """What is switched on, in plain words."""
    noise = subject.site.noise
    noised: tuple[str, ...] = ()
    if noise is not None:
        told = noise.in_words(subject.study)
        noised = (f"{told}; this holds if the site adds it to all that it sends",)
    if subject.study.arrangement == "escrow":
        return (
            "keyed transform: mixing, bias and new order of the positions",
            "a transform of its own for each item",
            *noised,
        )
    return ("keyed transform: mixing and bias, the same for every item of a key epoch", *noised)


def data_of(subject: Subject) -> tuple[str, ...]:
    """What was used, in plain words and without a name of a case."""
    members, others = subject.members, subject.others
    lines = [
        f"{len(members)} slices of {members.group_count} patients that the site's autoencoders "
        "were trained on",
        f"{len(others)} slices of {others.group_count} patients that were set apart",
    ]
    if subject.partners:
        lines.append(f"autoencoders of {len(subject.partners)} partners, as they gave them")
        if subject.asking:
            count = len(subject.asking)
            lines.append(f"the same mapping network as {count} of these partners have it")
    else:
        lines.append("no partner's autoencoder was given: two were trained on the public images")
    if subject.public_is_own:
        lines.append(
            "no public images were given: the attacker gets the site's own slices that were set "
            "apart, which are more like the attacked ones than public images would be, but few; "
            "those are not attacked themselves"
        )
    else:
        public = subject.public
        lines.append(f"{len(public)} public slices of {public.group_count} patients")
        both = len(members) + len(others) - len(subject.unknown)
        if both:
            lines.append(
                f"{both} of the site's slices are among these; who trains on them is not asked "
                "about them"
            )
    if subject.network is None:
        lines.append(
            "the site has no mapping network of this key and these autoencoders: attacks on it "
            "were not run"
        )
    return (*lines, *subject.notes)


def _versions() -> dict[str, str]:
    libraries = {name: version(name) for name in ("torch", "numpy", "scipy", "monai")}
    return {"ppcmi": __version__, "python": platform.python_version(), **libraries}
