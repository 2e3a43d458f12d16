"""Menu paths that the pages name are those that the manifest makes."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

PATH = re.compile(r"\*((?:Plugins|Layers|File) > [^*]+)\*")


def menu_paths(repository: Path) -> set[str]:
    """Each entry of ours as a person finds it."""
    manifest = yaml.safe_load((repository / "napari_ppcmi" / "napari.yaml").read_bytes())
    added = manifest["contributions"]
    ours = manifest["display_name"]
    titles = {command["id"]: command["title"] for command in added["commands"]}
    labels = {menu["id"]: menu["label"] for menu in added["submenus"]}
    paths = {f"Plugins > {ours} > {widget['display_name']}" for widget in added["widgets"]}
    paths |= {f"File > Open Sample > {ours}", f"Plugins > {ours}"}
    for menu, entries in added["menus"].items():
        if not menu.startswith("napari/layers/"):
            continue
        top = f"Layers > {menu.removeprefix('napari/layers/').capitalize()}"
        for entry in entries:
            if "command" in entry:
                paths.add(f"{top} > {titles[entry['command']]}")
                continue
            inner = f"{top} > {labels[entry['submenu']]}"
            paths.add(inner)
            for below in added["menus"][entry["submenu"]]:
                paths.add(f"{inner} > {titles[below['command']]}")
    return paths


def test_menus_that_the_pages_name_are_there(repository: Path) -> None:
    known = menu_paths(repository)
    named = {}
    for page in [*repository.glob("*.md"), *(repository / "docs").glob("*.md")]:
        for path in PATH.findall(page.read_text(encoding="utf-8")):
            named[" ".join(path.split())] = page.name
    assert len(named) >= 5
    assert not {path: page for path, page in named.items() if path not in known}
