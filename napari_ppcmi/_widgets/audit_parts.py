"""Parts of the page of the privacy audit: which attacks, whose decoders, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from qtpy.QtCore import Qt, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QCheckBox,
    QGroupBox,
    QHBoxLayout,
    QHeaderView,
    QListWidget,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._protocol.audit import Audited, AuditRow
from napari_ppcmi._widgets.copied_table import CopiedTable
from napari_ppcmi._widgets.parts import FolderPicker, Note, Section, button, wrapping
from napari_ppcmi._widgets.training_parts import left_out, named, wrapped_form

ATTACKS = (
    ("cross-decoder", "A partner's decoder",
     "The attacker is another site. It has the protected features and a decoder of its own, and "
     "neither a key nor an image."),
    ("wrong-key", "Own decoder, no right key",
     "The attacker has the site's folder and an opened bundle: the protected features and the "
     "decoder that fits them. The key, or parts of it, are missing or wrong."),
    ("learned-inversion", "A decoder that was trained for it",
     "The attacker reads protected features and has some images of the site, or public ones like "
     "them, to train a decoder on."),
    ("known-plaintext", "Solving for the transform",
     "The attacker has the site's encoder and knows a few images of the site, with their protected "
     "features."),
    ("layout", "The layout without any key",
     "The attacker reads protected features, and has public images of the same kind. No key."),
    ("linkability", "Same patient or not",
     "The attacker reads the protected features of two items and knows of some other pairs "
     "whether they are of one patient. No key."),
    ("membership", "Was it in the training?",
     "The attacker has a network, and a slice with its mask, and images like it to compare with."),
    ("property", "Scanner and class mix",
     "The attacker reads protected features, and knows the property of some other patients. No "
     "key."),
    ("malicious-site", "A site that sends bad pairs",
     "The attacker is a member of the study, by a fault or on purpose, and has what every site "
     "has."),
)  # fmt: skip
"""Id, short title, and what the attacker is assumed to have."""

_LIST_ROWS = 3
_ROWS_SHOWN = 9
_HEADINGS = ("Attack", "Measured", "Number", "95 % interval", "n", "Chance", "Aim")
_MEASUREMENTS = "These numbers are measurements, not a proof."
_PATIENT_DATA = "The report shows images of patients: treat it as patient data."


class AttackChoice(QGroupBox):
    """A check box for each attack, and one for all."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Attacks", parent)
        self.every = named(QCheckBox("A&ll attacks"), "all_attacks", "Every attack, or none.")
        self.boxes = {name: named(QCheckBox(title), name, tip) for name, title, tip in ATTACKS}
        layout = QVBoxLayout(self)
        for box in (self.every, *self.boxes.values()):
            box.setChecked(True)
            layout.addWidget(box)
        self.every.clicked.connect(self._choose_all)
        for box in self.boxes.values():
            box.clicked.connect(self._show_all)

    @property
    def chosen(self) -> tuple[str, ...]:
        """Their ids."""
        return tuple(name for name, box in self.boxes.items() if box.isChecked())

    def _choose_all(self, is_on: bool) -> None:
        for box in self.boxes.values():
            box.setChecked(is_on)

    def _show_all(self) -> None:
        self.every.setChecked(len(self.chosen) == len(self.boxes))


class PartnerFolders(QWidget):
    """Folders of other sites, of which there may be none."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.picker = FolderPicker(
            "partner", "The folder of another site of the study. Its decoder is the attacker's."
        )
        self.add = button("&Add", "add_partner", "Let this site attack.", self._add, icon="plus")
        self.remove = button(
            "Re&move", "remove_partner", "Take the chosen site out.", self._remove, icon="minus"
        )
        self.list = named(QListWidget(), "partners", "The sites whose decoders are tried.")
        self.list.setAccessibleName("Partner sites")
        self.list.setFixedHeight(self.fontMetrics().height() * (_LIST_ROWS + 1))
        row = QHBoxLayout()
        row.addWidget(self.add)
        row.addWidget(self.remove)
        form = wrapped_form()
        form.addRow("&Partner sites, if there are any here", self.picker)
        self.picker.line.setAccessibleName("Partner site")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addLayout(row)
        layout.addWidget(self.list)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Those that were added, and one that stands in the line still."""
        texts = [item.text() for item in map(self.list.item, range(self.list.count())) if item]
        return tuple(dict.fromkeys([*map(Path, texts), *filter(None, [self.picker.path])]))

    def _add(self) -> None:
        paths = self.paths
        self.list.clear()
        self.list.addItems([str(path) for path in paths])
        self.picker.show_path(None)

    def _remove(self) -> None:
        self.list.takeItem(self.list.currentRow())


