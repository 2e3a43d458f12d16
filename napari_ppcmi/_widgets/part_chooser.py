"""Asks which part of a file or folder to open, where that holds more than one image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._protocol.images import FrameChoice, OpenImage, SeriesInfo, SeriesList
from napari_ppcmi._widgets.parts import button, wrapping
from ppcmi_sf.imaging import case_name

_LIST_ROWS = 5
_ROLE = Qt.ItemDataRole.UserRole


class PartChooser(QWidget):
    """Series of a folder, or frames of a file; hidden while there is nothing to ask.

    Several questions wait for each other.
    """

    chosen = Signal(object, str)
    """An :class:`~napari_ppcmi._protocol.images.OpenImage`, and what it is in a sentence."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._questions: list[Callable[[], None]] = []
        self._answer: Callable[[], tuple[OpenImage, str] | None] = lambda: None
        self.question = wrapping(name="question")
        self.series = QListWidget(objectName="series")
        self.series.setToolTip("The series in this folder.")
        self.series.setAccessibleName("Series")
        self.series.setFixedHeight(self.fontMetrics().height() * 2 * _LIST_ROWS)
        self.series.setWordWrap(True)
        self.series.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.series.itemDoubleClicked.connect(lambda _item: self.open())
        self.frame = QSpinBox(objectName="frame")
        self.frame.setToolTip("The time point or page to open; the first one is 1.")
        self.frame.setAccessibleName("Frame")
        self.frame.setPrefix("Frame ")
        row = QHBoxLayout()
        row.addWidget(button("Open &this one", "open_part", "Open what is chosen.", self.open))
        row.addWidget(button("S&kip", "skip_part", "Open nothing of it.", self.skip))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.question, self.series, self.frame):
            layout.addWidget(widget)
        layout.addLayout(row)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        self.hide()

    def ask_series(self, folder: Path, found: SeriesList) -> None:
        """Ask which series of a folder to open."""
        self._ask(lambda: self._show_series(folder, found))

    def ask_frame(self, choice: FrameChoice) -> None:
        """Ask which frame of a file to open."""
        self._ask(lambda: self._show_frames(choice))

    def open(self) -> None:
        """Take what is chosen, and ask the next question if there is one."""
        answer = self._answer()
        if answer is not None:
            self.skip()
            self.chosen.emit(*answer)

    def skip(self) -> None:
        """Ask the next question."""
        self._questions.pop(0)
        self._show()

    def _ask(self, question: Callable[[], None]) -> None:
        self._questions.append(question)
        if len(self._questions) == 1:
            self._show()

    def _show(self) -> None:
        if self._questions:
            self._questions[0]()
        self.setVisible(bool(self._questions))

    def _show_series(self, folder: Path, found: SeriesList) -> None:
        self.question.setText(f"{folder.name} holds {len(found.series)} series. Choose one.")
        self.series.clear()
        for one in found.series:
            item = QListWidgetItem(f"{series_name(one)} ({_files(one)})")
            item.setData(_ROLE, one)
            self.series.addItem(item)
        self.series.setCurrentRow(0)
        self.series.show()
        self.frame.hide()

        def answer() -> tuple[OpenImage, str] | None:
            item = self.series.currentItem()
            return None if item is None else of_series(folder, item.data(_ROLE), len(found.series))

        self._answer = answer

    def _show_frames(self, choice: FrameChoice) -> None:
        name, count = choice.path.name, choice.count
        self.question.setText(
            f"{name} holds {count} images (time points or pages). Choose the one to open."
        )
        self.frame.setRange(1, count)
        self.frame.setSuffix(f" of {count}")
        self.frame.setValue(1)
        self.frame.show()
        self.series.hide()

        def answer() -> tuple[OpenImage, str]:
            number = self.frame.value()
            request = OpenImage(
                path=choice.path,
                frame=number - 1,
                name=f"{case_name(choice.path)}, frame {number}",
            )
            return request, f"This is frame {number} of the {count} in {name}."

        self._answer = answer


def series_name(series: SeriesInfo) -> str:
    """What to call a series."""
    return series.description or "Without a description"


def of_series(folder: Path, series: SeriesInfo, count: int) -> tuple[OpenImage, str]:
    """How to open a series of a folder that holds so many, and what it is in a sentence."""
    told = f"'{series_name(series)}' ({_files(series)})"
    if count == 1:
        return OpenImage(path=folder), f"This is {told}, the only series in {folder.name}."
    name = f"{folder.name}, {series_name(series)}"
    request = OpenImage(path=folder, series_uid=series.uid, name=name)
    return request, f"This is {told}, one of the {count} series in {folder.name}."


def _files(series: SeriesInfo) -> str:
    return "1 file" if series.file_count == 1 else f"{series.file_count} files"
