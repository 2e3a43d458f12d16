"""What a verb prints: results to standard output, everything else to standard error.

With ``--json`` standard output holds exactly one JSON object: the result, or
``{"error": …, "hint": …, "exit_code": …}`` when there is none. A batch of which
some cases failed has a result, with these cases under ``failures``, and exits
with 1. Errors are told on standard error in words, with and without ``--json``.

Names of files and of what others sent are in these texts: a character that could drive the
terminal or hide something is shown as a replacement character.
"""

from __future__ import annotations

import functools
import json
import math
import os
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from ppcmi_sf.cli.signals import CANCELLED, stoppable
from ppcmi_sf.errors import InputFileError, PartialFailure, PPCMIError, ResourceError
from ppcmi_sf.progress import Eta, Job, Progress, run
from ppcmi_sf.strictjson import is_invisible

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

LINE_SECONDS = 10.0
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

_errors = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
_results = Console(highlight=False, soft_wrap=True, emoji=False)


@dataclass
class _Output:
    """Of this process: whether results are no result of the whole, whether JSON was printed."""

    of_a_step: bool = False
    json_printed: bool = False


_output = _Output()


def say(text: str) -> None:
    """Tell the user something that is not the result."""
    _errors.print(printable(text), markup=False)


def printable(text: str, *, keep: str = "") -> str:
    """A text with nothing in it that a terminal obeys or nobody sees, but for what is kept."""
    return "".join(
        _REPLACEMENT if is_invisible(letter) and letter not in keep else letter for letter in text
    )


def drive(job: Job[Result]) -> Result:
    """Run a job with a progress bar on a terminal, and plain lines otherwise."""
    if not _errors.is_terminal:
        return run(job, _PlainLines())
    # No markup: it would be read into the names of files.
    told = TextColumn("{task.description}", markup=False)
    columns = (told, BarColumn(), TaskProgressColumn())
    with Bar(*columns, TextColumn("{task.fields[left]}"), console=_errors, transient=True) as bar:
        task, eta = bar.add_task("Starting", left=""), Eta()

        def show(step: Progress) -> None:
            text = printable(step.message) + _figures(step)
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
        _output.json_printed = True  # or tried: what failed once is not tried again
        # ASCII alone: no terminal and no pipe can spoil it.
        typer.echo(json.dumps(_plain(fields), default=str, allow_nan=False))
        return
    for line in lines:
        (_errors if _output.of_a_step else _results).print(printable(line), markup=False)


def _plain(value: Any) -> Any:
    """Replace numbers that JSON does not have by null."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def steps_of_a_whole() -> Iterator[None]:
    """Within it, verbs that are run one after another print their results as messages."""
    _output.of_a_step = True
    try:
        yield
    finally:
        _output.of_a_step = False


def show_table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table to standard output; ``headings`` that are texts go left, numbers right."""
    heading = Text(printable(title))
    table = Table(
        title=heading, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1)
    )
    for index, column in enumerate(headings):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=index > 0)
    for row in rows:
        table.add_row(*(Text(printable(cell, keep="\n")) for cell in row))
    _results.print(table, soft_wrap=False)


def fail_if_partial(failures: list[tuple[str, PPCMIError]], done: int, hint: str = "") -> None:
    """Raise when some cases of a batch failed.

    Raises
    ------
    PartialFailure
        Listing them; with ``hint``, if given, instead of its own.
    """
    if failures:
        error = PartialFailure(failures, done)
        error.hint = hint or error.hint
        raise error


def failure_fields(failures: list[tuple[str, PPCMIError]]) -> list[dict[str, str]]:
    """Failures as plain fields, for JSON."""
    return [{"case": case, "error": error.message, "hint": error.hint} for case, error in failures]


def command(verb: Callable[Arguments, None]) -> Callable[Arguments, None]:
    """Turn whatever leaves a verb into a plain sentence and an exit code."""

    @functools.wraps(verb)
    def wrapped(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        as_json = bool(kwargs.get("json_output", False))
        _output.json_printed = False
        try:
            with stoppable(), warnings.catch_warnings():
                warnings.showwarning = _show_warning
                warnings.simplefilter("ignore")
                warnings.filterwarnings("always", category=UserWarning, module=r"ppcmi_sf(\..*)?")
                verb(*args, **kwargs)
        except PPCMIError as error:
            _show_error(error, as_json=as_json)
            raise typer.Exit(error.exit_code) from None
        except KeyboardInterrupt:
            hint = "Nothing is half-written; the same command goes on from here."
            _tell("Cancelled.", hint, CANCELLED, as_json=as_json)
            raise typer.Exit(CANCELLED) from None
        except (typer.Exit, typer.Abort, BrokenPipeError):
            raise
        except OSError as error:
            _trace(error)
            told = _in_words(error)
            _show_error(told, as_json=as_json)
            raise typer.Exit(told.exit_code) from None
        except MemoryError:
            hint = "Close other programs, or use smaller images or batches."
            text = "The memory of this computer is full."
            _tell(text, hint, ResourceError.exit_code, as_json=as_json)
            raise typer.Exit(ResourceError.exit_code) from None
        except Exception as error:
            _show_unforeseen(error, as_json=as_json)

    return wrapped


def _show_warning(message: Warning | str, *_rest: object, **_more: object) -> None:
    say(f"Warning: {message}")


def _show_error(error: PPCMIError, *, as_json: bool) -> None:
    listed = failure_fields(error.failures) if isinstance(error, PartialFailure) else []
    for failure in listed:
        text = printable(f"  {failure['case']}: {failure['error']}")
        _errors.print(text, style="red", markup=False)
        say(f"    {failure['hint']}")
    more = {"failures": listed} if listed else {}
    _tell(error.message, error.hint, error.exit_code, as_json=as_json, **more)


def _tell(message: str, hint: str, exit_code: int, *, as_json: bool, **more: object) -> None:
    cancelled = exit_code == CANCELLED
    text = message if cancelled else f"Error: {message}"
    _errors.print(printable(text), style="" if cancelled else "bold red", markup=False)
    if hint:
        say(hint)
    if as_json and not _output.json_printed:
        fields = {"error": message, "hint": hint, "exit_code": exit_code} | more
        show_result(fields, [], as_json=True)


def _in_words(error: OSError) -> PPCMIError:
    """What the system refuses, where nobody else has put it into words."""
    why = error.strerror or "unknown reason"
    if error.filename is not None:
        path = Path(os.fsdecode(error.filename))
        return InputFileError(
            path, f"cannot be used ({why}).", hint="Check the path and the permissions."
        )
    return ResourceError(
        f"Reading or writing failed ({why}).",
        hint="Check the disk, and where the output of this command goes.",
    )


def _trace(error: Exception) -> None:
    if os.environ.get("PPCMI_DEBUG"):
        traceback.print_exception(error)


def _show_unforeseen(error: Exception, *, as_json: bool) -> NoReturn:
    _trace(error)
    frames = traceback.extract_tb(error.__traceback__)
    package = Path(__file__).parents[1]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(package)]
    frame = (own or list(frames))[-1]
    # Type and place only: a message could quote data.
    _tell(
        f"Something went wrong inside ppcmi ({type(error).__name__} at "
        f"{Path(frame.filename).name}:{frame.lineno}).",
        "Please report this; with PPCMI_DEBUG=1 the same command prints the details.",
        1,
        as_json=as_json,
    )
    raise typer.Exit(1) from None
