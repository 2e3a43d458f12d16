"""``ppcmi site train``, ``ppcmi site protect`` and ``ppcmi site reveal``."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ppcmi_sf.cli.batches import Failure, find, show_masks
from ppcmi_sf.cli.console import command, drive, fail_if_partial, failure_fields, say, show_result
from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.cli.options import (
    AgainOption,
    AugmentOption,
    BatchSizeOption,
    CopiesOption,
    DeviceName,
    DeviceOption,
    EpochsOption,
    FrameOption,
    HomeOption,
    JsonOption,
    KeyOption,
    LayoutName,
    LayoutOption,
    LearningRateOption,
    MasksOption,
    NoiseOption,
    PartsOption,
    PassphraseFileOption,
    PatienceOption,
    PrecisionName,
    PrecisionOption,
    RetrainOption,
    SeedOption,
    SeriesOption,
    SiteDirOption,
    SliceAxisOption,
    StudyOption,
    ToOption,
    pick_device,
)
from ppcmi_sf.cli.reports import count, fit_fields, fit_line, noise_line
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.files import size_in_words
from ppcmi_sf.study import StudySpec
from ppcmi_sf.training.fidelity_words import fidelity_lines
from ppcmi_sf.training.fit_options import AUTOENCODER_FIT, FitOptions
from ppcmi_sf.workflows.bundle_files import bundle_files

if TYPE_CHECKING:
    from ppcmi_sf.home import Party
    from ppcmi_sf.keys import ClientKey
    from ppcmi_sf.latent_noise import LatentNoise
    from ppcmi_sf.workflows.report import ProtectReport

app = typer.Typer(help="What a hospital does.", no_args_is_help=True)

TRAIN_EXAMPLE = (
    "Example: ppcmi site train data/north --study lv.yaml --name north --site-dir sites/north"
)
PROTECT_EXAMPLE = (
    "Examples: ppcmi site protect data/north --pairs --site-dir sites/north "
    "--key north.ppcmikey --out outbox/north  (training pairs);  ppcmi site protect scan.nii.gz "
    "--site-dir sites/north --key north.ppcmikey --out outbox/north  (a query)"
)
REVEAL_EXAMPLE = (
    "Example: ppcmi site reveal inbox/north --site-dir sites/north --key north.ppcmikey "
    "--out masks/north"
)


TRAIN_LONGER = "Train it longer (--retrain with more --epochs) before you send pairs."
LEFT_OUT = (
    "The site was trained without them; each is listed with its reason. To train with them, mend "
    "them and run the same command again with --retrain."
)


class MaskLossName(StrEnum):
    """Losses of the mask autoencoder."""

    dice_ce = "dice-ce"
    bce_dice = "bce-dice"


OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace masks that are there.")]

LatentNoiseOption = Annotated[
    float,
    typer.Option(
        "--latent-noise",
        min=0,
        help="Noise on mask latents while the mask network trains; 0 is the paper's.",
    ),
]
MaskLossOption = Annotated[
    MaskLossName,
    typer.Option(
        "--mask-loss", help="What the mask network is trained by; bce-dice is the paper's."
    ),
]


@app.command("train", epilog=TRAIN_EXAMPLE)
@command
def train(
    data: Annotated[Path, typer.Argument(help="The site's images and masks.")],
    study: StudyOption,
    name: Annotated[str, typer.Option("--name", help="Name of the site.")],
    site_dir: SiteDirOption,
    layout: LayoutOption = LayoutName.auto,
    masks: MasksOption = None,
    epochs: EpochsOption = AUTOENCODER_FIT.epochs,
    batch_size: BatchSizeOption = AUTOENCODER_FIT.batch_size,
    learning_rate: LearningRateOption = AUTOENCODER_FIT.learning_rate,
    patience: PatienceOption = AUTOENCODER_FIT.patience,
    validation: Annotated[
        float, typer.Option("--validation", min=0, max=0.9, help="Share of patients set apart.")
    ] = 0.15,
    mask_loss: MaskLossOption = MaskLossName.dice_ce,
    latent_noise: LatentNoiseOption = 0.25,
    augment: AugmentOption = None,
    slice_axis: SliceAxisOption = None,
    frame: FrameOption = None,
    retrain: RetrainOption = False,
    seed: SeedOption = 0,
    device: DeviceOption = DeviceName.auto,
    json_output: JsonOption = False,
) -> None:
    """Train the site's own autoencoders. Stopped, the same command goes on where it was."""
    from ppcmi_sf.training.autoencoders import AutoencoderOptions
    from ppcmi_sf.workflows.train_site import train_site

    spec = StudySpec.load(study)
    cases, problems = find(data, layout, masks, need_masks=True)
    options = AutoencoderOptions(
        fit=FitOptions(epochs, batch_size, learning_rate, patience, seed),
        mask_loss=mask_loss.value,
        augment=spec.mapping != "paper" if augment is None else augment,
        latent_noise=latent_noise,
    )
    job = train_site(
        site_dir,
        spec,
        name,
        cases,
        options,
        validation_fraction=validation,
        device=pick_device(device),
        retrain=retrain,
        slice_axis=slice_axis,
        frame=frame,
    )
    report = drive(job)
    failures = problems + report.failures
    show_result(
        {
            "site_dir": str(site_dir),
            "training_slices": report.training_slices,
            "validation_slices": report.validation_slices,
            "image": fit_fields(report.image),
            "mask": fit_fields(report.mask),
            "mask_dice": report.mask_dice,
            "failures": failure_fields(failures),
        },
        [
            f"Trained site '{name}' on {count(report.training_slices, 'slice')} "
            f"({report.validation_slices} more set apart for validation): {site_dir}",
            f"Image autoencoder: {fit_line(report.image)}",
            f"Mask autoencoder: {fit_line(report.mask)}",
            *fidelity_lines(report.mask_dice, "it", TRAIN_LONGER),
        ],
        as_json=json_output,
    )
    fail_if_partial(failures, len(cases) - len(report.failures), LEFT_OUT)


