"""Names that others chose never drive the terminal, nor hide anything in it."""

import json

import pytest
import typer

from ppcmi_sf.cli import console
from ppcmi_sf.errors import PartialFailure, PPCMIError
from ppcmi_sf.progress import Progress

# The title of the window, a colour by one 8-bit character, another direction, one line more.
NAME = "north\x1b]0;x\x07\x9b31m\u202egpj.\u2066\u200b\r\nError"


def job():
    yield Progress(1, 2, NAME)


@console.command
def fails(*, json_output=False):
    raise PartialFailure([(NAME, PPCMIError(NAME, hint=NAME))], 1)


@console.command
def fails_at_once(*, json_output=False):
    raise PPCMIError(NAME, hint=NAME)


def refused(verb, **options):
    with pytest.raises(typer.Exit):
        verb(**options)


@pytest.mark.parametrize(
    "show",
    [
        lambda: console.say(NAME),
        lambda: console.show_result({"a": NAME}, [NAME], as_json=False),
        lambda: console.show_result({"a": NAME}, [NAME], as_json=True),
        lambda: console.show_table(NAME, ["a", "b"], [[NAME, NAME]]),
        lambda: console.drive(job()),
        lambda: refused(fails),
        lambda: refused(fails_at_once),
        lambda: refused(fails_at_once, json_output=True),
    ],
    ids=["say", "result", "json", "table", "progress", "partial", "error", "error in JSON"],
)
@pytest.mark.parametrize("terminal", [False, True])
def test_nothing_unseen_is_printed(show, terminal, capfd, monkeypatch):
    if terminal:
        for one in (console._errors, console._results):
            monkeypatch.setattr(one, "_force_terminal", True)
            monkeypatch.setattr(one, "no_color", True)
    show()
    told = "".join(capfd.readouterr())
    for unseen in ("\x1b]0;", "\x07", "\x9b", "\u202e", "\u2066", "\u200b"):
        assert unseen not in told
    assert "north" in told or "\x1b[?25l" in told  # a bar that was over before it was drawn


def test_plain_texts_stay_as_they_are(capfd):
    text = "Kopf-Hals: 3 Fälle, “gut”, 心臓 [bold]"
    console.show_result({}, [text], as_json=False)
    assert capfd.readouterr().out == text + "\n"


def test_json_is_exact(capfd):
    console.show_result({"a": NAME}, [], as_json=True)
    assert json.loads(capfd.readouterr().out)["a"] == NAME
