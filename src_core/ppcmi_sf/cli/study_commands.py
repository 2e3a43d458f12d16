"""``ppcmi study new``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ppcmi_sf.cli.console import command, say, show_result
from ppcmi_sf.cli.options import JsonOption
from ppcmi_sf.errors import InputFileError
from ppcmi_sf.study import StudySpec, make_study

app = typer.Typer(help="What the sites of one collaboration agree on.", no_args_is_help=True)

EXAMPLE = (
    'Example: ppcmi study new lv.yaml --name "Left ventricle" --modality MR '
    '--class "left ventricle" --arrangement escrow'
)
BLIND = (
    "Whoever opens a bundle of a blind study, the server too, sees the layout of its images, and "
    "with one known image can learn to make pictures of the others (docs/privacy.md). Choose it "
    "only where the server must not hold a secret."
)


class ModalityName(StrEnum):
    """What took the images."""

    mr = "MR"
    us = "US"
    ct = "CT"
    xr = "XR"
    other = "OTHER"


class ArrangementName(StrEnum):
    """What the server holds."""

    escrow = "escrow"
    blind = "blind"


class AutoencoderName(StrEnum):
    """Sizes of the sites' autoencoders."""

    fine = "fine"
    paper = "ppcmi-sf"
    small = "small"


class MappingName(StrEnum):
    """Mapping networks."""

    fused = "fused"
    paper = "paper"


ArrangementOption = Annotated[
    ArrangementName,
    typer.Option(
        "--arrangement",
        help="escrow: the server can undo the keyed transform. blind: it holds no secret, and "
        "more shows through.",
    ),
]
SkipsOption = Annotated[
    bool,
    typer.Option(
        "--skips/--no-skips",
        help="Without: only the coarsest latents are exchanged (the Privacy-SF form).",
    ),
]


@app.command("new", epilog=EXAMPLE)
@command
def new(
    file: Annotated[Path, typer.Argument(help="The study file to write (.yaml).")],
    name: Annotated[str, typer.Option("--name", help="Name of the study.")],
    modality: Annotated[
        ModalityName, typer.Option("--modality", case_sensitive=False, help="What took the images.")
    ],
    classes: Annotated[
        list[str], typer.Option("--class", help="A structure, in order of its value: 1, 2, …")
    ],
    size: Annotated[
        tuple[int, int], typer.Option("--size", help="Rows and columns, multiples of 32.")
    ] = (256, 256),
    channels: Annotated[
        int, typer.Option("--channels", help="Of an image: 1 for grey, 3 for colour, up to 8.")
    ] = 1,
    window: Annotated[
        tuple[float, float] | None,
        typer.Option(
            "--window",
            help="Centre and width of the values that are kept, in the file's units; for CT.",
        ),
    ] = None,
    percentiles: Annotated[
        tuple[float, float],
        typer.Option(
            "--percentiles", help="These percentiles of an image's values become 0 and 1."
        ),
    ] = (0.5, 99.5),
    arrangement: ArrangementOption = ArrangementName.escrow,
    autoencoder: Annotated[
        AutoencoderName,
        typer.Option(
            "--autoencoder",
            help="The sites' networks; ppcmi-sf is the paper's, small is for trials.",
        ),
    ] = AutoencoderName.fine,
    mapping: Annotated[
        MappingName,
        typer.Option("--mapping", help="The server's network; fused is ours, paper is slow."),
    ] = MappingName.fused,
    skips: SkipsOption = True,
    force: Annotated[bool, typer.Option("--force", help="Replace a study that is there.")] = False,
    json_output: JsonOption = False,
) -> None:
    """Write a study file. Every site and the server need the very same one."""
    if file.exists():
        if not force:
            raise InputFileError(
                file, "this file exists already.", hint="Choose another name, or add --force."
            )
        _require_study(file)
    normalization: dict[str, Any] = (
        {"kind": "window", "center": window[0], "width": window[1]}
        if window is not None
        else {"kind": "percentile", "low": percentiles[0], "high": percentiles[1]}
    )
    study = make_study(
        classes,
        name=name,
        modality=modality.value,
        image_size=size,
        channels=channels,
        normalization=normalization,
        arrangement=arrangement.value,
        autoencoder=autoencoder.value,
        mapping=mapping.value,
        use_skips=skips,
    )
    study.save(file)
    if study.arrangement == "blind":
        say(BLIND)
    show_result(
        {"file": str(file), "fingerprint": study.fingerprint},
        [f"Wrote {file}", f"Fingerprint {study.fingerprint}"],
        as_json=json_output,
    )


def _require_study(file: Path) -> None:
    try:
        StudySpec.load(file)
    except InputFileError as error:
        raise InputFileError(
            file, "not a study, so it is not replaced.", hint="Choose another name."
        ) from error
