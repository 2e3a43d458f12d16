"""The privacy audit of the open site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_ppcmi._protocol.audit import Audited, AuditRow, AuditSite
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._protocol.window_words import in_window_words
from napari_ppcmi._worker.desk import Desk
from napari_ppcmi._worker.outcomes import batch_problems
from ppcmi_sf.data import find_cases, find_cases_with_problems
from ppcmi_sf.errors import InputFileError, TrainingError
from ppcmi_sf.progress import Job

if TYPE_CHECKING:
    from ppcmi_sf.audit.result import AttackResult, AuditReport


def audit_site(desk: Desk, request: AuditSite) -> Job[Audited]:
    """Attack the open site with its own key, and write the report."""
    from ppcmi_sf.audit.options import AuditOptions
    from ppcmi_sf.audit.run import NOT_A_PROMISE
    from ppcmi_sf.device import choose_device
    from ppcmi_sf.latent_noise import LatentNoise
    from ppcmi_sf.workflows import audit_site as engine

    key, folder = desk.require_key(), desk.require_site()
    _require_no_report(request.out)
    cases, problems = find_cases_with_problems(request.data, need_masks=True)
    if not cases:
        raise TrainingError(
            "No case of the data folder could be used.",
            hint=f"The first one: {Failure.of(problems[0][1]).text}",
        )
    public = find_cases(request.public) if request.public else []
    unseen = find_cases(request.unseen, need_masks=True) if request.unseen else []
    found = yield from engine.audit_site(
        engine.AuditSources(
            folder, key, cases, request.partners, public, unseen, LatentNoise.at(request.noise)
        ),
        request.out,
        AuditOptions(seed=request.seed, quick=not request.thorough),
        request.attacks,
        device=choose_device(request.device),
    )
    return Audited(
        html=found.html,
        rows=tuple(row for result in found.report.results for row in _rows(result)),
        caution=NOT_A_PROMISE,
        not_tested=_left_open(found.report),
        problems=batch_problems(problems + found.failures),
    )


def _require_no_report(folder: Path) -> None:
    """A report is a record: a later one does not take its place."""
    from ppcmi_sf.audit.report_html import HTML_NAME, JSON_NAME

    if any((folder / name).exists() for name in (HTML_NAME, JSON_NAME)):
        raise InputFileError(
            folder, "there is a report in this folder.", hint="Choose an empty or a new one."
        )


def _rows(result: AttackResult) -> list[AuditRow]:
    """The report's summary of one attack."""
    from ppcmi_sf.audit.report_html import aim_words, headlines, interval, number

    title = result.attack.title
    if result.problem:
        return [AuditRow(attack=title, measured=f"Not run: {in_window_words(result.problem)}")]
    return [
        AuditRow(
            attack=title,
            measured=one.name,
            number=number(one.value),
            interval=interval(one),
            n=str(one.n),
            chance=number(one.chance),
            aim=aim_words(one),
        )
        for one in headlines(result)
    ]


def _left_open(report: AuditReport) -> tuple[str, ...]:
    """What was not tested: by the attacks that were run, and attacks that were not."""
    from ppcmi_sf.audit.run import choose_attacks

    run = {result.attack.id for result in report.results if not result.problem}
    return tuple(
        f"{result.attack.title}: {in_window_words(line)}"
        for result in report.results
        for line in result.not_tested
    ) + tuple(
        f"{entry.attack.title}: not run" for entry in choose_attacks() if entry.attack.id not in run
    )
