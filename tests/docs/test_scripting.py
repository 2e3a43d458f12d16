"""What docs/scripting.md tells of each verb's ``--json`` is what the verb prints.

``study``, in conftest.py, has run them all: ``told`` is what each verb printed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ppcmi_sf.cli.app import app

COMMAND = typer.main.get_command(app)
INSPECT = "inspect"
NOT_RUN = {("ppcmi demo", "sample_data")}  # a whole demo again; tests/core/cli/test_demo.py runs it
PLAIN = {
    "text": lambda value: isinstance(value, str),
    "whole number": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "true or false": lambda value: isinstance(value, bool),
}


def _verbs() -> Iterator[str]:
    for name, command in COMMAND.commands.items():
        inner = getattr(command, "commands", None)
        if inner is None or command.invoke_without_command:  # ``log`` is a verb and a group
            yield name
        yield from (f"{name} {sub}" for sub in inner or ())


VERBS = sorted(_verbs())
slow = pytest.mark.slow  # what takes ``study``


@dataclass
class Table:
    """Fields to types and meanings, as the page has them."""

    heading: str
    types: dict[str, str] = field(default_factory=dict)
    meanings: dict[str, str] = field(default_factory=dict)


@dataclass
class Page:
    """The tables of the page by the anchors of their headings, and what was seen of them."""

    tables: dict[str, Table]
    seen: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def read(cls, text: str) -> Page:
        tables, heading = {}, ""
        for line in text.splitlines():
            if line.startswith("#"):
                heading = line.lstrip("# ")
            row = re.fullmatch(r"\| `([^`]+)` \| (.+?) \|(.*)\|", line)
            if row:
                anchor = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
                table = tables.setdefault(anchor, Table(heading))
                assert row[1] not in table.types, f"{heading}: {row[1]} stands there twice"
                table.types[row[1]], table.meanings[row[1]] = row[2], row[3]
        return cls(tables)

    def of_verb(self, verb: str, result: dict[str, Any]) -> Table:
        """That of a verb; ``inspect`` has one for each kind of file."""
        if verb == INSPECT:
            told = f"`{result['kind']}`"
            found = [table for table in self.kinds() if told in table.meanings["kind"]]
        else:
            found = [table for table in self.tables.values() if f"`ppcmi {verb}`" in table.heading]
        assert len(found) == 1, f"{verb}: {len(found)} tables"
        return found[0]

    def kinds(self) -> list[Table]:
        """The tables of ``inspect``: 'A study', 'An image'."""
        return [table for table in self.tables.values() if re.match(r"An? ", table.heading)]

    def faults(self, value: Any, table: Table, where: str) -> Iterator[str]:
        """Where an object is not what its table says."""
        if not isinstance(value, dict):
            yield f"{where}: no object"
            return
        needed = {name for name, kind in table.types.items() if not kind.endswith(", optional")}
        if not needed <= value.keys() <= table.types.keys():
            lacking, more = needed - value.keys(), value.keys() - table.types.keys()
            yield f"{where}: lacks {lacking or 'nothing'}, has {more or 'nothing'} undocumented"
        for name in value.keys() & table.types.keys():
            self.seen.add((table.heading, name))
            kind = table.types[name].removesuffix(", optional")
            yield from self._faults(value[name], kind, f"{where}.{name}")

    def _faults(self, value: Any, kind: str, where: str) -> Iterator[str]:
        if kind.endswith(" or null"):
            if value is not None:
                yield from self._faults(value, kind.removesuffix(" or null"), where)
        elif kind.startswith("list of "):
            if not isinstance(value, list):
                yield f"{where}: no list"
                return
            for one in value:
                yield from self._faults(one, kind.removeprefix("list of "), f"{where}[]")
        elif kind.startswith("for each "):
            if not isinstance(value, dict):
                yield f"{where}: no object"
                return
            for one in value.values():
                yield from self._faults(one, kind.partition(": ")[2], f"{where}.<name>")
        elif link := re.fullmatch(r"\[[^]]+\]\(#([\w-]+)\)", kind):
            yield from self.faults(value, self.tables[link[1]], where)
        elif not PLAIN[kind](value):
            yield f"{where}: {value!r} is no {kind}"


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "docs" / "scripting.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page.read(text)


def test_the_page_has_every_verb_and_no_other(text: str) -> None:
    headings = "\n".join(re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    told = re.findall(r"`ppcmi ([a-z][a-z -]*)`", headings)
    assert sorted(told) == VERBS


@slow
@pytest.mark.parametrize("verb", VERBS)
def test_a_result_is_what_its_table_says(study: Any, page: Page, verb: str) -> None:
    assert study.told[verb], "it was not run"
    for result in study.told[verb]:
        faults = list(page.faults(result, page.of_verb(verb, result), verb))
        assert not faults, "\n".join(faults)


@slow
def test_an_error_is_what_its_table_says(study: Any, page: Page) -> None:
    table = page.tables["when-there-is-no-result"]
    assert sum("failures" in error for error in study.errors) >= 1
    for error in study.errors:
        faults = list(page.faults(error, table, error["error"]))
        assert not faults, "\n".join(faults)


@slow
def test_everything_on_the_page_was_seen(study: Any, page: Page) -> None:
    """A field that no run has, and a table that nothing links to, would be true of nothing."""
    for verb, results in study.told.items():
        for result in results:
            list(page.faults(result, page.of_verb(verb, result), verb))
    list(page.faults(study.errors[-1], page.tables["when-there-is-no-result"], ""))
    told = {(t.heading, name) for t in page.tables.values() for name in t.types}
    named = {(heading.strip("`"), name) for heading, name in told - page.seen}
    assert named == NOT_RUN
    kinds = {kind for table in page.kinds() for kind in re.findall("`(.+?)`", _kind(table))}
    assert kinds == {result["kind"] for result in study.told[INSPECT]}


def _kind(table: Table) -> str:
    return table.meanings["kind"]


@slow
def test_a_wrong_table_is_noticed(study: Any, text: str) -> None:
    """The checker itself: a field away, one too many, another type, also one level down."""
    (result,) = study.told["evaluate"]
    for old, new in (
        ("| `distance_unit` | text | `mm` or `px` |\n", ""),
        ("| `without_truth` |", "| `without` |"),
        ("| `distance_unit` | text |", "| `distance_unit` | number |"),
        ("| `hint` | text | what to do |\n\n### Training", "\n### Training"),
        ("| `n` | whole number | cases |", "| `n` | text | cases |"),
        ("| `cases` | list of [case](#case) |", "| `cases` | list of text |"),
    ):
        assert text.count(old) == 1, old
        page = Page.read(text.replace(old, new))
        assert list(page.faults(result, page.of_verb("evaluate", result), "evaluate")), old


@slow
@pytest.mark.skipif(os.name == "nt", reason="the examples are for a POSIX shell")
def test_the_examples_run(study: Any, text: str) -> None:
    examples = re.findall(r"^```bash\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert len(examples) == 3
    first, second = study.root / "new" / "monday", study.root / "new" / "tuesday"
    shutil.rmtree(study.root / "new")
    shutil.copytree(study.root / "data" / "north" / "test" / "images", first)
    shutil.copytree(first, second)
    (second / "broken.png").write_bytes(b"no image")
    folder = str(Path(sys.executable).parent)
    environment = os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", "\n".join(examples)],
        cwd=study.root,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "new/tuesday/: exit code 1", done.stdout
    assert lines[1].startswith("broken\t") and lines[-1] == "not good enough"
