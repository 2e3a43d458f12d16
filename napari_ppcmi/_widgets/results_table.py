"""Legend and amounts: the classes of a mask with their colours and how much there is of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QTableWidgetItem, QWidget

from napari_ppcmi._overlay import ClassAmount
from napari_ppcmi._widgets.copied_table import CopiedTable

_SWATCH = 14
_ROWS_SHOWN = 5
_HEADINGS = ("Mask", "Structure", "Amount")


class ResultsTable(CopiedTable):
    """A row for each class of each mask; can be copied and saved as CSV."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("amounts", _HEADINGS, "How much there is of each structure.", parent)
        self._rows: list[tuple[str, ClassAmount]] = []
        self.table.setFixedHeight(self.table.fontMetrics().height() * 2 * _ROWS_SHOWN)

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

    def records(self) -> Iterable[Sequence[str]]:
        """A heading, then the rows; amount and unit apart."""
        yield "mask", "structure", "amount", "unit"
        for mask, one in self._rows:
            yield mask, one.name, _number(one), one.unit


def _number(one: ClassAmount) -> str:
    return f"{one.amount:.0f}" if one.unit == "pixels" else f"{one.amount:.2f}"
