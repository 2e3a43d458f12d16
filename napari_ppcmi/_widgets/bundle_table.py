"""A folder of bundles as a table that follows the folder."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import QFileSystemWatcher, QItemSelectionModel, QTimer, Signal
from qtpy.QtWidgets import QHeaderView, QTableWidget, QTableWidgetItem, QVBoxLayout, QWidget

from napari_ppcmi._jobs import Jobs
from napari_ppcmi._protocol.bundles import BundleInfo, FolderListing, ScanFolder
from napari_ppcmi._widgets.parts import Note, show_only

_SETTLE_MS = 300  # files come in bursts
_AWAY_MS = 2000
_ROWS_SHOWN = 5
_HEADINGS = ("Kind", "From", "Written", "State")
_WRITTEN = 2  # its column; a day that is cut off says nothing
_NAMES = {"sent": "Files in the outbox", "came": "Files in the inbox"}
_SELECT = QItemSelectionModel.SelectionFlag.Select | QItemSelectionModel.SelectionFlag.Rows
_KINDS = {
    "query": "question",
    "reply": "reply",
    "training": "training pairs",
    "model": "mapping network",
    "": "?",
}


class BundleTable(QWidget):
    """Bundles of one folder, with sender, kind, date and state.

    Parameters
    ----------
    kinds
        Show these kinds alone; all if empty.
    """

    listed = Signal()
    """After the folder was looked at and the table shows it."""

    def __init__(
        self, jobs: Jobs, name: str, kinds: tuple[str, ...] = (), parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._jobs, self._kinds = jobs, kinds
        self._folder: Path | None = None
        self.bundles: list[BundleInfo] = []
        self.table = QTableWidget(0, len(_HEADINGS), objectName=name)
        self.table.setAccessibleName(_NAMES.get(name, name.capitalize()))
        self.table.setToolTip("What each file is, from whom, and whether it can be used.")
        show_only(self.table, _HEADINGS)
        columns = self.table.horizontalHeader()
        assert columns is not None
        columns.setSectionResizeMode(_WRITTEN, QHeaderView.ResizeMode.ResizeToContents)
        self.table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.table.setFixedHeight(self.fontMetrics().height() * 2 * _ROWS_SHOWN)
        self.problem = Note(f"{name}_problem")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addWidget(self.problem)
        self.table.itemSelectionChanged.connect(self._tell_problem)
        self._watcher = QFileSystemWatcher(self)
        self._settle = QTimer(self, singleShot=True, interval=_SETTLE_MS)
        self._watcher.directoryChanged.connect(lambda _path: self._settle.start())
        self._settle.timeout.connect(self.look)
        self._away = QTimer(self, singleShot=True, interval=_AWAY_MS)
        self._away.timeout.connect(self._look_if_back)

    def watch(self, folder: Path | None) -> None:
        """Show a folder, and follow it."""
        if self._watcher.directories():
            self._watcher.removePaths(self._watcher.directories())
        self._folder = folder
        self.look()

    def look(self) -> None:
        """Look at the folder now."""
        self._follow()
        if self._folder is None:
            self._show(FolderListing(folder=Path(), bundles=()))
            return
        self._jobs.submit(ScanFolder(folder=self._folder)).succeeded.connect(self._show)

    def _follow(self) -> bool:
        """Be told of changes, if the folder is there; or else wait for it.

        It may lie on a drive that comes and goes. A folder that is away is not looked at in the
        worker again and again: the key would never be idle.
        """
        if self._folder is None or self._watcher.directories():
            return False
        if self._folder.is_dir() and self._watcher.addPath(str(self._folder)):
            return True
        self._away.start()
        return False

    def _look_if_back(self) -> None:
        if self._follow():
            self.look()

    def selected(self) -> list[BundleInfo]:
        """The selected bundles, or all if none is selected."""
        return self.chosen() or list(self.bundles)

    def chosen(self) -> list[BundleInfo]:
        """The selected bundles, and no others."""
        rows = sorted({index.row() for index in self.table.selectedIndexes()})
        return [self.bundles[row] for row in rows]

    def _show(self, listing: FolderListing) -> None:
        if self._folder is not None and listing.folder != self._folder:
            return  # of a folder that was left meanwhile
        chosen = {bundle.file for bundle in self.chosen()}
        self.table.clearSelection()  # it is of rows, and these are other files' from now on
        self.bundles = [b for b in listing.bundles if not self._kinds or b.kind in self._kinds]
        self.table.setRowCount(len(self.bundles))
        for row, bundle in enumerate(self.bundles):
            texts = (
                _KINDS.get(bundle.kind, bundle.kind),
                bundle.sender or "?",
                bundle.written[:16].replace("T", "\n"),
                bundle.state,
            )
            tip = bundle.problem or f"{bundle.file.name}: {bundle.items} slices"
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(tip)
                self.table.setItem(row, column, item)
        self._select(chosen)
        self._tell_problem()
        self.listed.emit()

    def _select(self, files: set[Path]) -> None:
        selection, model = self.table.selectionModel(), self.table.model()
        assert selection is not None and model is not None
        for row, bundle in enumerate(self.bundles):
            if bundle.file in files:
                selection.select(model.index(row, 0), _SELECT)

    def _tell_problem(self) -> None:
        problems = [b.problem for b in self.selected() if b.problem]
        chosen = bool(self.table.selectedIndexes())
        self.problem.tell(problems[0] if problems and chosen else "")
