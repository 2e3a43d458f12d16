"""A table that can be copied and saved as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QHBoxLayout,
    QTableWidget,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._widgets.parts import button, show_only
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.files import write_text

_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]\d+)?")


class CopiedTable(QWidget):
    """A table with its two buttons. Subclasses fill it and give its content as rows of text.

    Parameters
    ----------
    name
        Of the table, also of the file that is suggested.
    headings
        Of the columns.
    tip
        What is in the table.
    """

    failed = Signal(str, str)
    """Why the table was not saved, and what to do."""

    def __init__(
        self, name: str, headings: Sequence[str], tip: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._name = name
        self.table = QTableWidget(0, len(headings), objectName=name)
        self.table.setAccessibleName(name.capitalize())
        self.table.setToolTip(tip)
        show_only(self.table, headings)
        tip = "Copy the table, to paste it into a report or a spreadsheet."
        self.copy = button("Cop&y", "copy", tip, self._copy, icon="copy_to_clipboard")
        tip = "Save the table for a spreadsheet."
        self.save_csv = button("Save as CS&V…", "save_csv", tip, self._save)
        row = QHBoxLayout()
        row.addWidget(self.copy)
        row.addWidget(self.save_csv)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addLayout(row)
        self.hide()

    def records(self) -> Iterable[Sequence[str]]:
        """A heading, then the rows."""
        raise NotImplementedError

    def text(self, delimiter: str = ",") -> str:
        """The table as text, with a heading."""
        written = io.StringIO()
        writer = csv.writer(written, delimiter=delimiter, lineterminator="\n")
        writer.writerows([_plain(cell) for cell in record] for record in self.records())
        return written.getvalue()

    def save(self, path: Path) -> None:
        """Write the table as CSV.

        Raises
        ------
        ResourceError
            The file cannot be written.
        """
        write_text(path, self.text())

    def _copy(self) -> None:
        QApplication.clipboard().setText(self.text("\t"))

    def _save(self) -> None:
        suggested = f"{self._name}.csv"
        name, _ = QFileDialog.getSaveFileName(self, "Save the table", suggested, "CSV (*.csv)")
        if not name:
            return
        try:
            self.save(Path(name))
        except PPCMIError as error:
            failure = Failure.of(error)
            self.failed.emit(failure.message, failure.hint)


def _plain(text: str) -> str:
    """A spreadsheet takes text that begins so for a formula."""
    if _NUMBER.fullmatch(text):
        return text
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
