"""Legend and amounts: the classes of a mask with their colours and how much there is of each."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._overlay import ClassAmount
from napari_ppcmi._widgets.icons import set_icon
from ppcmi_sf.files import write_text

_SWATCH = 14
_ROWS_SHOWN = 5
_HEADINGS = ("Mask", "Structure", "Amount")


class ResultsTable(QWidget):
    """A row for each class of each mask; can be copied and saved as CSV."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: list[tuple[str, ClassAmount]] = []
        self.table = QTableWidget(0, len(_HEADINGS), objectName="amounts")
        self.table.setAccessibleName("Amounts")
        self.table.setToolTip("How much there is of each structure.")
        self.table.setHorizontalHeaderLabels(list(_HEADINGS))
        self.table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
        self.table.setTabKeyNavigation(False)  # Tab goes on to the next widget
        self.table.verticalHeader().hide()
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        self.table.setFixedHeight(self.table.fontMetrics().height() * 2 * _ROWS_SHOWN)
        copy = QPushButton("Cop&y", objectName="copy")
        copy.setToolTip("Copy the table, to paste it into a report or a spreadsheet.")
        set_icon(copy, "copy_to_clipboard")
        copy.clicked.connect(lambda: QApplication.clipboard().setText(self.text("\t")))
        save = QPushButton("Save as CS&V…", objectName="save_csv")
        save.setToolTip("Save the table for a spreadsheet.")
        save.clicked.connect(self._save)
        row = QHBoxLayout()
        row.addWidget(copy)
        row.addWidget(save)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addLayout(row)
        self.hide()

    def add(self, name: str, found: Sequence[ClassAmount]) -> None:
        """Put a mask's classes on top; the newest mask of a name replaces the older rows."""
        kept = [row for row in self._rows if row[0] != name]
        self._rows = [(name, one) for one in found] + kept
        self.table.setRowCount(len(self._rows))
        for index, (mask, one) in enumerate(self._rows):
            swatch = QPixmap(_SWATCH, _SWATCH)
            swatch.fill(QColor(one.color))
            structure = QTableWidgetItem(QIcon(swatch), one.name)
            amount = QTableWidgetItem(f"{_number(one)} {one.unit}")
            amount.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            for column, item in enumerate((QTableWidgetItem(mask), structure, amount)):
                item.setToolTip(item.text())
                self.table.setItem(index, column, item)
        self.show()

    def text(self, delimiter: str = ",") -> str:
        """The table as text, with a heading."""
        written = io.StringIO()
        writer = csv.writer(written, delimiter=delimiter, lineterminator="\n")
        writer.writerow(["mask", "structure", "amount", "unit"])
        for mask, one in self._rows:
            writer.writerow([_plain(mask), _plain(one.name), _number(one), one.unit])
        return written.getvalue()

    def save(self, path: Path) -> None:
        """Write the table as CSV."""
        write_text(path, self.text())

    def _save(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Save the table", "amounts.csv", "CSV (*.csv)")
        if name:
            self.save(Path(name))


def _number(one: ClassAmount) -> str:
    return f"{one.amount:.0f}" if one.unit == "pixels" else f"{one.amount:.2f}"


def _plain(text: str) -> str:
    """A spreadsheet takes text that begins so for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
