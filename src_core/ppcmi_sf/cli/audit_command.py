"""``ppcmi audit``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ppcmi_sf.audit.options import ATTACK_IDS, ITEMS, QUICK_ITEMS
from ppcmi_sf.cli.batches import find
from ppcmi_sf.cli.console import (
    command,
    drive,
    fail_if_partial,
    failure_fields,
    say,
    show_result,
)
from ppcmi_sf.cli.credentials import Credentials
from ppcmi_sf.cli.options import (
    DeviceName,
    DeviceOption,
    HomeOption,
    JsonOption,
    KeyOption,
    LayoutName,
    LayoutOption,
    MasksOption,
    NoiseOption,
    PassphraseFileOption,
    SeedOption,
    pick_device,
)
from ppcmi_sf.data import find_cases

if TYPE_CHECKING:
    from ppcmi_sf.audit.result import AttackResult

EXAMPLE = (
    "Example: ppcmi audit sites/north --data data/north --key north.ppcmikey --out audits/north"
)

AttackOption = Annotated[
    list[str] | None,
    typer.Option(
        "--attack", help=f"Only this one; may be repeated. One of {', '.join(ATTACK_IDS)}."
    ),
]
ItemsOption = Annotated[
    int | None,
    typer.Option(
        "--items",
        min=2,
        help="Slices that an attack looks at, at most; some need four times as many. "
        f"Default: {ITEMS}, with --quick {QUICK_ITEMS}.",
    ),
]


@command
def audit(
    site_dir: Annotated[Path, typer.Argument(help="The folder of the site that is audited.")],
    data: Annotated[Path, typer.Option("--data", help="The data that the site was trained on.")],
    key: KeyOption,
    out: Annotated[Path, typer.Option("--out", help="Folder for audit.html and audit.json.")],
    partner: Annotated[
        list[Path] | None,
        typer.Option("--partner", help="Folder of another site of the study, as its attacker."),
    ] = None,
    public: Annotated[
        Path | None,
        typer.Option("--public", help="Images like the site's, of others, as an attacker has."),
    ] = None,
    unseen: Annotated[
        Path | None,
        typer.Option("--unseen", help="Images with masks of patients that no training saw."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer items, shorter trainings: a first look.")
    ] = False,
    attack: AttackOption = None,
    items: ItemsOption = None,
    noise: NoiseOption = None,
    seed: SeedOption = 0,
    layout: LayoutOption = LayoutName.auto,
    masks: MasksOption = None,
    device: DeviceOption = DeviceName.auto,
    home: HomeOption = None,
    passphrase_file: PassphraseFileOption = None,
    json_output: JsonOption = False,
) -> None:
    """Attack a site's own models and latents; report what an attacker really gets.

    Everything happens on this computer. The report shows images of patients.
    """
    from ppcmi_sf.audit.options import AuditOptions
    from ppcmi_sf.latent_noise import LatentNoise
    from ppcmi_sf.workflows.audit_site import AuditSources, audit_site

    options = AuditOptions(seed=seed, quick=quick, items=items)
    cases, problems = find(data, layout, masks, need_masks=True)
    client_key = Credentials(home, passphrase_file).key(key)
    sources = AuditSources(
        site_dir,
        client_key,
        cases,
        partner or [],
        find_cases(public) if public else [],
        find_cases(unseen, need_masks=True) if unseen else [],
        LatentNoise.at(noise),
    )
    job = audit_site(sources, out, options, attack or [], device=pick_device(device))
    found = drive(job)
    failures = problems + found.failures
    show_result(
        found.report.to_json()
        | {
            "html": str(found.html),
            "json": str(found.json),
            "failures": failure_fields(failures),
        },
        [
            *(line for result in found.report.results for line in _lines(result)),
            f"Report: {found.html}",
        ],
        as_json=json_output,
    )
    say("The report shows images of patients: treat it as patient data.")
    fail_if_partial(failures, len(cases) - len(found.failures))


def _lines(result: AttackResult) -> list[str]:
    """An attack's headlines, for people."""
    from ppcmi_sf.audit.report_html import aim_words, headlines, interval, number

    if result.problem:
        return [f"{result.attack.title}: not run. {result.problem}"]
    return [
        f"{result.attack.title} ({result.attack.id})",
        *(
            f"  {one.name}: {number(one.value)} ({interval(one)}; n {one.n}; chance "
            f"{number(one.chance)}; {aim_words(one)})"
            for one in headlines(result)
        ),
    ]
