"""The privacy audit by clicks: the demo site, a real worker, real (cheap) attacks."""

from __future__ import annotations

import csv
import json
import shutil
import stat
import subprocess
import sys
import time

import pytest
from PIL import Image as Picture
from PIL import ImageOps
from qtpy.QtCore import QObject, QUrl, Slot
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QApplication, QScrollArea

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.keys import Lock
from napari_ppcmi._widgets.audit_parts import ATTACKS
from napari_ppcmi._widgets.audit_widget import AuditWidget
from ppcmi_sf.data.phantom import DEMO_SITES, phantom_2d, site_rng

AUDIT_MS = 180_000
NORTH, SIZE = 0, (128, 128)
SET_APART = ("north-p004", "north-p015")  # in the demo site's training.json
CHEAP = ("wrong-key", "known-plaintext")


@pytest.fixture
def data(tmp_path):
    """Sixteen images of eight patients, two of whom the demo site had set apart."""
    folder = tmp_path / "data"
    rows = ["file,group"]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    patients = [*SET_APART, *(f"north-p{number:03}" for number in range(20, 26))]
    for number in range(16):
        drawn = phantom_2d(site_rng(DEMO_SITES[NORTH], 3, number), SIZE, DEMO_SITES[NORTH])
        for kind, pixels in zip(("images", "masks"), drawn, strict=True):
            Picture.fromarray(pixels).save(folder / kind / f"case_{number}.png")
        rows.append(f"case_{number}.png,{patients[number // 2]}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def widget(qtbot, viewer_model, unlock_demo, data, tmp_path):
    """Of the unlocked demo site; filled in, but for the button."""
    unlock_demo(viewer_model)
    made = AuditWidget(viewer_model)
    qtbot.addWidget(made)
    made.resize(320, 1000)
    made.show()
    made.data.line.setText(str(data))
    made.out.line.setText(str(tmp_path / "audit"))
    return made


def tick(widget, *wanted: str) -> None:
    widget.attacks.every.click()
    assert not widget.attacks.chosen
    for name in wanted:
        widget.attacks.boxes[name].click()


def audit(qtbot, widget) -> None:
    with qtbot.waitSignal(widget.panel.idle, timeout=AUDIT_MS):
        widget.run.click()


class Browser(QObject):
    """Gets what Qt would give to the browser."""

    def __init__(self):
        super().__init__()
        self.opened: list[QUrl] = []

    @Slot(QUrl)
    def take(self, url):
        self.opened.append(url)


def test_an_audit_and_its_report(qtbot, widget, tmp_path):
    assert "Site north" in widget.site.text() and "escrow" in widget.site.text()
    assert widget.quick.isChecked()
    tick(widget, *CHEAP)
    steps = []
    widget.panel.progressed.connect(steps.append)
    audit(qtbot, widget)
    assert widget.results.isVisible(), widget.panel.error.text()
    out = tmp_path / "audit"
    assert {path.name for path in out.iterdir()} == {"audit.html", "audit.json"}
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in out.iterdir())
    told = json.loads((out / "audit.json").read_text(encoding="utf-8"))
    assert [one["attack"]["id"] for one in told["results"]] == list(CHEAP)
    assert told["quick"] is True and told["site"] == "north"
    fractions = [step.fraction for step in steps]
    assert fractions == sorted(fractions) and len(fractions) > 3
    assert any(step.seconds_left is not None for step in steps)
    _check_table(widget, told)
    _check_words(widget)
    _check_copies(widget, tmp_path)


def _check_table(widget, told) -> None:
    table = widget.results.table.table
    shown = [
        [table.item(row, column).text() for column in range(table.columnCount())]
        for row in range(table.rowCount())
    ]
    assert {row[0] for row in shown} == {one["attack"]["title"] for one in told["results"]}
    assert all(float(row[2]) == float(row[2]) and int(row[4]) > 0 for row in shown)
    table.setCurrentCell(1, 0)
    sentence = widget.results.table.reading.text()
    assert all(text in sentence for text in shown[1])
    aims = [row[6] for row in shown if row[6] != "no aim"]
    assert aims and all(aim.endswith((": met", ": NOT met", "NOT shown")) for aim in aims)


def _check_words(widget) -> None:
    summary = widget.results.summary.text()
    assert "These numbers are measurements" in summary
    assert "images of patients" in summary
    left = widget.results.not_tested.text()
    titles = {box.text() for box in widget.attacks.boxes.values()}
    assert left.count(": not run") == len(titles) - len(CHEAP)
    assert "safe" not in f"{summary} {left}".lower()


