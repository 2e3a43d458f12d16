"""The README's transcript runs as it stands; pages name what is there."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import typer.main

from ppcmi_sf.bundle import BundleHeader, Envelope
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.cli.app import app
from ppcmi_sf.identity import IdentityRecord
from ppcmi_sf.keys import ClientKey, KeyRecord
from ppcmi_sf.membership import JoinRequest, MembershipList
from ppcmi_sf.metrics import METRICS
from ppcmi_sf.models.store import ModelHeader, SiteLink
from ppcmi_sf.registry import Database, LogEntry
from ppcmi_sf.registry.log import Event
from ppcmi_sf.secretfile import MAX_WORK_KIB, KdfCost
from ppcmi_sf.share import SealedShare
from ppcmi_sf.study import StudySpec
from ppcmi_sf.transform import gaussians, orthogonal, permutation
from ppcmi_sf.workflows.folders import TrainingRecord

SITES = ("north", "south", "west")
FORMATS = "docs/formats.md"
BENCHMARKS = "docs/benchmarks.md"  # written from real runs, maybe after the other pages


def pages(repository: Path) -> list[Path]:
    top = [
        repository / f"{name}.md" for name in ("README", "SECURITY", "CONTRIBUTING", "CHANGELOG")
    ]
    found = [*top, repository / "sample_data" / "README.md"]
    return found + sorted((repository / "docs").rglob("*.md"))


def transcript(repository: Path) -> str:
    text = (repository / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 1, "the README has one block that a user can paste"
    return str(blocks[0])


def verbs() -> set[str]:
    """Every verb of the command line: ``evaluate``, ``site train`` ..."""
    found = set()
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        found |= {f"{name} {sub}" for sub in inner} if inner else {name}
    return found


def code(text: str) -> str:
    """What stands in code: fenced blocks (lines joined at a backslash) and spans."""
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join([*fenced, *re.findall(r"`([^`]+)`", rest)]).replace("\\\n", " ")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_transcript_runs_and_gives_masks_and_scores(repository: Path, tmp_path: Path) -> None:
    users_own = tmp_path / "the-users-own-home"
    environment = os.environ | {
        "EPOCHS": "1",
        "COPIES": "1",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PPCMI_HOME": str(users_own),
    }
    environment.pop("PPCMI_PASSPHRASE_FILE", None)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", transcript(repository)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for site in SITES:
        test = tmp_path / "work" / "data" / site / "test"
        images = {path.name for path in (test / "images").iterdir()}
        assert {path.name for path in (tmp_path / "work" / "masks" / site).iterdir()} == images
        with (tmp_path / "work" / "scores" / f"{site}.csv").open(newline="") as handle:
            rows = list(csv.DictReader(handle))
        assert {(row["case"], row["class_name"]) for row in rows} == {
            (Path(name).stem, structure) for name in images for structure in ("head", "cavity")
        }
        assert all(0 <= float(row["dice"]) <= 1 for row in rows)
    assert METRICS[0] in rows[0]
    alone = {path.name for path in (tmp_path / "work" / "masks" / "alone").iterdir()}
    assert alone == {path.name for path in (tmp_path / "work" / "masks" / "north").iterdir()}
    assert "kind: reply" in done.stdout and "entries, unbroken" in done.stdout
    assert not users_own.exists(), "every verb names the party's own home"
    secret = (tmp_path / "work" / "keys" / "passphrase.txt").read_text().strip()
    assert len(secret) >= 16 and secret not in done.stdout + done.stderr
    _run_python_example(repository, tmp_path / "work", environment)


def _run_python_example(repository: Path, work: Path, environment: dict[str, str]) -> None:
    """The user guide's example, in the folder that the transcript has left."""
    text = (repository / "docs" / "user-guide.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=work,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    images = list((work / "data" / "north" / "test" / "images").iterdir())
    assert len(list((work / "outbox" / "from-python").glob("*.ppcmi"))) == len(images)


def test_transcript_shows_every_step_of_the_protocol(repository: Path) -> None:
    text = transcript(repository)
    for verb in (
        "demo --images-only", "study new", "identity new", "join request", "join approve",
        "join accept", "identity fingerprint", "key new", "site train", "share-transform",
        "server train", "server map", "site reveal", "server publish", "site install",
        "site segment", "evaluate", "inspect", "log", "log verify",
    ):  # fmt: skip
        assert f"ppcmi {verb}" in text
    assert len(re.findall(r"ppcmi site protect", text)) == 2
    assert "--pairs" in text
    assert len(re.findall(r"--fingerprint", text)) >= 2
    assert "telephone" in text


def test_pages_name_only_verbs_and_options_that_exist(repository: Path) -> None:
    known = verbs()
    groups = {verb.split()[0] for verb in known if " " in verb}
    options = {
        option
        for command in typer.main.get_command(app).commands.values()
        for inner in getattr(command, "commands", {"": command}).values()
        for parameter in inner.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    } | {"--help", "--version"}
    for page in pages(repository):
        for line in code(page.read_text(encoding="utf-8")).splitlines():
            for first, second in re.findall(r"\bppcmi ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?", line):
                verb = f"{first} {second}" if first in groups else first
                assert verb in known or (first in groups and not second), f"{page.name}: {line}"
            if "ppcmi " in line:
                unknown = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", line)) - options
                assert not unknown, f"{page.name}: {line}"


def test_relative_links_lead_somewhere(repository: Path) -> None:
    for page in pages(repository):
        text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            linked = (page.parent / path).resolve() if path else page
            if linked == (repository / BENCHMARKS).resolve() and not linked.exists():
                continue
            assert linked.exists(), f"{page.name}: {target}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
                assert anchor in slugs, f"{page.name}: {target}"


def test_readme_shows_the_two_set_up_commands(repository: Path) -> None:
    shown = code((repository / "README.md").read_text(encoding="utf-8"))
    targets = set(
        re.findall(r"^([a-z-]+):.*##", (repository / "Makefile").read_text("utf-8"), re.MULTILINE)
    )
    assert {"demo", "test"} <= targets
    assert "make demo" in shown and "make test" in shown
    assert set(re.findall(r"^make ([a-z-]+)", shown, re.MULTILINE)) <= targets


def test_pages_name_no_place_on_somebodys_machine(repository: Path) -> None:
    for page in pages(repository):
        assert not re.search(r"(?<![\w.])/(work|home|tmp|root)/", page.read_text("utf-8")), page


def test_file_formats_tell_the_transform_as_it_is(repository: Path) -> None:
    text = (repository / FORMATS).read_text(encoding="utf-8")
    table = dict(re.findall(r"^\| (.+?) \| `?([^`|]+?)`? \|$", text, re.MULTILINE))
    key = ClientKey("north", "0" * 64, 1, bytes(range(32)))
    share = key.transform_share()
    assert table["key id of the client key"] == key.key_id
    assert table["share"] == share.secret.hex()
    assert table["key id of the share"] == share.key_id
    seeds = {
        part: share.stream_seed("image", "bottleneck", part)
        for part in ("mixing", "bias", "positions")
    }
    for part, seed in seeds.items():
        assert table[f"seed of `image`, `bottleneck`, `{part}`"] == seed.hex()

    def numbers(name: str) -> list[float]:
        return [float(value) for value in table[name].split()]

    row = orthogonal(seeds["mixing"], 4)[0]
    assert numbers("first row of Q with C = 4 from the first seed") == pytest.approx(row, abs=1e-7)
    normal = gaussians(seeds["bias"], 4)
    assert numbers("4 normal numbers from the second seed") == pytest.approx(normal, abs=1e-7)
    order = permutation(seeds["positions"], 16)
    assert numbers("P of 16 positions from the third seed") == order.tolist()


def section(text: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its level."""
    found = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert found, heading
    return found[1]


def test_file_formats_name_every_field(repository: Path) -> None:
    text = (repository / FORMATS).read_text(encoding="utf-8")
    for record, heading in (
        (StudySpec, "Study: `study.yaml`"),
        (KeyRecord, "Client key"),
        (IdentityRecord, "Identity"),
        (ContactCard, "Contact card"),
        (JoinRequest, "Join request"),
        (MembershipList, "Membership list"),
        (SealedShare, "Transform share"),
        (Envelope, "Latent bundle"),
        (BundleHeader, "Latent bundle"),
        (ModelHeader, "Model files"),
        (SiteLink, "Model files"),
        (TrainingRecord, "Site folder and server folder"),
        (LogEntry, "Disclosure log"),
    ):
        under = section(text, heading)
        for field in record.model_fields:
            assert f"`{field}`" in under, f"{record.__name__}.{field}"
    for event in get_args(Event):
        assert f"`{event}`" in section(text, "Disclosure log"), event


def test_file_formats_tell_the_cost_of_a_passphrase_as_it_is(repository: Path) -> None:
    text = section((repository / FORMATS).read_text(encoding="utf-8"), "Files under a passphrase")
    for name, field in KdfCost.model_fields.items():
        low, high = (
            getattr(limit, key) for limit, key in zip(field.metadata, ("ge", "le"), strict=True)
        )
        assert f"`seal.{name}`" in text
        assert re.search(
            rf"`seal.{name}` .*written: {field.default}. Accepted: {low} to {high} ", text
        )
    assert f"{MAX_WORK_KIB:,}".replace(",", " ") in text


def test_file_formats_name_every_column_of_the_registry(repository: Path, tmp_path: Path) -> None:
    text = section((repository / FORMATS).read_text(encoding="utf-8"), "Home folder and registry")
    with Database(tmp_path / "registry.sqlite").transaction() as connection:
        tables = [
            name
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        ]
        columns = {
            t: [row[1] for row in connection.execute(f"PRAGMA table_info({t})")] for t in tables
        }
    for table, names in columns.items():
        (row,) = re.findall(rf"^\| `{table}` \| (.*) \|$", text, re.MULTILINE)
        for name in names:
            assert f"`{name}`" in row, f"{table}.{name}"
