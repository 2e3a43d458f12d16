"""What a verb prints: results to standard output, everything else to standard error."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table

from ppcmi_sf.errors import PartialFailure, PPCMIError
from ppcmi_sf.progress import Eta, Job, Progress, run

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

CANCELLED = 130
LINE_SECONDS = 10.0

_errors = Console(stderr=True, highlight=False, soft_wrap=True)
_results = Console(highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Tell the user something that is not the result."""
    _errors.print(text, markup=False)


def drive(job: Job[Result]) -> Result:
    """Run a job with a progress bar on a terminal, and plain lines otherwise."""
    if not _errors.is_terminal:
        return run(job, _PlainLines())
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Bar(*columns, TextColumn("{task.fields[left]}"), console=_errors, transient=True) as bar:
        task, eta = bar.add_task("Starting", left=""), Eta()

        def show(step: Progress) -> None:
            text = step.message + _figures(step)
            left = time_left(eta.seconds_left(step))
            bar.update(task, completed=step.done, total=step.total, description=text, left=left)

        return run(job, show)


class _PlainLines:
    """A line when the message changes, but not more often than every ten seconds."""

    def __init__(self) -> None:
        self._eta = Eta()
        self._last = 0.0

    def __call__(self, step: Progress) -> None:
        left = time_left(self._eta.seconds_left(step))
        now = time.monotonic()
        if now - self._last < LINE_SECONDS:
            return
        self._last = now
        say(f"{step.fraction:4.0%} {step.message}{_figures(step)}{', ' + left if left else ''}")


def _figures(step: Progress) -> str:
    shown = {key: value for key, value in step.values.items() if key != "epoch"}
    return "".join(f", {key.replace('_', ' ')} {value:.4f}" for key, value in shown.items())


def time_left(seconds: float | None) -> str:
    """``about 3 min left``, or nothing while it is not known."""
    if seconds is None:
        return ""
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 5400 else _hours(seconds)


def _hours(seconds: float) -> str:
    return f"about {seconds / 3600:.1f} h left"


def show_result(fields: dict[str, Any], lines: Sequence[str], *, as_json: bool) -> None:
    """Print a result: one JSON object for scripts, or lines for people."""
    if as_json:
        typer.echo(json.dumps(fields, ensure_ascii=False, default=str))
        return
    for line in lines:
        _results.print(line, markup=False)


def show_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to standard output."""
    table = Table(title=title, title_justify="left")
    for index, heading in enumerate(headings):
        table.add_column(heading, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    _results.print(table)


def fail_if_partial(failures: list[tuple[str, PPCMIError]], done: int) -> None:
    """Raise when some cases of a batch failed.

    Raises
    ------
    PartialFailure
        Listing them.
    """
    if failures:
        raise PartialFailure(failures, done)


def failure_fields(failures: list[tuple[str, PPCMIError]]) -> list[dict[str, str]]:
    """Failures as plain fields, for JSON."""
    return [{"case": case, "error": error.message, "hint": error.hint} for case, error in failures]


def command(verb: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Turn whatever leaves a verb into a plain sentence and an exit code."""

    @functools.wraps(verb)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        as_json = bool(kwargs.get("json_output", False))
        signal.signal(signal.SIGTERM, _interrupt)
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            warnings.simplefilter("ignore")
            warnings.filterwarnings("always", category=UserWarning, module=r"ppcmi_sf(\..*)?")
            try:
                verb(*args, **kwargs)
            except PPCMIError as error:
                _show_error(error, as_json=as_json)
                raise typer.Exit(error.exit_code) from None
            except KeyboardInterrupt:
                say("Cancelled. Nothing is half-written; the same command goes on from here.")
                raise typer.Exit(CANCELLED) from None
            except (typer.Exit, typer.Abort):
                raise
            except Exception as error:
                _show_unforeseen(error)

    return wrapped


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _show_warning(message: Warning | str, *_rest: object, **_more: object) -> None:
    say(f"Warning: {message}")


def _show_error(error: PPCMIError, *, as_json: bool) -> None:
    listed = failure_fields(error.failures) if isinstance(error, PartialFailure) else []
    if as_json:
        fields = {"error": error.message, "hint": error.hint, "exit_code": error.exit_code}
        typer.echo(json.dumps(fields | ({"failures": listed} if listed else {})), err=True)
        return
    for failure in listed:
        _errors.print(f"  {failure['case']}: {failure['error']}", style="red", markup=False)
        say(f"    {failure['hint']}")
    _errors.print(f"Error: {error.message}", style="bold red", markup=False)
    if error.hint:
        say(error.hint)


def _show_unforeseen(error: Exception) -> NoReturn:
    if os.environ.get("PPCMI_DEBUG"):
        traceback.print_exc()
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename.rpartition('ppcmi_sf')[2].lstrip('/')}:{frame.lineno}"
    # Type and place only: a message could quote data.
    say(f"Error: something went wrong inside ppcmi ({type(error).__name__} at {where}).")
    say("Please report this; with PPCMI_DEBUG=1 the same command prints the details.")
    sys.exit(1)
