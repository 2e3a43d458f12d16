"""Options that several verbs share."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import torch


class DeviceName(StrEnum):
    """Where the networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


class PrecisionName(StrEnum):
    """Numbers in a bundle."""

    float16 = "float16"
    float32 = "float32"
    int8 = "int8"


class LayoutName(StrEnum):
    """How the cases lie in a folder."""

    auto = "auto"
    folder = "folder"
    psfh = "psfh"
    nerve = "nerve"
    fumpe = "fumpe"
    msd = "msd"


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]
DeviceOption = Annotated[
    DeviceName, typer.Option("--device", help="Where the networks run; auto takes a GPU if any.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Same seed, same result.")]
StudyOption = Annotated[Path, typer.Option("--study", help="The study file.")]
KeyOption = Annotated[Path, typer.Option("--key", help="The site's client key file.")]
HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        help="Folder with your identity, contacts and registry; default: the one that PPCMI_HOME "
        "names, else one in your user's data folder.",
    ),
]
PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="A file whose first line is the passphrase; default: the file that "
        "PPCMI_PASSPHRASE_FILE names, else the system's keyring, else you are asked.",
    ),
]
NewPassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        "--new-passphrase-file",
        help="A file whose first line is the new passphrase; default: you are asked.",
    ),
]
FingerprintOption = Annotated[
    str | None,
    typer.Option(
        "--fingerprint",
        help="The other side's fingerprint as it told you, in words or hex; default: you are asked "
        "to compare.",
    ),
]
ValidDaysOption = Annotated[
    int, typer.Option("--valid-days", min=1, max=3660, help="Days until it expires.")
]
ToOption = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        help="Name of a contact to encrypt to; default: the study's mapping server. "
        "May be repeated for bundles.",
    ),
]
AgainOption = Annotated[
    bool, typer.Option("--again", help="Use bundles that were accepted before once more.")
]
SiteDirOption = Annotated[Path, typer.Option("--site-dir", help="The site's folder.")]
ServerDirOption = Annotated[Path, typer.Option("--server-dir", help="The server's folder.")]
LayoutOption = Annotated[
    LayoutName,
    typer.Option("--layout", help="How the data set lies on disk; auto goes by what is there."),
]
PrecisionOption = Annotated[
    PrecisionName | None,
    typer.Option(
        "--precision",
        help="Of the numbers in a bundle; default: float16, but int8 (half the size) for training "
        "pairs, except in a 'paper' study.",
    ),
]
CopiesOption = Annotated[
    int | None,
    typer.Option(
        "--copies",
        min=1,
        help="With --pairs: how often each slice is sent, once as it is and else augmented; "
        "default: 6, in a 'paper' study 1.",
    ),
]
PartsOption = Annotated[
    int,
    typer.Option(
        "--parts",
        min=1,
        max=100,
        help="With --pairs: divide the patients into so many parts, each in bundles of its own; "
        "for 'server train --cross-fit'.",
    ),
]
NoiseOption = Annotated[
    float | None,
    typer.Option(
        "--noise",
        min=1e-3,
        max=100,
        help="Gaussian noise on the latents that leave, as a multiple of their size (about 1). "
        "Costs accuracy; default: none.",
    ),
]
MasksOption = Annotated[
    Path | None, typer.Option("--masks", help="Folder of the masks, if it is elsewhere.")
]
EpochsOption = Annotated[
    int, typer.Option("--epochs", min=1, help="Passes over the data, at most.")
]
BatchSizeOption = Annotated[
    int, typer.Option("--batch-size", min=1, help="Slices in one step of the training.")
]
LearningRateOption = Annotated[
    float,
    typer.Option("--learning-rate", min=1e-7, max=1, help="Largest step of the optimiser (AdamW)."),
]
PatienceOption = Annotated[
    int | None,
    typer.Option(
        "--patience",
        min=1,
        help="Stop after so many epochs without a better validation loss, and keep the best.",
    ),
]
SliceAxisOption = Annotated[
    int | None,
    typer.Option(
        "--slice-axis",
        min=0,
        max=2,
        help="Cut volumes along this axis; default: that of the site's training, else the file's "
        "own.",
    ),
]
FrameOption = Annotated[
    int | None, typer.Option("--frame", min=0, help="Which frame of 4D files, from 0.")
]
SeriesOption = Annotated[
    str | None, typer.Option("--series", help="Which DICOM series of a folder, by its UID.")
]
AugmentOption = Annotated[
    bool | None,
    typer.Option(
        "--augment/--no-augment",
        help="Also train on changed images (flips, shifts, turns); default: on, but off for a "
        "'paper' study.",
    ),
]
RetrainOption = Annotated[bool, typer.Option("--retrain", help="Replace what is there.")]


def pick_device(name: DeviceName) -> torch.device:
    """Choose the device and say which one it is."""
    from ppcmi_sf.cli.console import say
    from ppcmi_sf.device import choose_device, describe_device

    device = choose_device(name.value)
    say(describe_device(device))
    return device
