"""Help, streams, terminals, secrets, and what nobody foresaw."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import select
import subprocess
import sys

import pytest
import typer.main

from ppcmi_sf import errors
from ppcmi_sf.cli.app import app
from ppcmi_sf.cli.options import DeviceName, LayoutName
from ppcmi_sf.cli.reports import size
from ppcmi_sf.data import LAYOUTS
from ppcmi_sf.device import DEVICE_NAMES
from ppcmi_sf.keys import ClientKey

SITES = ("north", "south", "west")


def verbs():
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        yield from ([name, sub] for sub in inner) if inner else [[name]]


VERBS = sorted(verbs())


def test_the_verbs_of_the_contract_are_there():
    assert [" ".join(words) for words in VERBS] == [
        "demo", "doctor", "evaluate", "inspect", "key new", "key show", "server map",
        "server train", "share-transform", "site protect", "site reveal", "site train", "study new",
    ]  # fmt: skip


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


def test_exit_codes_that_are_documented_are_those_of_the_errors(ppcmi):
    text = " ".join(ppcmi("--help").out.split())
    documented = {int(code) for code in re.findall(r"(?:codes:|;) (\d+) ", text)}
    family = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    raised = {kind.exit_code for kind in family if issubclass(kind, errors.PPCMIError)}
    assert documented == raised | {0, 2, 130}


def test_choices_are_those_of_the_engine():
    assert {item.value for item in LayoutName} == {"auto", *LAYOUTS}
    assert tuple(item.value for item in DeviceName) == DEVICE_NAMES


@pytest.mark.parametrize("words", [["--help"], ["key", "show", "{key}"], ["site", "--help"]])
def test_quick_verbs_import_nothing_heavy(escrow_chain, words):
    words = [word.format(key=escrow_chain.key("north")) for word in words]
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
    done = real(*words, "--out", tmp_path / "m", "--json")
    assert done.returncode == 0 and len(json.loads(done.stdout)["masks"]) == 3
    assert "Using the CPU" in done.stderr and "  0% Revealing " in done.stderr
    assert "\x1b" not in done.stdout + done.stderr and "\r" not in done.stderr
    failed = real("key", "show", tmp_path / "gone", "--json")
    assert failed.returncode == 4 and json.loads(failed.stdout)["exit_code"] == 4
    assert failed.stderr.startswith("Error: ")


def on_terminal(words, cwd):
    """Run on a pseudo-terminal of 80 columns; give back what appears on it, and the code."""
    main, other = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80", "OMP_NUM_THREADS": "1"}
    for name in ("NO_COLOR", "CI", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        environment.pop(name, None)
    process = subprocess.Popen(
        [str(word) for word in words], stdin=other, stdout=other, stderr=other, cwd=cwd,
        env=environment,
    )  # fmt: skip
    os.close(other)
    shown = b""
    while True:
        ready, _, _ = select.select([main], [], [], 60)
        try:
            part = os.read(main, 65536) if ready else b""
        except OSError:  # Linux ends a terminal this way
            part = b""
        if not part:
            break
        shown += part
    os.close(main)
    return shown.decode(errors="replace"), process.wait(60)


def test_a_terminal_gets_a_progress_bar(script, escrow_chain, tmp_path):
    words = [
        script, "site", "train", escrow_chain.at("data", "south"), "--study", escrow_chain.study,
        "--name", "south", "--site-dir", tmp_path / "site", "--epochs", 40,
    ]  # fmt: skip
    shown, code = on_terminal(words, tmp_path)
    assert code == 0, shown
    # The bar is drawn ten times a second: which of the short epochs it shows is chance.
    assert "━" in shown and re.search(r"\b\d+%", shown) and re.search(r"epoch \d+ of 40", shown)
    assert "Trained site 'south'" in shown


def test_names_are_printed_as_they_are(ppcmi, escrow_chain, tmp_path):
    """Square brackets and colons mean something to the library that prints."""
    key = tmp_path / "a [bold]:smile: ß.key"
    made = ppcmi("key", "new", key, "--study", escrow_chain.study, "--site", "x")
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

    monkeypatch.setattr(ClientKey, "load", broken)
    words = ("key", "show", tmp_path)
    if debug:
        from typer.testing import CliRunner

        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 1 and "Traceback" in result.stderr and result.stdout == ""
        return
    done = ppcmi.fails(*words, code=1, saying="Something went wrong inside ppcmi (LookupError at")
    assert secret not in done.said and "PPCMI_DEBUG=1" in done.err


def secrets_of(chain):
    """Each key in every form in which it might leak; also its share, which stays with two."""
    for site in SITES:
        key = ClientKey.load(chain.key(site))
        for secret in (key.secret, key.transform_share().secret):
            yield from (secret, secret.hex().encode(), secret.hex().upper().encode())
            coded = base64.b64encode(secret)
            yield from (coded.rstrip(b"="), base64.urlsafe_b64encode(secret).rstrip(b"="))
            yield repr(secret).encode()[2:-1]


def failing(chain, tmp_path):
    """Verbs that fail with a key in hand."""
    key, site = chain.key("north"), chain.at("sites", "north")
    spoiled = tmp_path / "spoiled.ppcmikey"
    spoiled.write_text(key.read_text().replace('"version": 1', '"version": 2'))
    shouted = tmp_path / "shouted.ppcmikey"
    shouted.write_text(key.read_text()[:-5])
    mine = ("--site-dir", site, "--out", tmp_path / "out")
    images = chain.at("new", "north") / "images"
    for wrong in (spoiled, shouted):
        yield ("key", "show", wrong)
        yield ("site", "protect", images, *mine, "--key", wrong)
        yield ("site", "reveal", chain.at("replies", "north"), *mine, "--key", wrong)
        yield (
            "share-transform",
            "--key",
            wrong,
            "--study",
            chain.study,
            "--out",
            tmp_path / "share",
        )
        yield ("inspect", wrong)
    yield ("study", "new", key, "--name", "x", "--modality", "MR", "--class", "a", "--force")
    yield ("site", "protect", key, *mine, "--key", key)
    yield ("site", "train", images, "--study", key, "--name", "n", "--site-dir", tmp_path / "s")
    yield ("server", "map", key, "--server-dir", chain.server, "--out", tmp_path / "out")
    yield ("server", "train", key, "--study", chain.study, "--server-dir", tmp_path / "s",
           "--share", key)  # fmt: skip
    yield ("evaluate", "--pred", key, "--truth", key, "--study", key)


def test_no_secret_in_any_output_or_bundle(chain, ppcmi, tmp_path, monkeypatch, real):
    for debug in ("", "1"):
        monkeypatch.setenv("PPCMI_DEBUG", debug)
        for words in failing(chain, tmp_path):
            for more in ((), ("--json",)):
                from typer.testing import CliRunner

                ppcmi(
                    *words, *more, code=CliRunner().invoke(app, [str(w) for w in words]).exit_code
                )
    for words in (("inspect", chain.key("north")), ("key", "show", chain.key("north"))):
        ppcmi(*words)
    printed = "\n".join(ran.said for ran in ppcmi.ran).encode()
    held = [p for p in chain.root.rglob("*") if p.is_file() and "keys" not in p.parts
            and "shares" not in p.parts]  # fmt: skip
    assert len(printed) > 10_000 and len(held) > 40
    contents = [printed, *(path.read_bytes() for path in held)]
    for secret in secrets_of(chain):
        assert not any(secret in content for content in contents)
    # The search finds what is there.
    share = chain.root / "shares" / "north.json"
    if share.is_file():
        assert any(secret in share.read_bytes() for secret in secrets_of(chain))


def test_bundles_say_nothing_of_their_source(chain):
    # Latents look random, and so may hold any three or four bytes: short words are for the header.
    short = [b"Doe", b"Jane", b"1961-", b"sites", b"images", b".png", b".nii", b"volume"]
    long = [b"Doe^Jane", b"-1961", *(part.encode() for part in chain.root.parts if len(part) > 5)]
    for what in ("pairs", "queries", "replies"):
        for path in chain.root.glob(f"{what}/*/*"):
            content = path.read_bytes()
            length = int.from_bytes(content[:8], "little")
            header = content[8 : 8 + length]
            assert not [word for word in short if word in header]
            assert not [word for word in long if word in content]
            assert not re.search(rb"20\d\d-\d\d|\d\d:\d\d", header)
            assert re.fullmatch(r"(training|query|reply-to)-[0-9a-f]{32}\.safetensors", path.name)


def test_sizes_are_told_in_fitting_units():
    assert [size(992), size(20_000), size(3 * 2**20)] == ["1 KiB", "20 KiB", "3.0 MiB"]
