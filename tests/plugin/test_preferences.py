"""Habits stand in napari's own dialog, or in our file where napari has no such dialog."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from napari_ppcmi._preferences import PLUGIN, Preferences, _file, _from_napari
from napari_ppcmi._session import Session

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


def test_a_change_in_napari_s_dialog_takes_effect_at_once():
    from napari.settings import get_plugin_settings

    if not _from_napari():
        pytest.skip("this napari has no preferences for plugins")
    general, session = get_plugin_settings(PLUGIN).general, Session()
    assert (session.device, session.preferences.mask_opacity) == ("auto", 0.5)
    general.device, general.mask_opacity, general.lock_minutes = "cpu", 0.25, 3
    try:
        assert session.device == "cpu"
        assert session.preferences.mask_opacity == 0.25
        assert session.preferences.lock_minutes == 3
    finally:
        general.device, general.mask_opacity, general.lock_minutes = "auto", 0.5, 15


def test_a_file_that_cannot_be_read_is_a_fresh_start(tmp_path: Path):
    Preferences().remember(inbox=tmp_path)
    assert Preferences.load().inbox == tmp_path
    _file().write_text("{", encoding="utf-8")
    assert Preferences.load().inbox is None


def test_two_windows_do_not_undo_each_other_s_choices(tmp_path: Path):
    one, other = Preferences.load(), Preferences.load()
    other.remember(outbox=tmp_path / "outbox")
    one.remember(inbox=tmp_path / "inbox")
    kept = Preferences.load()
    assert (kept.outbox, kept.inbox) == (tmp_path / "outbox", tmp_path / "inbox")
    assert one.outbox is None  # what a window works with does not change under it


def test_where_the_system_knows_no_user_nothing_is_kept(tmp_path: Path, monkeypatch):
    if sys.platform != "linux":
        pytest.skip("elsewhere the system is asked another way")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "~")
    monkeypatch.chdir(tmp_path)
    chosen = Preferences.load()
    chosen.remember(outbox=tmp_path / "outbox")
    assert chosen.outbox == tmp_path / "outbox"
    assert not list(tmp_path.glob("~*"))
