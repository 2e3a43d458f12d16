"""``ppcmi site install`` and ``ppcmi site segment``: a mapping network at the site itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ppcmi_sf.cli.console import command, drive, show_result
from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.cli.options import (
    AgainOption,
    DeviceName,
    DeviceOption,
    FrameOption,
    HomeOption,
    JsonOption,
    KeyOption,
    LayoutName,
    LayoutOption,
    PassphraseFileOption,
    SeriesOption,
    SiteDirOption,
    SliceAxisOption,
    pick_device,
)
from ppcmi_sf.cli.site_commands import OverwriteOption, find, show_masks

INSTALL_EXAMPLE = (
    "Example: ppcmi site install inbox/0f….ppcmi --site-dir sites/north --key north.ppcmikey"
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
    show_masks(out, report, as_json=json_output)
