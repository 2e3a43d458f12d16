"""``ppcmi site install``, ``align`` and ``segment``: a mapping network at the site itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ppcmi_sf.cli.batches import find, show_masks
from ppcmi_sf.cli.console import (
    command,
    drive,
    fail_if_partial,
    failure_fields,
    show_result,
)
from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.cli.options import (
    AgainOption,
    AugmentOption,
    BatchSizeOption,
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
    PassphraseFileOption,
    PatienceOption,
    SeedOption,
    SeriesOption,
    SiteDirOption,
    SliceAxisOption,
    pick_device,
)
from ppcmi_sf.cli.reports import count, fit_fields, fit_line
from ppcmi_sf.cli.site_commands import OverwriteOption
from ppcmi_sf.training.fit_options import ENCODER_ALIGNMENT_FIT, FitOptions

if TYPE_CHECKING:
    from ppcmi_sf.workflows.align_site import SiteAlignmentReport

INSTALL_EXAMPLE = (
    "Example: ppcmi site install inbox/0f….ppcmi --site-dir sites/north --key north.ppcmikey"
)
ALIGN_EXAMPLE = "Example: ppcmi site align data/north --site-dir sites/north --key north.ppcmikey"
ALIGNED_WITHOUT = (
    "The encoder was aligned without them; each is listed with its reason. To align with them, "
    "mend them and run the same command again."
)
SEGMENT_EXAMPLE = (
    "Example: ppcmi site segment scan.nii.gz --site-dir sites/north --key north.ppcmikey "
    "--out masks"
)


@command
def install(
    bundle: Annotated[Path, typer.Argument(help="The mapping network, as the server sent it.")],
    site_dir: SiteDirOption,
    key: KeyOption,
    again: AgainOption = False,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Take in the server's mapping network, so that the site can segment without asking."""
    from ppcmi_sf.workflows.local_model import install_model

    credentials = Credentials(home, passphrase_file)
    client_key, party = credentials.key(key), credentials.party()
    network = install_model(site_dir, bundle, client_key, party, again=again)
    show_result(
        {"site_dir": str(site_dir), "model": network},
        [f"Installed the mapping network {network}: {site_dir}"],
        as_json=json_output,
    )


@command
def align(
    data: Annotated[Path, typer.Argument(help="The site's images and masks.")],
    site_dir: SiteDirOption,
    key: KeyOption,
    layout: LayoutOption = LayoutName.auto,
    masks: MasksOption = None,
    epochs: EpochsOption = ENCODER_ALIGNMENT_FIT.epochs,
    batch_size: BatchSizeOption = ENCODER_ALIGNMENT_FIT.batch_size,
    learning_rate: LearningRateOption = ENCODER_ALIGNMENT_FIT.learning_rate,
    patience: PatienceOption = ENCODER_ALIGNMENT_FIT.patience,
    augment: AugmentOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = DeviceName.auto,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Fit the image encoder to the installed mapping network. Nothing leaves this computer.

    'site segment' then uses the fitted copy; bundles are made as before. A fit that makes Dice
    worse on patients set apart is thrown away. Stopped, the same command goes on.
    """
    from ppcmi_sf.training.encoder_alignment import EncoderAlignmentOptions
    from ppcmi_sf.workflows.align_site import align_site
    from ppcmi_sf.workflows.folders import SiteFolder

    client_key = Credentials(None, passphrase_file).key(key)
    study = SiteFolder(site_dir).study()
    cases, problems = find(data, layout, masks, need_masks=True)
    options = EncoderAlignmentOptions(
        fit=FitOptions(epochs, batch_size, learning_rate, patience, seed),
        augment=study.mapping != "paper" if augment is None else augment,
    )
    report = drive(align_site(site_dir, client_key, cases, options, device=pick_device(device)))
    failures = problems + report.failures
    show_result(
        {
            "site_dir": str(site_dir),
            "training_slices": report.training_slices,
            "validation_slices": report.validation_slices,
            "dice_before": report.before,
            "dice_after": report.after,
            "kept": report.kept,
            "encoder": fit_fields(report.fit),
            "failures": failure_fields(failures),
        },
        [
            f"Aligned the encoder on {count(report.training_slices, 'slice')}: {site_dir}",
            _gain_line(report),
            f"Encoder: {fit_line(report.fit)}",
        ],
        as_json=json_output,
    )
    fail_if_partial(failures, len(cases) - len(report.failures), ALIGNED_WITHOUT)


def _gain_line(report: SiteAlignmentReport) -> str:
    if report.before is None or report.after is None:
        return "No patients are set apart, so it is not known whether masks are better now."
    told = (
        f"Dice on {count(report.validation_slices, 'slice')} of patients set apart: "
        f"{report.before:.3f} before, {report.after:.3f} after."
    )
    return told if report.kept else f"{told} So it was thrown away, and nothing has changed."


@command
def segment(
    images: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    site_dir: SiteDirOption,
    key: KeyOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for the masks.")],
    layout: LayoutOption = LayoutName.auto,
    slice_axis: SliceAxisOption = None,
    frame: FrameOption = None,
    series: SeriesOption = None,
    average_flips: Annotated[
        bool,
        typer.Option(
            "--average-flips",
            help="Look at mirror images, too: a little better, two to four times the time.",
        ),
    ] = False,
    overwrite: OverwriteOption = False,
    device: DeviceOption = DeviceName.auto,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Segment images here, with the installed mapping network. Nothing leaves this computer."""
    from ppcmi_sf.workflows.segment import segment_cases

    client_key = Credentials(None, passphrase_file).key(key)
    cases, problems = find(images, layout, None, need_masks=False)
    job = segment_cases(
        site_dir,
        client_key,
        cases,
        out,
        device=pick_device(device),
        overwrite=overwrite,
        slice_axis=slice_axis,
        frame=frame,
        series_uid=series,
        average_flips=average_flips,
    )
    report = drive(job)
    report.failures[:0] = problems
    show_masks(out, report, "--overwrite", as_json=json_output)
