"""The manifest: `npe2 validate` notices neither wrong names nor wrong menus, so we do."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import napari.settings
import pytest
from npe2 import PluginManager, PluginManifest
from npe2.manifest.contributions import MenuCommand
from npe2.manifest.utils import import_python_name

import napari_ppcmi

# napari ignores any other menu without a word.
OPEN_MENUS = {
    "napari/file/acquire",
    "napari/file/io_utilities",
    "napari/file/new_layer",
    "napari/layers/annotate",
    "napari/layers/classify",
    "napari/layers/data",
    "napari/layers/filter",
    "napari/layers/layer_type",
    "napari/layers/measure",
    "napari/layers/metadata",
    "napari/layers/project",
    "napari/layers/register",
    "napari/layers/segment",
    "napari/layers/track",
    "napari/layers/transform",
    "napari/layers/visualize",
}


@pytest.fixture(scope="module")
def manifest() -> PluginManifest:
    return PluginManifest.from_file(Path(napari_ppcmi.__file__).parent / "napari.yaml")


def test_every_command_leads_to_a_function(manifest: PluginManifest) -> None:
    commands = manifest.contributions.commands
    assert commands
    for command in commands:
        assert command.python_name, command.id
        assert callable(import_python_name(command.python_name)), command.id


def test_commands_are_named_once_and_after_the_plugin(manifest: PluginManifest) -> None:
    names = [command.id for command in manifest.contributions.commands]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"napari-ppcmi\.[a-z_]+", name) for name in names)


def test_every_contribution_names_a_command_that_exists(manifest: PluginManifest) -> None:
    """And every command is reached by a contribution: none is left over."""
    made = manifest.contributions
    ids = {command.id for command in made.commands}
    used = {
        item.command
        for items in (made.sample_data, made.readers, made.writers, made.widgets)
        for item in items or []
    }
    used |= {
        item.command
        for items in (made.menus or {}).values()
        for item in items
        if isinstance(item, MenuCommand)
    }
    assert used == ids


def test_every_widget_is_a_class_that_takes_the_viewer(manifest: PluginManifest) -> None:
    python_names = {command.id: command.python_name for command in manifest.contributions.commands}
    for widget in manifest.contributions.widgets or []:
        made = import_python_name(python_names[widget.command])
        assert isinstance(made, type), widget.command
        assert "napari_viewer" in inspect.signature(made).parameters, widget.command


@pytest.mark.skipif(
    not hasattr(napari.settings, "get_plugin_settings"),
    reason="before 0.9 napari had no settings for plugins: ours are in a file of our own",
)
def test_napari_offers_the_settings_that_the_plugin_reads() -> None:
    """In a process of its own: napari builds them once."""
    code = (
        "from napari.plugins import _initialize_plugins; _initialize_plugins();"
        "from napari_ppcmi._preferences import _from_napari; print(_from_napari())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"NAPARI_CONFIG": ""},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    settings = ast.literal_eval(told.stdout.strip())
    assert settings == {"device": "auto", "lock_minutes": 15, "mask_opacity": 0.5}


def test_menus_are_open_to_plugins(manifest: PluginManifest) -> None:
    made = manifest.contributions
    own = {submenu.id for submenu in made.submenus or []}
    opened = {
        item.submenu
        for items in (made.menus or {}).values()
        for item in items
        if not isinstance(item, MenuCommand)
    }
    assert opened == own
    assert set(made.menus or {}) <= OPEN_MENUS | own


def test_napari_finds_the_plugin_by_its_entry_point() -> None:
    (entry,) = [
        point
        for point in distribution("napari-ppcmi").entry_points
        if point.group == "napari.manifest"
    ]
    assert (entry.name, entry.value) == ("napari-ppcmi", "napari_ppcmi:napari.yaml")
    manager = PluginManager()
    manager.discover()
    found = manager.get_manifest("napari-ppcmi")
    assert found.display_name == "PPCMI-SF"
    assert found.package_version == napari_ppcmi.__version__


def test_the_manifest_at_the_top_is_the_one_in_the_package(repository: Path) -> None:
    inside = repository / "napari_ppcmi" / "napari.yaml"
    assert (repository / "napari.yaml").read_bytes() == inside.read_bytes()


def test_the_manifest_is_plain_ascii(repository: Path) -> None:
    """It is read in the machine's own encoding, which need not be UTF-8."""
    assert (repository / "napari_ppcmi" / "napari.yaml").read_bytes().isascii()
