"""No text of the engine comes into the window with a verb or an option of the command line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import napari_ppcmi
import ppcmi_sf
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._protocol.window_words import in_window_words
from ppcmi_sf.errors import PPCMIError

ENGINE = Path(ppcmi_sf.__file__).parent
PLUGIN = Path(napari_ppcmi.__file__).parent
# The window asks for passphrases itself, and has nothing to do with the system's keyring.
ONLY_PARTLY_USED = {"passphrase.py"}
# What the window has no button for; a test below tells when it has.
NOT_USED = {"cli"}
COMMAND_LINE = re.compile(r"(?<![\w-])--[a-z]|\bppcmi [a-z]|\bcommand\b|\b[Ss]witch\b")


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string that is no docstring; fields of it are 'X'."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    aside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
             for part in node.values}  # fmt: skip
    aside |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in aside:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        elif isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "X" for part in node.values]
            yield node.lineno, "".join(parts)


def all_texts() -> list[tuple[str, str]]:
    return [
        (f"{path.relative_to(ENGINE)}:{line}", text)
        for path in sorted(ENGINE.rglob("*.py"))
        if not NOT_USED & set(path.relative_to(ENGINE).with_suffix("").parts)
        and path.name not in ONLY_PARTLY_USED
        for line, text in texts_of(path)
    ]


def test_no_text_of_the_engine_gets_through_untranslated():
    found = [(where, text) for where, text in all_texts() if COMMAND_LINE.search(text)]
    assert len(found) > 40, "the engine's hints are not found any more"
    left = [(where, in_window_words(text)) for where, text in found]
    assert not [one for one in left if COMMAND_LINE.search(one[1])]


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{one.name}" for one in node.names)
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names)


def test_the_window_uses_nothing_that_is_left_out():
    used = [
        (path.name, name)
        for path in PLUGIN.rglob("*.py")
        for name in imports_of(path)
        if name.startswith("ppcmi_sf.") and NOT_USED & set(name.split("."))
    ]
    assert not used


def test_texts_without_the_command_line_stay_as_they_are():
    changed = [
        (where, text)
        for where, text in all_texts()
        if not COMMAND_LINE.search(text) and in_window_words(text) != text
    ]
    assert not changed


@pytest.mark.parametrize(
    "text", ["Use --whatever.", "See 'ppcmi log'.", "Run the command anew.", "(ppcmi frobnicate)"]
)
def test_the_check_itself_sees_what_is_not_in_the_table(text):
    assert COMMAND_LINE.search(in_window_words(text))


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (
            "Make one with 'ppcmi identity new --name SITE', or name another folder with --home.",
            "Make one with 'New identity…' on the Key page.",
        ),
        (
            "If it has new keys, remove the old contact first: 'ppcmi contact remove south'.",
            "If it has new keys, remove the old contact first ('Partners' on the Key page).",
        ),
        (
            "Choose one with --frame N, N from 0 to 11.",
            "Choose the frame with 'Open study…', then use its layer.",
        ),
    ],
)
def test_a_hint_in_words_of_the_window(hint, words):
    failure = Failure.of(PPCMIError("It failed.", hint=hint))
    assert (failure.message, failure.hint) == ("It failed.", words)
