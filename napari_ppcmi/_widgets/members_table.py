"""The sites of a study as a table."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QTableWidget, QTableWidgetItem, QWidget

from napari_ppcmi._protocol.keys import IdentityInfo
from napari_ppcmi._widgets.parts import show_only

_ROWS_SHOWN = 4


class MembersTable(QTableWidget):
    """Name and last day of each site's card; its words in the tooltip."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(0, 2, parent)
        self.setObjectName("members")
        self.setAccessibleName("Sites of the study")
        self.setToolTip("Who takes part. Choose a site to take it out.")
        show_only(self, ["Site", "Valid until"])
        self.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.setSelectionMode(QTableWidget.SelectionMode.SingleSelection)
        self.setFixedHeight(self.fontMetrics().height() * 2 * _ROWS_SHOWN)

    def show_members(self, members: Sequence[IdentityInfo]) -> None:
        """Show these sites instead of those before."""
        self.clearSelection()
        self.setRowCount(len(members))
        for row, member in enumerate(members):
            for column, text in enumerate((member.name, member.expires)):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{member.words}\n{member.note}".strip())
                self.setItem(row, column, item)

    @property
    def chosen(self) -> str | None:
        """Name of the site that is selected."""
        rows = {index.row() for index in self.selectedIndexes()}
        item = self.item(rows.pop(), 0) if rows else None
        return None if item is None else item.text()
