"""Small things that several pages share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QWidget,
)


def listen(widget: QObject, emitter: Any, callback: Callable[..., None]) -> None:
    """Connect to a napari or psygnal event for as long as a widget lives."""
    emitter.connect(callback)
    widget.destroyed.connect(lambda: emitter.disconnect(callback))


def wrapping(text: str = "", name: str = "") -> QLabel:
    """A label that wraps and never makes a dock wider."""
    label = QLabel(text, objectName=name)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    return label


def button(text: str, name: str, tip: str, slot: Callable[[], None]) -> QPushButton:
    """A push button with its tooltip and what it does."""
    made = QPushButton(text, objectName=name)
    made.setToolTip(tip)
    made.clicked.connect(lambda _checked=False: slot())
    made.setMinimumWidth(0)
    return made


class FolderPicker(QWidget):
    """A folder that the user chooses: typed, or looked for."""

    chosen = Signal(object)

    def __init__(self, name: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.line = QLineEdit(objectName=name)
        self.line.setToolTip(tip)
        self.line.setPlaceholderText("Choose a folder")
        self.line.editingFinished.connect(self._tell)
        browse = button("…", f"{name}_browse", "Look for the folder.", self._browse)
        browse.setMaximumWidth(32)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line)
        row.addWidget(browse)
        self.setFocusProxy(self.line)
        self._told: Path | None = None

    @property
    def folder(self) -> Path | None:
        """What is chosen."""
        text = self.line.text().strip()
        return Path(text) if text else None

    def show_folder(self, folder: Path | None) -> None:
        """Show a folder that was chosen elsewhere."""
        self._told = folder
        self.line.setText("" if folder is None else str(folder))
        self.line.setCursorPosition(len(self.line.text()))

    def _tell(self) -> None:
        if self.folder != self._told:
            self._told = self.folder
            self.chosen.emit(self.folder)

    def _browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Choose a folder", self.line.text())
        if name:
            self.line.setText(name)
            self._tell()
