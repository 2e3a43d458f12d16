"""``ppcmi server train``, ``join``, ``map`` and ``publish``."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ppcmi_sf.cli.console import command, drive, fail_if_partial, failure_fields, show_result
from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.cli.options import (
    AgainOption,
    BatchSizeOption,
    DeviceName,
    DeviceOption,
    EpochsOption,
    HomeOption,
    JsonOption,
    LearningRateOption,
    PassphraseFileOption,
    PatienceOption,
    PrecisionName,
    PrecisionOption,
    RetrainOption,
    SeedOption,
    ServerDirOption,
    StudyOption,
    pick_device,
)
from ppcmi_sf.cli.reports import already, count, fit_fields, fit_line
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.fit_options import JOINING_FIT, MAPPING_FIT, FitOptions
from ppcmi_sf.training.site_weights import MAX_SITE_WEIGHT
from ppcmi_sf.workflows.bundle_files import bundle_files

if TYPE_CHECKING:
    from ppcmi_sf.workflows.train_server import ServerTrainingReport

app = typer.Typer(help="What the mapping server does.", no_args_is_help=True)

TRAIN_EXAMPLE = (
    "Example: ppcmi server train outbox/north outbox/south --study lv.yaml "
    "--share north.ppcmishare --share south.ppcmishare --server-dir server"
)
JOIN_EXAMPLE = "Example: ppcmi server join outbox/west --share west.ppcmishare --server-dir server"
MAP_EXAMPLE = "Example: ppcmi server map inbox/north --server-dir server --out outbox/north"
PUBLISH_EXAMPLE = "Example: ppcmi server publish --to north --server-dir server --out outbox/north"


class MappingLossName(StrEnum):
    """Losses of the mapping network."""

    normalised = "normalised"
    mse = "mse"


CutMixOption = Annotated[
    float | None,
    typer.Option(
        "--cut-mix",
        min=0,
        max=1,
        help="Share of pairs that get a rectangle of another one while training; default: 0.5, "
        "in a 'paper' study 0.",
    ),
]
CrossFitOption = Annotated[
    bool,
    typer.Option(
        "--cross-fit",
        help="Make it harder to tell who was in the training: four trainings, from "
        "bundles made with --parts.",
    ),
]
AdaptersOption = Annotated[
    bool | None,
    typer.Option(
        "--adapters/--no-adapters",
        help="A small part of the network for each site; default: on, but off for a 'paper' study.",
    ),
]


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
    epochs: EpochsOption = MAPPING_FIT.epochs,
    batch_size: BatchSizeOption = MAPPING_FIT.batch_size,
    learning_rate: LearningRateOption = MAPPING_FIT.learning_rate,
    patience: PatienceOption = MAPPING_FIT.patience,
    loss: Annotated[
        MappingLossName,
        typer.Option("--loss", help="What the network is trained by; mse is the paper's."),
    ] = MappingLossName.normalised,
    adapters: AdaptersOption = None,
    cut_mix: CutMixOption = None,
    max_site_weight: Annotated[
        float,
        typer.Option(
            "--max-site-weight",
            help="Largest share of one site in the training, with three sites or more.",
        ),
    ] = MAX_SITE_WEIGHT,
    cross_fit: CrossFitOption = False,
    retrain: RetrainOption = False,
    again: AgainOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = DeviceName.auto,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Train one mapping network on the pairs of all sites."""
    from ppcmi_sf.training.mapping import MappingOptions
    from ppcmi_sf.workflows.train_server import train_server

    options = MappingOptions(
        fit=FitOptions(epochs, batch_size, learning_rate, patience, seed),
        loss=loss.value,
        adapters=adapters,
        cut_mix=cut_mix,
        max_site_weight=max_site_weight,
    )
    spec = StudySpec.load(study)
    party = Credentials(home, passphrase_file).party()
    job = train_server(
        server_dir,
        spec,
        bundle_files(bundles, "training", party.identity),
        share or [],
        options,
        party,
        device=pick_device(device),
        cross_fit=cross_fit,
        retrain=retrain,
        again=again,
    )
    _show_training(drive(job), "Trained the mapping network", server_dir, as_json=json_output)


