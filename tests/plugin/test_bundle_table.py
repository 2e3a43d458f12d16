"""A table of bundles: what is selected is a file, and not a row."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.bundles import BundleInfo, FolderListing
from napari_ppcmi._widgets.bundle_table import BundleTable
from napari_ppcmi._widgets.exchange_page import ExchangePage

JOB_MS = 60_000


@pytest.fixture
def table(qtbot, viewer_model):
    made = BundleTable(jobs_for(viewer_model), "came")
    qtbot.addWidget(made)
    return made


def put(file: Path, seconds: int) -> None:
    file.write_bytes(b"no bundle")
    os.utime(file, (seconds, seconds))


def test_the_selection_stays_with_its_file_when_others_come_and_go(qtbot, table, tmp_path: Path):
    wanted = tmp_path / "m.ppcmi"
    put(wanted, 1_000_000)
    with qtbot.waitSignal(table.listed, timeout=JOB_MS):
        table.watch(tmp_path)
    table.table.selectRow(0)
    for name, seconds in (("a", 2_000_000), ("z", 3_000_000), ("0", 500_000)):
        put(tmp_path / f"{name}.ppcmi", seconds)
    qtbot.waitUntil(lambda: len(table.bundles) == 4, timeout=JOB_MS)
    assert table.bundles[0].file != wanted
    assert [one.file for one in table.selected()] == [wanted] == [b.file for b in table.chosen()]
    assert not table.problem.isHidden()  # it is that of the file that is selected
    wanted.unlink()
    qtbot.waitUntil(lambda: len(table.bundles) == 3, timeout=JOB_MS)
    assert not table.chosen() and len(table.selected()) == 3
    assert table.problem.isHidden()


def test_a_folder_that_was_away_is_followed_when_it_is_back(qtbot, table, tmp_path: Path):
    drive = tmp_path / "network drive ü"
    with qtbot.waitSignal(table.listed, timeout=JOB_MS):
        table.watch(drive)
    for name in ("a", "b"):
        drive.mkdir()
        put(drive / f"{name}.ppcmi", 1_000_000)
        qtbot.waitUntil(lambda: len(table.bundles) == 1, timeout=JOB_MS)
        assert table.bundles[0].file.stem == name
        put(drive / "later.ppcmi", 2_000_000)
        qtbot.waitUntil(lambda: len(table.bundles) == 2, timeout=JOB_MS)
        shutil.rmtree(drive)
        qtbot.waitUntil(lambda: not table.bundles, timeout=JOB_MS)


def test_a_mapping_network_is_installed_only_when_it_is_selected(qtbot, viewer_model):
    page = ExchangePage(viewer_model)
    qtbot.addWidget(page)
    network = BundleInfo(file=Path("network.ppcmi"), kind="model", state="verified")
    page.came._show(FolderListing(folder=Path(), bundles=(network,)))
    page.install.click()
    assert page.panel.job is None
    assert "Not one mapping network is selected" in page.panel.error.text()
    page.came.table.selectRow(0)
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        page.install.click()
    assert "No site folder is open" in page.panel.error.text()


def test_the_day_is_not_cut_off_in_a_narrow_dock(qtbot, table, tmp_path: Path):
    put(tmp_path / "a.ppcmi", 1_000_000)
    table.resize(270, 300)
    table.show()
    with qtbot.waitSignal(table.listed, timeout=JOB_MS):
        table.watch(tmp_path)
    item = table.table.item(0, 2)
    day, time = item.text().splitlines()
    assert day == "1970-01-12" and len(time) == len("13:46")
    room = table.table.columnWidth(2)
    assert room > table.table.fontMetrics().horizontalAdvance(day)
    assert table.table.horizontalHeader().length() <= table.table.viewport().width()