def _check_copies(widget, tmp_path) -> None:
    widget.results.table.copy.click()
    copied = QApplication.clipboard().text().splitlines()
    assert copied[0].split("\t")[0] == "attack"
    widget.results.table.save(tmp_path / "audit.csv")
    with (tmp_path / "audit.csv").open(newline="", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == len(copied) - 1 == widget.results.table.table.rowCount()
    assert all(row["n"].isdigit() for row in rows)


def test_patients_that_no_training_saw_are_asked_about(qtbot, widget, data, tmp_path):
    """Mirrored images under other patients' names: more who were not in the training."""
    other = tmp_path / "others"
    shutil.copytree(data, other)
    for path in [*(other / "images").iterdir(), *(other / "masks").iterdir()]:
        with Picture.open(path) as picture:
            ImageOps.mirror(picture).save(path)
    lines = (other / "manifest.csv").read_text(encoding="utf-8").replace(",north-p", ",other-p")
    (other / "manifest.csv").write_text(lines, encoding="utf-8")
    widget.unseen.line.setText(str(other))
    tick(widget, "wrong-key")
    widget.noise.setValue(0.5)
    audit(qtbot, widget)
    told = json.loads((tmp_path / "audit" / "audit.json").read_text(encoding="utf-8"))
    assert "20 slices of 10 patients that were set apart" in told["data"]
    assert "12 slices of 6 patients" in told["data"][0]
    assert any(line.startswith("noise of 0.5") for line in told["defences"])


def test_the_report_opens_in_the_browser_and_is_never_replaced(qtbot, widget, tmp_path):
    tick(widget, "known-plaintext")
    audit(qtbot, widget)
    browser = Browser()
    QDesktopServices.setUrlHandler("file", browser, "take")
    try:
        widget.results.open_report.click()
    finally:
        QDesktopServices.unsetUrlHandler("file")
    page = tmp_path / "audit" / "audit.html"
    assert [url.toLocalFile() for url in browser.opened] == [str(page)]
    before = page.read_bytes()
    audit(qtbot, widget)
    assert "there is a report in this folder" in widget.panel.error.text()
    assert not widget.results.isVisible()
    assert page.read_bytes() == before


def test_cancel_ends_it_soon_and_leaves_nothing(qtbot, widget, tmp_path):
    widget.full.click()
    tick(widget, "learned-inversion")
    steps = []
    widget.panel.progressed.connect(steps.append)
    widget.run.click()
    assert not widget.run.isEnabled()
    qtbot.waitUntil(lambda: any("decoder" in one.message for one in steps), timeout=AUDIT_MS)
    begun = time.monotonic()
    with qtbot.waitSignal(widget.panel.idle, timeout=10_000):
        widget.panel.cancel.click()
    assert time.monotonic() - begun < 2
    assert "Nothing was written" in widget.summary.text()
    assert not (tmp_path / "audit").exists()
    assert widget.run.isEnabled() and not widget.results.isVisible()
    for name in ("learned-inversion", "known-plaintext"):
        widget.attacks.boxes[name].click()
    widget.quick.click()
    audit(qtbot, widget)  # the key is open in the fresh worker, too
    assert widget.results.isVisible(), widget.panel.error.text()


@pytest.mark.parametrize(
    ("empty", "told"),
    [("data", "No data folder"), ("out", "No folder for the report"), ("", "No attack")],
)
def test_what_is_missing_is_told(widget, empty, told):
    if empty:
        getattr(widget, empty).line.clear()
    else:
        tick(widget)
    widget.run.click()
    assert told in widget.panel.error.text()
    assert widget.panel.job is None


def test_a_locked_key_is_told(widget, ask, viewer_model):
    ask(jobs_for(viewer_model), Lock())
    assert "Locked" in widget.site.text()
    widget.run.click()
    assert "The key is locked" in widget.panel.error.text()
    assert widget.panel.job is None


def test_a_folder_without_cases_is_told(qtbot, widget, tmp_path):
    (tmp_path / "nothing").mkdir()
    widget.data.line.setText(str(tmp_path / "nothing"))
    audit(qtbot, widget)
    assert widget.panel.error.text()
    assert "Traceback" not in widget.panel.error.text()
    assert not (tmp_path / "audit").exists()


def test_a_partner_that_is_none_is_told(qtbot, widget, data, tmp_path):
    partners = widget.partners
    partners.picker.line.setText(str(data))
    partners.add.click()
    assert partners.paths == (data,) and partners.picker.path is None
    tick(widget, "cross-decoder")
    audit(qtbot, widget)
    assert str(data) in widget.panel.error.text()
    partners.list.setCurrentRow(0)
    partners.remove.click()
    assert partners.paths == ()
    partners.picker.line.setText(str(tmp_path))  # typed and not added: it counts all the same
    assert partners.paths == (tmp_path,)


def test_one_box_stands_for_all(widget):
    attacks = widget.attacks
    assert len(attacks.chosen) == len(ATTACKS)
    attacks.boxes["layout"].click()
    assert not attacks.every.isChecked()
    attacks.boxes["layout"].click()
    assert attacks.every.isChecked()


def test_the_boxes_are_the_attacks_that_there_are():
    """Asked in a process of its own: torch is not for napari's."""
    code = "from ppcmi_sf.audit.attacks import all_attacks as a; print(*(e.attack.id for e in a()))"
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert told.stdout.split() == [name for name, _, _ in ATTACKS]
    assert all("attacker" in tip for _, _, tip in ATTACKS)


def test_nothing_heavy_is_imported_in_naparis_process():
    code = (
        "import sys; import napari_ppcmi._widgets.audit_widget;"
        "heavy = {'torch', 'monai', 'scipy.optimize', 'SimpleITK', 'nibabel', 'ppcmi_sf.audit.run',"
        "'ppcmi_sf.workflows.audit_site'}; print(sorted(heavy & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert told.stdout.strip() == "[]"


def test_it_fits_into_a_narrow_dock(qtbot, widget):
    widget.results.show()
    qtbot.wait(50)
    assert widget.width() == 320
    assert widget.findChild(QScrollArea).horizontalScrollBar().maximum() == 0
