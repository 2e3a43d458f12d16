"""The typer application: which verb is where."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ppcmi_sf._version import __version__
from ppcmi_sf.cli import (
    audit_command,
    contact_commands,
    demo_command,
    doctor_command,
    evaluate_command,
    identity_commands,
    inspect_command,
    join_commands,
    key_commands,
    log_commands,
    server_commands,
    site_commands,
    site_model_commands,
    study_commands,
)
from ppcmi_sf.cli.console import show_result

WRONG_USAGE = 2


class _Ppcmi(TyperGroup):
    """Tells wrong usage as JSON, too."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **more: Any) -> Any:
        try:
            return super().main(args, *rest, **more)
        except SystemExit as stop:
            if stop.code == WRONG_USAGE and "--json" in (sys.argv if args is None else args):
                tell = getattr(stop.__context__, "format_message", lambda: "Wrong usage.")
                hint = "See 'ppcmi --help', and --help of the verb."
                fields = {"error": tell(), "hint": hint, "exit_code": WRONG_USAGE}
                show_result(fields, [], as_json=True)
            raise


app = typer.Typer(
    name="ppcmi",
    cls=_Ppcmi,
    help=(
        "Train one segmentation model together without sending each other images (PPCMI-SF). "
        "Research software, not a medical device."
    ),
    epilog=(
        "Exit codes: 0 done; 1 some cases failed, or an unforeseen error; 2 wrong usage; "
        "3 a file cannot be used; 4 study, key or contact do not fit; 5 a bundle or model is "
        "damaged, not trusted or does not fit; 6 a training failed; 7 the machine lacks something; "
        "130 cancelled.\n\n"
        "With --json every verb prints one JSON object to standard output: its result, or "
        "error, hint and exit_code. What failed in a batch is listed under failures. Messages and "
        "progress go to standard error."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ppcmi {__version__}")
        raise typer.Exit


@app.callback()
def _of_no_verb(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            is_eager=True,
            callback=_show_version,
            help="Show the version and exit; 'ppcmi doctor' tells those of the libraries, too.",
        ),
    ] = False,
) -> None:
    pass  # what it would do is done by the callbacks of its options


app.add_typer(study_commands.app, name="study")
app.add_typer(identity_commands.app, name="identity")
app.add_typer(contact_commands.app, name="contact")
app.add_typer(join_commands.app, name="join")
app.add_typer(key_commands.app, name="key")
for verb, epilog in (
    (site_model_commands.install, site_model_commands.INSTALL_EXAMPLE),
    (site_model_commands.align, site_model_commands.ALIGN_EXAMPLE),
    (site_model_commands.segment, site_model_commands.SEGMENT_EXAMPLE),
):
    site_commands.app.command(verb.__name__, epilog=epilog)(verb)
app.add_typer(site_commands.app, name="site")
app.add_typer(server_commands.app, name="server")
app.add_typer(log_commands.app, name="log")
app.command("share-transform", epilog=key_commands.SHARE_EXAMPLE)(key_commands.share_transform)
app.command("audit", epilog=audit_command.EXAMPLE)(audit_command.audit)
app.command("evaluate", epilog=evaluate_command.EXAMPLE)(evaluate_command.evaluate)
app.command("inspect", epilog=inspect_command.EXAMPLE)(inspect_command.inspect)
app.command("demo", epilog=demo_command.EXAMPLE)(demo_command.demo)
app.command("doctor", epilog=doctor_command.EXAMPLE)(doctor_command.doctor)
