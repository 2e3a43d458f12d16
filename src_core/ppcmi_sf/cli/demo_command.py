"""``ppcmi demo``: the whole method on synthetic images, with the verbs that users use."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import SecretStr

from ppcmi_sf.cli import demo_files
from ppcmi_sf.cli.console import (
    command,
    drive,
    say,
    show_result,
    show_table,
    steps_of_a_whole,
)
from ppcmi_sf.cli.demo_steps import SERVER, DemoSteps, Lengths
from ppcmi_sf.cli.evaluate_command import PIXELS
from ppcmi_sf.cli.options import JsonOption, SeedOption
from ppcmi_sf.cli.reports import score_cells, score_headings
from ppcmi_sf.cli.signals import CANCELLED
from ppcmi_sf.data import DEMO_SITES, write_phantom_folder, write_phantom_volume
from ppcmi_sf.data.phantom import CLASS_NAMES
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.evaluation import EvaluationReport, evaluate_folders
from ppcmi_sf.files import write_text
from ppcmi_sf.home import Home
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.passphrase import read_passphrase_file

EXAMPLE = "Example: ppcmi demo --out demo-output"

SIZE = (128, 128)
TRAINING_IMAGES = 32
TEST_IMAGES = 10
TEST_SEED_STEP = 1_000_000  # test images come from other seeds than training images
BATCH_SIZE = 4  # so few images need small batches, for enough steps
SAMPLE_IMAGES = 2
SAMPLE_SITE = "north"
RECORD = "demo.json"
SAMPLE_RECORD = "sample.json"
SAMPLE_PARTS = ("ultrasound", "volume", "site")
SAMPLE_PASSPHRASE = "synthetic sample data"
SHOWN = ("dice", "iou", "hd95_mm", "asd_mm")


@command
def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", help="Folder for everything that is made.")] = Path(
        "demo-output"
    ),
    sample_data: Annotated[
        Path | None,
        typer.Option("--sample-data", help="Make the sample data in this folder instead."),
    ] = None,
    images_only: Annotated[
        bool, typer.Option("--images-only", help="Stop once the synthetic images are there.")
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            min=1,
            help="Passes over the data in every training, for a quick look at the steps; default: "
            f"{Lengths.site_epochs} at the sites, {Lengths.server_epochs} at the server.",
        ),
    ] = None,
    seed: SeedOption = 0,
    json_output: JsonOption = False,
) -> None:
    """Run the method on synthetic ultrasound of three sites; takes a few minutes.

    Writes scores.json and figure.png next to every file that sites and server
    would have exchanged.
    """
    lengths = Lengths() if epochs is None else Lengths(epochs, epochs, 2)
    if sample_data is not None:
        demo_files.clear(sample_data, SAMPLE_RECORD, SAMPLE_PARTS)
        with tempfile.TemporaryDirectory(prefix="ppcmi-demo-") as folder:
            _run_demo(context, Path(folder), lengths, seed)
            _install_network(context, _steps(Path(folder), lengths, seed))
            try:
                _write_sample_data(Path(folder), sample_data, seed)
            finally:
                demo_files.remember(sample_data, SAMPLE_RECORD, seed, SAMPLE_PARTS)
        show_result(
            {"sample_data": str(sample_data)}, [f"Wrote {sample_data}"], as_json=json_output
        )
        return
    demo_files.clear(out, RECORD)
    try:
        if images_only:
            _write_images(out, seed)
            done = [f"Wrote the images of three sites to {out}"]
            show_result({"out": str(out)}, done, as_json=json_output)
            return
        fields, reports = _run_demo(context, out, lengths, seed)
    finally:
        demo_files.remember(out, RECORD, seed)
    if json_output:
        show_result({"out": str(out)} | fields, [], as_json=True)
        return
    rows = [
        [site, summary.class_name, *score_cells(summary, SHOWN)]
        for site, report in reports.items()
        for summary in report.summaries
    ]
    headings = ["Site", "Class", *score_headings(PIXELS, SHOWN)]
    show_table("Decoded masks against the truth, mean ± SD over test images", headings, rows)
    show_result({}, _closing_lines(out, fields), as_json=False)


def _closing_lines(out: Path, fields: dict[str, Any]) -> list[str]:
    return [
        f"Mean Dice {fields['mean_dice']:.3f} over three sites, {fields['seconds']:.0f} s.",
        f"Figure: {out / 'figure.png'}   Scores: {out / 'scores.json'}",
        "Synthetic images; research software, not a medical device.",
    ]


def _write_images(out: Path, seed: int) -> None:
    for style in DEMO_SITES:
        folder = out / "data" / style.name
        drive(write_phantom_folder(folder / "train", style, TRAINING_IMAGES, seed, SIZE))
        test_seed = seed + TEST_SEED_STEP
        drive(write_phantom_folder(folder / "test", style, TEST_IMAGES, test_seed, SIZE))


def _run_demo(
    context: typer.Context, out: Path, lengths: Lengths, seed: int
) -> tuple[dict[str, Any], dict[str, EvaluationReport]]:
    started = time.monotonic()
    _write_images(out, seed)
    steps = _steps(out, lengths, seed)
    steps.write_passphrase()
    _call_all(context, steps.agreeing())
    homes = {name: Home(steps.home(name)) for name in (SERVER, *steps.names)}
    heard = {name: home.card().fingerprint for name, home in homes.items()}
    _call_all(context, [*steps.joining(heard), *steps.training(), *steps.asking()])
    names = list(steps.names)
    reports = {
        name: drive(
            evaluate_folders(out / "masks" / name, out / "data" / name / "test", CLASS_NAMES)
        )
        for name in names
    }
    from ppcmi_sf.cli.demo_figure import draw_figure

    draw_figure(steps)
    fields = {
        "mean_dice": sum(r.summaries[-1].mean["dice"] for r in reports.values()) / len(reports),
        "seconds": round(time.monotonic() - started, 1),
        "sites": {name: report.to_json()["summary"] for name, report in reports.items()},
    }
    write_text(out / "scores.json", json.dumps(fields, indent=2) + "\n")
    return fields, reports


def _steps(out: Path, lengths: Lengths, seed: int) -> DemoSteps:
    names = tuple(style.name for style in DEMO_SITES)
    return DemoSteps(out, names, tuple(CLASS_NAMES[1:]), SIZE, BATCH_SIZE, lengths, seed)


def _call_all(context: typer.Context, lines: list[str]) -> None:
    with steps_of_a_whole():
        for line in lines:
            _call(context, line)


def _call(context: typer.Context, line: str) -> None:
    """Run one verb in this process, just as the shell would."""
    say(f"$ ppcmi {line}")
    code = context.find_root().command.main(shlex.split(line), standalone_mode=False)
    if code == CANCELLED:
        raise KeyboardInterrupt
    if code:
        error = PPCMIError("A step of the demo failed; see above.", hint="Try 'ppcmi doctor'.")
        error.exit_code = code
        raise error


def _install_network(context: typer.Context, steps: DemoSteps) -> None:
    """The sample's site can segment alone."""
    _call_all(context, steps.publishing(SAMPLE_SITE))
    (bundle,) = (steps.out / "models").iterdir()
    _call_all(context, steps.installing(SAMPLE_SITE, bundle))