@app.command("join", epilog=JOIN_EXAMPLE)
@command
def join(
    bundles: Annotated[
        list[Path], typer.Argument(help="Training bundles of the new site, or folders of them.")
    ],
    server_dir: ServerDirOption,
    share: Annotated[
        list[Path] | None,
        typer.Option("--share", help="Transform share of the new site (escrow studies)."),
    ] = None,
    epochs: EpochsOption = JOINING_FIT.epochs,
    batch_size: BatchSizeOption = JOINING_FIT.batch_size,
    learning_rate: LearningRateOption = JOINING_FIT.learning_rate,
    patience: PatienceOption = JOINING_FIT.patience,
    again: AgainOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = DeviceName.auto,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Let a new site join the network that others have trained; nothing changes for them."""
    from ppcmi_sf.training.mapping import MappingOptions
    from ppcmi_sf.workflows.join_server import join_server

    party = Credentials(home, passphrase_file).party()
    job = join_server(
        server_dir,
        bundle_files(bundles, "training", party.identity),
        share or [],
        MappingOptions(fit=FitOptions(epochs, batch_size, learning_rate, patience, seed)),
        party,
        device=pick_device(device),
        again=again,
    )
    _show_training(drive(job), "Trained adapters for a new site", server_dir, as_json=json_output)


def _show_training(
    report: ServerTrainingReport, what: str, server_dir: Path, *, as_json: bool
) -> None:
    pairs = ", ".join(f"{number} of {name}" for name, number in report.pairs.items())
    found = report.contributions.suspicions
    show_result(
        {
            "server_dir": str(server_dir),
            "pairs": report.pairs,
            "parameters": report.parameters,
            "fit": fit_fields(report.fit),
            "weights": report.contributions.weights,
            "suspicions": [asdict(one) for one in report.contributions.suspicions],
        },
        [
            f"{what} ({report.parameters / 1e6:.1f} M parameters) with pairs, {pairs}: "
            f"{server_dir}",
            f"Mapping network: {fit_line(report.fit)}",
            *(f"Look at site '{one.site}': {one.message}." for one in found),
            *(["Ask these sites before you use the network."] if found else []),
        ],
        as_json=as_json,
    )


@app.command("map", epilog=MAP_EXAMPLE)
@command
def map_(
    queries: Annotated[list[Path], typer.Argument(help="Query bundles, or folders of them.")],
    server_dir: ServerDirOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for the replies.")],
    precision: PrecisionOption = None,
    again: AgainOption = False,
    device: DeviceOption = DeviceName.auto,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Answer queries: protected image latents to protected mask latents.

    Each reply is encrypted to the sender of its query.
    """
    from ppcmi_sf.workflows.map_queries import map_queries

    party = Credentials(home, passphrase_file).party()
    job = map_queries(
        server_dir,
        bundle_files(queries, "query", party.identity),
        out,
        party,
        device=pick_device(device),
        precision=(precision or PrecisionName.float16).value,
        again=again,
    )
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


@app.command("publish", epilog=PUBLISH_EXAMPLE)
@command
def publish(
    server_dir: ServerDirOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for the bundle.")],
    to: Annotated[str, typer.Option("--to", help="The contact (a site) that it is for.")],
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Give a site the mapping network, so that it can segment without asking."""
    from ppcmi_sf.workflows.local_model import publish_model

    party = Credentials(home, passphrase_file).party()
    site = party.home.contacts.recipient(to)
    path = publish_model(server_dir, site, out, party)
    show_result(
        {"out": str(out), "bundle": path.name, "to": to, "bytes": path.stat().st_size},
        [f"Wrote the mapping network for '{to}': {path}"],
        as_json=json_output,
    )