class AuditTable(CopiedTable):
    """The numbers of an audit, a row each."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("audit", _HEADINGS, "What each attack got.", parent)
        self._rows: tuple[AuditRow, ...] = ()
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        for section in (0, 1):  # sentences, which wrap
            header.setSectionResizeMode(section, QHeaderView.ResizeMode.Interactive)
            self.table.setColumnWidth(section, 130)
        self.table.setFixedHeight(self.table.fontMetrics().height() * 2 * _ROWS_SHOWN)
        self.table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QTableWidget.SelectionMode.SingleSelection)
        self.reading = wrapping(name="audit_row")
        self.reading.setTextFormat(Qt.TextFormat.PlainText)
        self.table.currentCellChanged.connect(self._read)
        column = self.layout()
        assert isinstance(column, QVBoxLayout)
        column.insertWidget(1, self.reading)

    def fill(self, rows: Sequence[AuditRow]) -> None:
        """Show these in place of what was there."""
        self._rows = tuple(rows)
        self.table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            for column, text in enumerate(_cells(row)):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(index, column, item)
        self.table.resizeRowsToContents()
        self.table.setCurrentCell(0, 0)

    def _read(self, row: int) -> None:
        """Say the chosen row in a sentence: a narrow dock does not show all columns."""
        self.reading.setText(_sentence(self._rows[row]) if 0 <= row < len(self._rows) else "")

    def records(self) -> Iterable[Sequence[str]]:
        """A heading, then the rows."""
        yield "attack", "measured", "number", "interval", "n", "chance", "aim"
        yield from map(_cells, self._rows)


def _cells(row: AuditRow) -> tuple[str, ...]:
    return row.attack, row.measured, row.number, row.interval, row.n, row.chance, row.aim


def _sentence(row: AuditRow) -> str:
    if not row.number:
        return f"{row.attack}: {row.measured}"
    return (
        f"{row.attack}: {row.measured} is {row.number} (95 % interval: {row.interval}; n {row.n}). "
        f"Chance: {row.chance}. Aim: {row.aim}."
    )


class AuditResults(QWidget):
    """What an audit found, and the way to its report."""

    failed = Signal(str, str)
    """What went wrong with opening the report or saving the table, and what to do."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._report: Path | None = None
        self.summary = wrapping(name="audit_summary")
        self.table = AuditTable()
        self.table.show()
        self.table.failed.connect(self.failed)
        self.open_report = button(
            "Open r&eport", "open_report", "Show the whole report in your browser.", self._open
        )
        self.not_tested = wrapping(name="not_tested")
        self.problems = Note("audit_problems")
        for label in (self.summary, self.not_tested, self.problems):
            label.setTextFormat(Qt.TextFormat.PlainText)
        self.left_open = Section("What was not tested", "What these attacks leave open.")
        self.left_open.addWidget(self.not_tested)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (
            self.summary, self.table, self.open_report, self.left_open, self.problems,
        ):  # fmt: skip
            layout.addWidget(widget)
        self.hide()

    def fill(self, found: Audited) -> None:
        """Show this audit."""
        self._report = found.html
        count = len(found.not_tested)
        self.summary.setText(
            f"{_MEASUREMENTS} {found.caution} What was not tested ({count} points) stands below "
            f"the table, and in the report.\n{_PATIENT_DATA} It is {found.html}."
        )
        self.table.fill(found.rows)
        self.not_tested.setText("\n".join(found.not_tested))
        self.problems.tell(left_out(found.problems))
        self.show()

    def _open(self) -> None:
        if self._report is None:
            return
        if not QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._report))):
            self.failed.emit("No browser could be started.", f"Open it by hand: {self._report}")
