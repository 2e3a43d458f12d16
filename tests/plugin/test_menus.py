"""Each entry of napari's own menus, clicked: napari ignores a wrong id without a word."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from npe2 import PluginManifest
from npe2.manifest.contributions import MenuCommand
from npe2.manifest.utils import import_python_name
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QAction
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QMenu, QMenuBar, QWidget

import napari_ppcmi
from napari_ppcmi._jobs import jobs_for, peek_jobs

LABELS = {
    "napari/file/io_utilities": ("File", "IO Utilities"),
    "napari/layers/measure": ("Layers", "Measure"),
    "napari/layers/segment": ("Layers", "Segment"),
}
MANIFEST = PluginManifest.from_file(Path(napari_ppcmi.__file__).parent / "napari.yaml")
MADE = MANIFEST.contributions
TITLE = MANIFEST.display_name


@pytest.fixture
def viewer(make_napari_viewer):
    made = make_napari_viewer(show=True)
    yield made
    if peek_jobs(made) is not None:
        jobs_for(made).close()


def plain(text: str) -> str:
    return text.replace("&&", "\0").replace("&", "").replace("\0", "&").strip()


def click(menu: QMenuBar | QMenu, label: str) -> QAction:
    """Click an entry with the mouse."""
    known = [plain(action.text()) for action in menu.actions()]
    assert label in known, f"'{label}' is not among {known}"
    action = menu.actions()[known.index(label)]
    assert action.isEnabled() and action.isVisible(), label
    middle = menu.actionGeometry(action).center()
    for left in range(8, -1, -1):  # a menu takes no click before the mouse has moved in it
        QTest.mouseMove(menu, middle - QPoint(left, 0))
    QTest.mouseClick(menu, Qt.MouseButton.LeftButton, pos=middle)
    return action


def click_through(qtbot, viewer, *labels: str) -> None:
    """Open menus, one in the other, and click the last entry."""
    menu: QMenuBar | QMenu = viewer.window._qt_window.menuBar()
    for label in labels[:-1]:
        inner = click(menu, label).menu()
        assert inner is not None, f"'{label}' opens no menu"
        qtbot.waitUntil(inner.isVisible, timeout=2000)
        menu = inner
    click(menu, labels[-1])
    qtbot.waitUntil(lambda: QApplication.activePopupWidget() is None, timeout=2000)


def count_docks(viewer, command: str) -> int:
    """How many docks show a command's widget."""
    python_name = next(c.python_name for c in MADE.commands if c.id == command)
    found = viewer.window._qt_window.findChildren(import_python_name(python_name))
    return sum(one.isVisible() and in_dock(one) for one in found)


def shows(viewer, command: str, count: int) -> bool:
    return count_docks(viewer, command) == count


def in_dock(widget: QWidget) -> bool:
    parent = widget.parentWidget()
    while parent is not None and "Dock" not in type(parent).__name__:
        parent = parent.parentWidget()
    return parent is not None


def paths_of(command: str) -> list[tuple[str, ...]]:
    """Where the manifest puts a command besides the Plugins menu."""
    submenus = {one.id: one.label for one in MADE.submenus or []}
    found = []
    for place, items in (MADE.menus or {}).items():
        for item in items:
            if isinstance(item, MenuCommand):
                if item.command == command and place in LABELS:
                    found.append(LABELS[place])
                continue
            inside = MADE.menus[item.submenu]
            if any(getattr(one, "command", "") == command for one in inside):
                found.append((*LABELS[place], submenus[item.submenu]))
    return found


def entries() -> list[tuple[str, tuple[str, ...]]]:
    """Every widget with every way to it."""
    found = []
    for widget in MADE.widgets:
        title = f"{widget.display_name} ({TITLE})"
        ways = [("Plugins", TITLE), *paths_of(widget.command)]
        found += [(widget.command, (*way, title)) for way in ways]
    return found


def test_the_manifest_names_these_places():
    """Or the tests below would test nothing."""
    ways = [way for _, way in entries()]
    assert {way[:2] for way in ways} == {("Plugins", TITLE), *LABELS.values()}
    assert len(ways) > len(MADE.widgets) > 5


def test_every_widget_opens_from_every_menu_that_it_is_in(viewer, qtbot):
    for command, way in entries():
        assert count_docks(viewer, command) == 0, way
        click_through(qtbot, viewer, *way)
        qtbot.waitUntil(partial(shows, viewer, command, 1), timeout=5000)
        click_through(qtbot, viewer, *way)  # the second click closes it
        qtbot.waitUntil(partial(shows, viewer, command, 0), timeout=5000)


@pytest.mark.parametrize("sample", MADE.sample_data, ids=lambda sample: sample.key)
def test_every_sample_opens_from_the_file_menu(viewer, qtbot, sample):
    click_through(qtbot, viewer, "File", "Open Sample", TITLE, sample.display_name)
    qtbot.waitUntil(lambda: len(viewer.layers) > 0, timeout=10_000)
    assert viewer.layers[0].data.size > 0
    assert all(layer.name for layer in viewer.layers)
