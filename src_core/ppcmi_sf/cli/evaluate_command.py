"""``ppcmi evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppcmi_sf.cli.console import command, drive, fail_if_partial, say, show_result, show_table
from ppcmi_sf.cli.options import JsonOption
from ppcmi_sf.cli.reports import score_cells, score_headings
from ppcmi_sf.data.listing import masks_in
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.evaluation import evaluate_folders
from ppcmi_sf.imaging import read_image
from ppcmi_sf.study import StudySpec

EXAMPLE = "Example: ppcmi evaluate --pred masks/north --truth data/test --study lv.yaml"
PIXELS, MILLIMETRES = "px", "mm"
_SIZED = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")  # formats that state a voxel size


@command
def evaluate(
    pred: Annotated[Path, typer.Option("--pred", help="Folder of decoded masks.")],
    truth: Annotated[Path, typer.Option("--truth", help="Folder of true masks.")],
    study: Annotated[
        Path | None, typer.Option("--study", help="The study file, for names of the classes.")
    ] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="Write every case's scores.")] = None,
    spacing: Annotated[
        float | None,
        typer.Option("--spacing", min=1e-6, help="mm per pixel of files that do not say (PNG)."),
    ] = None,
    json_output: JsonOption = False,
) -> None:
    """Score masks: Dice, IoU, sensitivity, specificity, HD95, ASD; mean ± SD over cases.

    HD95 and ASD are in mm; in pixels (px) when the files state no pixel size,
    as PNG does, and --spacing is not given.
    """
    names = None if study is None else [item.name for item in StudySpec.load(study).classes]
    report = drive(evaluate_folders(pred, truth, names, 1.0 if spacing is None else spacing))
    unit = MILLIMETRES if spacing is not None else _unit(truth)
    if csv is not None and report.cases:  # else the failures below say why there is no table
        report.write_csv(csv)
    fields = report.to_json() | {"distance_unit": unit}
    if json_output:
        show_result(fields, [], as_json=True)
    elif report.cases:
        rows = [
            [item.class_name, *score_cells(item, between="\n"), str(item.n)]
            for item in report.summaries
        ]
        headings = ["Class", *score_headings(unit), "Cases"]
        show_table(f"{pred} against {truth}", headings, rows)
    if report.without_truth:
        say(f"Not scored, since there is no true mask: {', '.join(report.without_truth)}")
    fail_if_partial(list(report.failures), len(report.cases))


def _unit(truth: Path) -> str:
    """What distances are in, by what the files of the true masks state."""
    sized = [_states_size(path) for path in masks_in(_masks_folder(truth)).values()]
    if any(sized):
        if not all(sized):
            say("Some files state no pixel size: there a pixel counts as 1 mm (see --spacing).")
        return MILLIMETRES
    say("The files state no pixel size: distances are in pixels. Give --spacing for mm.")
    return PIXELS


def _masks_folder(truth: Path) -> Path:
    return truth / "masks" if (truth / "masks").is_dir() else truth


def _states_size(mask: Path) -> bool:
    if mask.name.lower().endswith(_SIZED):
        return True
    try:
        return read_image(mask).geometry.has_physical_size
    except PPCMIError:  # scoring it has told what is wrong with it
        return False
