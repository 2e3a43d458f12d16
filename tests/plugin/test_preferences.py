"""Habits stand in napari's own dialog, or in our file where napari has no such dialog."""

from __future__ import annotations

import json
from pathlib import Path

from napari_ppcmi._preferences import Preferences, _file, _from_napari

HABITS = {"device", "lock_minutes", "mask_opacity"}


def test_each_habit_has_one_place(tmp_path: Path):
    Preferences.load().remember(outbox=tmp_path)
    kept = json.loads(_file().read_text(encoding="utf-8"))
    assert kept["outbox"] == str(tmp_path)
    offered = set(_from_napari())
    assert offered in (HABITS, set())
    assert HABITS - set(kept) == offered
    _file().write_text(json.dumps({**kept, "device": "cpu"}), encoding="utf-8")
    assert Preferences.load().device == ("auto" if offered else "cpu")
    Preferences.load().remember(inbox=tmp_path)
    assert Preferences.load().device == ("auto" if offered else "cpu")


def test_a_file_that_cannot_be_read_is_a_fresh_start(tmp_path: Path):
    Preferences().remember(inbox=tmp_path)
    assert Preferences.load().inbox == tmp_path
    _file().write_text("{", encoding="utf-8")
    assert Preferences.load().inbox is None