@app.command("protect", epilog=PROTECT_EXAMPLE)
@command
def protect(
    images: Annotated[Path, typer.Argument(help="An image, or a folder of images (and masks).")],
    site_dir: SiteDirOption,
    key: KeyOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for the bundles.")],
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Images with masks, for the server to train on.")
    ] = False,
    to: ToOption = None,
    copies: CopiesOption = None,
    parts: PartsOption = 1,
    layout: LayoutOption = LayoutName.auto,
    masks: MasksOption = None,
    slice_axis: SliceAxisOption = None,
    frame: FrameOption = None,
    series: SeriesOption = None,
    precision: PrecisionOption = None,
    noise: NoiseOption = None,
    device: DeviceOption = DeviceName.auto,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Encode and protect images; write bundles that name neither patient nor file.

    Each bundle is encrypted to the study's mapping server, or to those that --to names, and
    signed by you.
    """
    from ppcmi_sf.latent_noise import LatentNoise
    from ppcmi_sf.workflows.outgoing import Addressed
    from ppcmi_sf.workflows.protect import protect_queries, protect_training_pairs

    _require_fitting(pairs, copies, parts, (slice_axis, frame, series))
    credentials = Credentials(home, passphrase_file)
    client_key, party = credentials.key(key), credentials.party()
    recipients = credentials.recipients(to or [], client_key.study)
    addressed = Addressed(party, recipients)
    cases, problems = find(images, layout, masks, need_masks=pairs)
    chosen = pick_device(device)
    latent_noise = LatentNoise.at(noise)
    if pairs:
        job = protect_training_pairs(
            site_dir,
            client_key,
            cases,
            out,
            addressed,
            device=chosen,
            copies=copies,
            parts=parts,
            precision=precision.value if precision else None,
            noise=latent_noise,
        )
    else:
        job = protect_queries(
            site_dir,
            client_key,
            cases,
            out,
            addressed,
            device=chosen,
            precision=(precision or PrecisionName.float16).value,
            slice_axis=slice_axis,
            frame=frame,
            series_uid=series,
            noise=latent_noise,
        )
    report = drive(job)
    failures = problems + report.failures
    _show_protected(out, report, failures, as_json=json_output)
    if latent_noise is not None:
        _tell_of_noise(latent_noise, site_dir, pairs=pairs, copies=copies)
    if pairs:
        _tell_of_others(out, party, client_key, report.written)
    names = ", ".join(f"'{card.name}'" for card in recipients)
    say(f"Encrypted to {names}: nobody else can open them. What they hold remains patient data.")
    fail_if_partial(failures, len(cases) - len(report.failures))


def _require_fitting(
    pairs: bool, copies: int | None, parts: int, view: tuple[int | None, int | None, str | None]
) -> None:
    """Refuse options that the kind of bundle has no use for; ``view`` is how volumes are cut."""
    if not pairs and (copies is not None or parts > 1):
        # Not ignored: whoever forgot --pairs would send queries of all training images.
        raise PPCMIError(
            "--copies and --parts are for training pairs, and without --pairs none are made.",
            hint="Add --pairs; for queries, leave --copies and --parts out.",
        )
    if pairs and view != (None, None, None):
        raise PPCMIError(
            "With --pairs, volumes are cut as they were in 'ppcmi site train'.",
            hint="Leave out --slice-axis, --frame and --series.",
        )


def _show_protected(
    out: Path, report: ProtectReport, failures: list[Failure], *, as_json: bool
) -> None:
    show_result(
        {
            "out": str(out),
            "bundles": [path.name for path in report.written],
            "items": report.items,
            "bytes": report.bytes,
            "skipped": report.skipped,
            "failures": failure_fields(failures),
        },
        [
            f"Wrote {count(len(report.written), 'bundle')} with {count(report.items, 'slice')} "
            f"({size_in_words(report.bytes)}) to {out}",
            *([f"Done before: {count(len(report.skipped), 'case')}."] * bool(report.skipped)),
        ],
        as_json=as_json,
    )


def _tell_of_noise(noise: LatentNoise, site_dir: Path, *, pairs: bool, copies: int | None) -> None:
    from ppcmi_sf.workflows.folders import SiteFolder
    from ppcmi_sf.workflows.protect import times_sent

    study = SiteFolder(site_dir).study()
    say(noise_line(noise, study, times_sent(study, pairs=pairs, copies=copies)))


def _tell_of_others(out: Path, party: Party, key: ClientKey, written: Sequence[Path]) -> None:
    """Two exports of the same patients would count twice in the server's training."""
    if not written:
        return
    made = party.home.registry.training_bundles(key.study)
    new = {path.resolve() for path in written}
    others = [path for path in made if path.parent == out.resolve() and path not in new]
    if others:
        say(
            f"Note: {out} holds {count(len(others), 'training bundle')} of site '{key.site}' from "
            "earlier. Give the server the new or the earlier ones; the same patients twice count "
            "twice."
        )


@app.command("reveal", epilog=REVEAL_EXAMPLE)
@command
def reveal(
    replies: Annotated[list[Path], typer.Argument(help="Reply bundles, or folders of them.")],
    site_dir: SiteDirOption,
    key: KeyOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for the masks.")],
    overwrite: OverwriteOption = False,
    again: AgainOption = False,
    device: DeviceOption = DeviceName.auto,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Decode the server's replies to masks, each in the grid of its own image."""
    from ppcmi_sf.workflows.reveal import reveal_replies

    credentials = Credentials(home, passphrase_file)
    client_key, party = credentials.key(key), credentials.party()
    job = reveal_replies(
        site_dir,
        client_key,
        bundle_files(replies, "reply", party.identity),
        out,
        party,
        device=pick_device(device),
        overwrite=overwrite,
        again=again,
    )
    report = drive(job)
    changed = [case for case in report.cases if case.new and case.image_changed]
    for case in changed:
        say(
            f"Note: {case.source} was changed since its query. {case.mask} is of the image as it "
            "was then; look at it before you use it."
        )
    more = {"image_changed": [case.mask.name for case in changed]}
    show_masks(out, report, "--overwrite --again", as_json=json_output, more=more)