def _write_sample_data(demo_folder: Path, target: Path, seed: int) -> None:
    """Pick a few images and one site out of a demo's folder."""
    for style in DEMO_SITES:
        drive(
            write_phantom_folder(
                target / "ultrasound", style, SAMPLE_IMAGES, seed + 2 * TEST_SEED_STEP, SIZE
            )
        )
    volume = target / "volume"
    volume.mkdir(parents=True, exist_ok=True)
    write_phantom_volume(volume / "image.nii.gz", volume / "mask.nii.gz", DEMO_SITES[0], seed)
    from ppcmi_sf.workflows.work_lock import LOCK_FILE

    site = demo_folder / "sites" / SAMPLE_SITE
    private = shutil.ignore_patterns("pairs.json", LOCK_FILE)  # paths, and nothing of use
    shutil.copytree(site, target / "site", ignore=private, dirs_exist_ok=True)
    steps = _steps(demo_folder, Lengths(), seed)
    key = ClientKey.load(
        demo_folder / "keys" / f"{SAMPLE_SITE}.ppcmikey",
        read_passphrase_file(steps.passphrase_file),
    )
    # Anybody may open the sample's key: what it protects is synthetic.
    write_text(target / "site" / "passphrase.txt", f"{SAMPLE_PASSPHRASE}\n", mode=0o600)
    key.save(target / "site" / f"{SAMPLE_SITE}.ppcmikey", SecretStr(SAMPLE_PASSPHRASE))
    shutil.copyfile(demo_folder / "scores.json", target / "scores.json")
