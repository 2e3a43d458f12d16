"""``ppcmi server train`` and ``ppcmi server map``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ppcmi_sf.cli.console import command, drive, fail_if_partial, failure_fields, show_result
from ppcmi_sf.cli.options import (
    BatchSizeOption,
    DeviceName,
    DeviceOption,
    EpochsOption,
    JsonOption,
    LearningRateOption,
    PatienceOption,
    PrecisionName,
    PrecisionOption,
    RetrainOption,
    SeedOption,
    ServerDirOption,
    StudyOption,
    bundle_files,
    pick_device,
)
from ppcmi_sf.cli.reports import already, count, fit_fields, fit_line
from ppcmi_sf.study import StudySpec

app = typer.Typer(help="What the mapping server does.", no_args_is_help=True)

TRAIN_EXAMPLE = (
    "Example: ppcmi server train outbox/north outbox/south --study lv.yaml "
    "--share north.share.json --share south.share.json --server-dir server"
)
MAP_EXAMPLE = "Example: ppcmi server map inbox/north --server-dir server --out outbox/north"


class MappingLossName(StrEnum):
    """Losses of the mapping network."""

    normalised = "normalised"
    mse = "mse"


@app.command("train", epilog=TRAIN_EXAMPLE)
@command
def train(
    bundles: Annotated[list[Path], typer.Argument(help="Training bundles, or folders of them.")],
    study: StudyOption,
    server_dir: ServerDirOption,
    share: Annotated[
        list[Path] | None,
        typer.Option("--share", help="Transform share of a site (escrow studies), one each."),
    ] = None,
    epochs: EpochsOption = 60,
    batch_size: BatchSizeOption = 24,
    learning_rate: LearningRateOption = 1e-3,
    patience: PatienceOption = 20,
    loss: Annotated[
        MappingLossName, typer.Option("--loss", help="mse is the paper's.")
    ] = MappingLossName.normalised,
    adapters: Annotated[
        bool | None,
        typer.Option("--adapters/--no-adapters", help="Per-site adapters; default: fused only."),
    ] = None,
    retrain: RetrainOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = DeviceName.auto,
    json_output: JsonOption = False,
) -> None:
    """Train one mapping network on the pairs of all sites."""
    from ppcmi_sf.training.loop import FitOptions
    from ppcmi_sf.training.mapping import MappingOptions
    from ppcmi_sf.workflows.train_server import train_server

    options = MappingOptions(
        fit=FitOptions(epochs, batch_size, learning_rate, patience, seed),
        loss=loss.value,
        adapters=adapters,
    )
    job = train_server(
        server_dir,
        StudySpec.load(study),
        bundle_files(bundles, "training"),
        share or [],
        options,
        device=pick_device(device),
        retrain=retrain,
    )
    report = drive(job)
    pairs = ", ".join(f"{number} of {name}" for name, number in report.pairs.items())
    show_result(
        {
            "server_dir": str(server_dir),
            "pairs": report.pairs,
            "parameters": report.parameters,
            "fit": fit_fields(report.fit),
        },
        [
            f"Trained the mapping network ({report.parameters / 1e6:.1f} M parameters) with pairs, "
            f"{pairs}: {server_dir}",
            f"Mapping network: {fit_line(report.fit)}",
        ],
        as_json=json_output,
    )


@app.command("map", epilog=MAP_EXAMPLE)
@command
def map_(
    queries: Annotated[list[Path], typer.Argument(help="Query bundles, or folders of them.")],
    server_dir: ServerDirOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for the replies.")],
    precision: PrecisionOption = PrecisionName.float16,
    device: DeviceOption = DeviceName.auto,
    json_output: JsonOption = False,
) -> None:
    """Answer queries: protected image latents to protected mask latents."""
    from ppcmi_sf.workflows.map_queries import map_queries

    files = bundle_files(queries, "query")
    job = map_queries(server_dir, files, out, device=pick_device(device), precision=precision.value)
    report = drive(job)
    show_result(
        {
            "out": str(out),
            "replies": [path.name for path in report.written],
            "skipped": report.skipped,
            "failures": failure_fields(report.failures),
        },
        [f"Wrote {count(len(report.written), 'reply')} to {out}" + already(report.skipped)],
        as_json=json_output,
    )
    fail_if_partial(report.failures, len(report.written) + len(report.skipped))
