"""``ppcmi evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppcmi_sf.cli.console import command, drive, fail_if_partial, show_result, show_table
from ppcmi_sf.cli.options import JsonOption
from ppcmi_sf.evaluation import EvaluationReport, evaluate_folders
from ppcmi_sf.metrics import METRICS
from ppcmi_sf.study import StudySpec

EXAMPLE = "Example: ppcmi evaluate --pred masks/north --truth data/test --study lv.yaml"
HEADINGS = ("Class", "Dice", "IoU", "Sensitivity", "Specificity", "HD95 mm", "ASD mm", "Cases")


@command
def evaluate(
    pred: Annotated[Path, typer.Option("--pred", help="Folder of decoded masks.")],
    truth: Annotated[Path, typer.Option("--truth", help="Folder of true masks.")],
    study: Annotated[Path, typer.Option("--study", help="The study file, for the classes.")],
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every case's scores.")] = None,
    spacing: Annotated[
        float, typer.Option("--spacing", min=1e-6, help="mm per pixel of files that do not say.")
    ] = 1.0,
    json_output: JsonOption = False,
) -> None:
    """Score masks: Dice, IoU, sensitivity, specificity, HD95, ASD; mean ± SD over cases."""
    names = [item.name for item in StudySpec.load(study).classes]
    report = drive(evaluate_folders(pred, truth, names, spacing))
    if csv is not None:
        report.write_csv(csv)
    if json_output:
        show_result(report.to_json(), [], as_json=True)
    else:
        show_table(f"{pred} against {truth}", HEADINGS, summary_rows(report))
    fail_if_partial(list(report.failures), len(report.cases))


def summary_rows(report: EvaluationReport) -> list[list[str]]:
    """One row of text per class and one for their mean."""
    return [
        [
            summary.class_name,
            *(f"{summary.mean[name]:.3f} ± {summary.sd[name]:.3f}" for name in METRICS),
            str(summary.n),
        ]
        for summary in report.summaries
    ]
