"""The disclosure log as a table: what left this computer, and what came."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QHeaderView,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._jobs import Jobs
from napari_ppcmi._protocol.bundles import ExportLog, LogListing, ReadLog
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.parts import button, show_only, wrapping

_HEADINGS = ("No.", "When (UTC)", "What", "Kind", "Slices", "Size", "Partner", "Bundle")


class LogDialog(QDialog):
    """Shows the log of the session's home, and exports it."""

    def __init__(self, jobs: Jobs, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._home = jobs.session.home
        self.setWindowTitle("Disclosure log")
        self.resize(820, 480)
        self.state = wrapping(name="log_state")
        self.table = QTableWidget(0, len(_HEADINGS), objectName="log")
        self.table.setAccessibleName("Disclosure log")
        self.table.setToolTip("What left this computer, and what came.")
        show_only(self.table, _HEADINGS)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setStretchLastSection(True)
        self.panel = JobPanel(jobs)
        layout = QVBoxLayout(self)
        layout.addWidget(self.state)
        layout.addWidget(self.table)
        tip = "Save as CSV. It names no patient, file or path."
        layout.addWidget(button("&Export…", "export", tip, self._ask_where))
        layout.addWidget(self.panel)
        self.panel.run(ReadLog(home=self._home), self._show)

    def export(self, file: Path) -> None:
        """Write the log as CSV."""
        self.panel.run(ExportLog(home=self._home, file=file), lambda _: None)

    def _show(self, listing: LogListing) -> None:
        self.state.setText(
            listing.problem
            or f"{len(listing.rows)} entries, unbroken. “Sent” means written for somebody. "
            f"Hash of the last entry: {listing.head}"
        )
        self.table.setRowCount(len(listing.rows))
        for at, row in enumerate(listing.rows):
            peers = ", ".join(peer[:12] for peer in row.peers)
            texts = (
                str(row.seq), row.at, row.event, row.kind, str(row.items or ""),
                str(row.byte_count or ""), peers, row.bundle_id,
            )  # fmt: skip
            for column, text in enumerate(texts):
                self.table.setItem(at, column, QTableWidgetItem(text))

    def _ask_where(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Export the log", "disclosures.csv", "CSV (*.csv)"
        )
        if name:
            self.export(Path(name))
