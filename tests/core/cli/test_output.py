"""Help, streams, terminals, secrets, and what nobody foresaw."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys

import pytest
import typer.main
from rich.console import Console

from ppcmi_sf import __version__, errors
from ppcmi_sf.audit.attacks import all_attacks
from ppcmi_sf.audit.options import ATTACK_IDS, AuditOptions
from ppcmi_sf.cli import console
from ppcmi_sf.cli.app import app
from ppcmi_sf.cli.demo_steps import Lengths
from ppcmi_sf.cli.options import DeviceName, LayoutName
from ppcmi_sf.data import LAYOUTS
from ppcmi_sf.device import DEVICE_NAMES
from ppcmi_sf.files import size_in_words
from ppcmi_sf.progress import Progress
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows.protect import COPIES


def verbs():
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        yield from ([name, sub] for sub in inner) if inner else [[name]]


VERBS = sorted(verbs())


def test_the_verbs_of_the_contract_are_there():
    assert [" ".join(words) for words in VERBS] == [
        "audit",
        "contact add", "contact list", "contact remove", "contact revoke", "demo", "doctor",
        "evaluate", "identity export", "identity fingerprint", "identity forget", "identity new",
        "identity passphrase", "identity remember", "identity renew",
        "identity show", "inspect", "join accept", "join approve", "join remove", "join renew",
        "join request", "join show", "key forget", "key new", "key passphrase", "key remember",
        "key rotate", "key show", "log export", "log items", "log verify", "server join",
        "server map", "server publish", "server train", "share-transform", "site align",
        "site install", "site protect", "site reveal", "site segment", "site train", "study new",
    ]  # fmt: skip


def test_log_alone_shows_the_log(ppcmi, escrow_chain):
    """A group that is a verb, too."""
    assert "disclosure log" in ppcmi("log", "--help").out
    assert "key made" in ppcmi("log", *escrow_chain.at_home("north")).out


def test_a_passphrase_is_never_an_argument(ppcmi, monkeypatch):
    """Others on the same computer see the arguments of every process."""
    monkeypatch.setenv("COLUMNS", "160")  # or long names are cut short
    found = set()
    for words in VERBS:
        text = ppcmi(*words, "--help").out
        told = re.findall(r"(--(?:\w+-)*(?:pass\w*|secret|pin|pwd)(?:-\w+)*) +<?(\w+)", text)
        found |= {(option, kind.lower()) for option, kind in told}
    assert found == {("--passphrase-file", "path"), ("--new-passphrase-file", "path")}


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_help_has_an_example_with_options_that_exist(ppcmi, words):
    text = " ".join(ppcmi(*words, "--help").out.split())
    examples = re.findall(r"Examples?: (ppcmi .*)", text)
    assert f"ppcmi {' '.join(words)}" in examples[0]
    command = typer.main.get_command(app)
    for word in words:
        command = command.commands[word]
    known = {option for parameter in command.params for option in parameter.opts}
    assert set(re.findall(r"(?<!\w)--[a-z-]+", examples[0])) <= known
    assert "--json" in known


def test_help_tells_the_defaults_that_depend_on_something(ppcmi):
    def told(*words):
        text = ppcmi(*words, "--help").out.replace("\u2502", " ")  # the frame of the table
        return " ".join(text.split())

    assert f"default: {COPIES}, in a 'paper' study 1" in told("site", "protect")
    audit = told("audit")
    assert tuple(entry.attack.id for entry in all_attacks()) == ATTACK_IDS
    assert f"One of {', '.join(ATTACK_IDS)}." in audit
    full, quick = AuditOptions().item_limit, AuditOptions(quick=True).item_limit
    assert f"Default: {full}, with --quick {quick}." in audit
    lengths = Lengths()
    epochs = f"{lengths.site_epochs} at the sites, {lengths.server_epochs} at the server"
    assert epochs in told("demo")


def test_the_version(ppcmi):
    assert ppcmi("--version").out == f"ppcmi {__version__}\n"


def test_exit_codes_that_are_documented_are_those_of_the_errors(ppcmi):
    text = " ".join(ppcmi("--help").out.split())
    documented = {int(code) for code in re.findall(r"(?:codes:|;) (\d+) ", text)}
    family = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    raised = {kind.exit_code for kind in family if issubclass(kind, errors.PPCMIError)}
    assert documented == raised | {0, 2, 130}


def test_choices_are_those_of_the_engine():
    assert {item.value for item in LayoutName} == {"auto", *LAYOUTS}
    assert tuple(item.value for item in DeviceName) == DEVICE_NAMES


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["key", "show", "{key}"],
        ["site", "--help"],
        ["log", "--home", "{home}"],
        ["join", "--help"],
    ],
)
def test_quick_verbs_import_nothing_heavy(escrow_chain, words):
    home, key = escrow_chain.home("north"), escrow_chain.key("north")
    words = [word.format(key=key, home=home) for word in words]
    code = (
        "import sys\nfrom ppcmi_sf.cli import main\n"
        f"sys.argv = ['ppcmi', *{words!r}]\n"
        "try: main()\nexcept SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'monai', 'SimpleITK', 'nibabel', 'scipy', 'pandas'} & set(sys.modules)\n"
        "print(*heavy, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stderr.strip() == ""


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_wrong_usage_is_json_too(ppcmi, words):
    told = ppcmi(*words, "--no-such-option", "--json", code=2)
    assert told.json["exit_code"] == 2 and "--no-such-option" in told.json["error"]
    plain = ppcmi(*words, "--no-such-option", code=2)
    assert plain.out == "" and "--no-such-option" in plain.err


def test_streams_of_the_installed_script(real, escrow_chain, tmp_path):
    words = ("site", "reveal", escrow_chain.at("replies", "north"), *escrow_chain.mine("north"))
    done = real(*words, "--again", "--out", tmp_path / "m", "--json")
    assert done.returncode == 0 and len(json.loads(done.stdout)["masks"]) == 3
    assert "Using the CPU" in done.stderr and "  0% Revealing " in done.stderr
    assert "\x1b" not in done.stdout + done.stderr and "\r" not in done.stderr
    failed = real("key", "show", tmp_path / "gone", "--json")
    assert failed.returncode == 4 and json.loads(failed.stdout)["exit_code"] == 4
    assert failed.stderr.startswith("Error: ")


def test_a_terminal_gets_a_progress_bar(script, on_terminal, escrow_chain, tmp_path):
    words = [
        script, "site", "train", escrow_chain.at("data", "south"), "--study", escrow_chain.study,
        "--name", "south", "--site-dir", tmp_path / "site", "--epochs", 12,
    ]  # fmt: skip
    shown, code = on_terminal(words, tmp_path)
    assert code == 0, shown
    # The bar is drawn ten times a second: which of the short epochs it shows is chance.
    assert "━" in shown and re.search(r"\b\d+%", shown) and re.search(r"epoch \d+ of 12", shown)
    assert "Trained site 'south'" in shown


@pytest.mark.parametrize("name", ["scan[red]x", "scan[/b]", "a[b", "[@click=x(]", "p{1}"])
def test_a_progress_bar_reads_nothing_into_names(monkeypatch, name):
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True, width=120)
    monkeypatch.setattr(console, "_errors", terminal)

    def job():
        yield Progress(0, 2, f"Protecting {name}")
        yield Progress(1, 2, f"Protecting {name}")

    console.drive(job())
    assert f"Protecting {name}" in shown.getvalue()


def test_names_are_printed_as_they_are(ppcmi, escrow_chain, tmp_path):
    """Square brackets and colons mean something to the library that prints."""
    key = tmp_path / "a [bold]:smile: ß.key"
    made = escrow_chain.new_key("x", key)
    assert str(key) in made.out
    assert str(key) == ppcmi("key", "show", key, "--json").json["file"]
    gone = tmp_path / "[red]gone[/red]:x:.png"
    ppcmi.fails("inspect", gone, code=3, saying="no such file", naming=gone.name)


def test_a_closed_pipe_is_no_error(script, escrow_chain):
    line = f"'{script}' inspect '{escrow_chain.study}' | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, encoding="utf-8", check=False)
    assert "Traceback" not in done.stderr and "went wrong" not in done.stderr


@pytest.mark.parametrize("debug", ["", "1"])
def test_the_unforeseen(ppcmi, escrow_chain, tmp_path, monkeypatch, debug):
    """An error of a kind that no one turned into a sentence: its text could quote data."""
    monkeypatch.setenv("PPCMI_DEBUG", debug)
    secret = "Doe^Jane 1961-05-04"

    def broken(_path):
        raise LookupError(secret)

    monkeypatch.setattr(StudySpec, "load", broken)
    words = ("join", "show", "--study", tmp_path)
    if debug:
        from typer.testing import CliRunner

        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 1 and "Traceback" in result.stderr and result.stdout == ""
        return
    done = ppcmi.fails(*words, code=1, saying="Something went wrong inside ppcmi (LookupError at")
    assert secret not in done.said and "PPCMI_DEBUG=1" in done.err


def test_sizes_are_told_in_fitting_units():
    told = [size_in_words(count) for count in (992, 20_000, 3 * 2**20)]
    assert told == ["992 bytes", "20 KiB", "3.0 MiB"]
