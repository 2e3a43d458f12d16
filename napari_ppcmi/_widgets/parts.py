"""Small things that several pages share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import (
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QTableWidget,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_ppcmi._widgets.icons import draw_icon, follow_text, set_icon

_OF_SCREEN = 0.9
_MARGIN = 8
_LAID_OUT_MS = 30  # texts that wrap get their height in several rounds


def listen(widget: QObject, emitter: Any, callback: Callable[..., None]) -> None:
    """Connect to a napari or psygnal event for as long as a widget lives."""
    emitter.connect(callback)
    widget.destroyed.connect(lambda: emitter.disconnect(callback))


def while_there(widget: QWidget, slot: Callable[..., object]) -> Callable[..., None]:
    """A slot of a widget that is no bound method: those Qt goes on calling when it is gone."""

    def call(*given: object) -> None:
        if isalive(widget):
            slot(*given)

    return call


def into_view(widget: QWidget) -> None:
    """Scroll a page to a part of it that has come about below what is seen, on a low screen."""
    QTimer.singleShot(_LAID_OUT_MS, while_there(widget, lambda: _scroll_to(widget)))


def _scroll_to(widget: QWidget) -> None:
    above = widget.parentWidget()
    while above is not None and not isinstance(above, QScrollArea):
        above = above.parentWidget()
    if above is not None and widget.isVisible():
        above.ensureWidgetVisible(widget, 0, _MARGIN)


def wrapping(text: str = "", name: str = "") -> QLabel:
    """A label that wraps and never makes a dock wider."""
    label = QLabel(text, objectName=name)
    _wrap(label)
    return label


def _wrap(label: QLabel) -> None:
    label.setWordWrap(True)
    policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
    policy.setHeightForWidth(True)  # a new policy has not got it; without it a long text is cut off
    label.setSizePolicy(policy)


def plain(name: str) -> QLabel:
    """A wrapping label for what others may have written: shown as it is, and to be selected."""
    label = wrapping(name=name)
    _show_as_it_is(label)
    return label


def _show_as_it_is(label: QLabel) -> None:
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)


class Note(QLabel):
    """A wrapping label that is there for as long as it says something.

    Parameters
    ----------
    is_plain
        Whether others may have written what it says; see :func:`plain`.
    """

    def __init__(self, name: str, *, is_plain: bool = False) -> None:
        super().__init__(objectName=name)
        _wrap(self)
        if is_plain:
            _show_as_it_is(self)
        self.hide()

    def tell(self, text: str) -> None:
        """Say this, or nothing."""
        self.setText(text)
        self.setVisible(bool(text))

    def announce(self, text: str) -> None:
        """Say this where it is seen: the page is scrolled to it."""
        self.tell(text)
        into_view(self)


def show_only(table: QTableWidget, headings: Sequence[str]) -> None:
    """Make a table one to read: nothing is edited, rows have no number, Tab goes on past it."""
    table.setHorizontalHeaderLabels(list(headings))
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setTabKeyNavigation(False)
    rows, columns = table.verticalHeader(), table.horizontalHeader()
    assert rows is not None and columns is not None
    rows.hide()
    columns.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)


def button(
    text: str, name: str, tip: str, slot: Callable[[], None], *, icon: str = ""
) -> QPushButton:
    """A push button with its tooltip, what it does, and one of napari's icons if named."""
    made = QPushButton(text, objectName=name)
    made.setToolTip(tip)
    if not any(map(str.isalnum, text)):  # there is nothing to read aloud
        made.setAccessibleName(tip.rstrip("."))
    made.clicked.connect(lambda _checked=False: slot())
    made.setMinimumWidth(0)
    if icon:
        set_icon(made, icon)
    return made


def open_at(dialog: QWidget, width: int, height: int) -> None:
    """Give a dialog its first size, within its screen: the buttons are at the foot."""
    screen = dialog.screen()
    assert screen is not None
    room = screen.availableGeometry().size() * _OF_SCREEN  # a title and borders need some, too
    dialog.resize(min(width, room.width()), min(height, room.height()))


def finish_buttons(box: QDialogButtonBox, tip: str) -> None:
    """Give a dialog's buttons their tooltips, and let Tab go through them as they stand.

    Parameters
    ----------
    tip
        What happens when the dialog is accepted.
    """
    for one in box.buttons():
        is_cancel = box.buttonRole(one) == QDialogButtonBox.ButtonRole.RejectRole
        one.setToolTip("Go back; nothing is done." if is_cancel else tip)
    tab_as_they_stand(box)


def tab_as_they_stand(box: QDialogButtonBox) -> None:
    """Let Tab go through a dialog's buttons from left to right, which differs by system."""
    row = box.layout()
    assert row is not None
    shown = [item.widget() for item in map(row.itemAt, range(row.count())) if item is not None]
    for before, after in pairwise(filter(None, shown)):
        QWidget.setTabOrder(before, after)


class Section(QCollapsible):
    """A part of a page that can be folded away, and is at first.

    Parameters
    ----------
    title
        On the button that unfolds it.
    tip
        What is in it.
    """

    def __init__(self, title: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(title, parent)
        self.toggleButton().setToolTip(tip)
        follow_text(self.toggleButton(), self._draw_arrows)
        # Of no height is not enough: Tab would still go through everything in it.
        self.content().hide()
        self.toggled.connect(self.content().setVisible)

    def _draw_arrows(self, color: str) -> None:
        """The ones of superqt are black in a dark theme."""
        self.setExpandedIcon(draw_icon(self.toggleButton(), "down_arrow", color))
        self.setCollapsedIcon(draw_icon(self.toggleButton(), "right_arrow", color))


class PathPicker(QWidget):
    """A place that the user chooses: typed, or looked for with the button beside it.

    Parameters
    ----------
    name, tip
        Of the line.
    placeholder
        What stands in the line while it is empty.
    """

    chosen = Signal(object)
    """The path, or ``None``, when the user has chosen another one."""

    def __init__(
        self, name: str, tip: str, placeholder: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.line = QLineEdit(objectName=name)
        self.line.setToolTip(tip)
        self.line.setPlaceholderText(placeholder)
        self.line.editingFinished.connect(self._tell)
        browse = button("…", f"{name}_browse", tip, self._browse)
        browse.setAccessibleName(placeholder)
        browse.setMaximumWidth(32)
        row = QHBoxLayout()
        row.addWidget(self.line)
        row.addWidget(browse)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addLayout(row)
        self.setFocusProxy(self.line)
        self._told: Path | None = None

    @property
    def path(self) -> Path | None:
        """What is chosen."""
        text = self.line.text().strip()
        return Path(text) if text else None

    def show_path(self, path: Path | None) -> None:
        """Show a place that was chosen elsewhere."""
        self._told = path
        self.line.setText("" if path is None else str(path))
        self.line.setCursorPosition(len(self.line.text()))

    def choose(self, path: Path) -> None:
        """Choose a place as if the user had typed it."""
        self.line.setText(str(path))
        self._tell()

    def ask(self) -> str:
        """Let the user look for it; empty if they changed their mind."""
        raise NotImplementedError

    def _tell(self) -> None:
        if self.path != self._told:
            self._told = self.path
            self.chosen.emit(self.path)

    def _browse(self) -> None:
        name = self.ask()
        if name:
            self.choose(Path(name))


class FolderPicker(PathPicker):
    """A folder."""

    def __init__(self, name: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(name, tip, "Choose a folder", parent)

    def ask(self) -> str:
        """Look for a folder."""
        return QFileDialog.getExistingDirectory(self, "Choose a folder", self.line.text())


class FilePicker(PathPicker):
    """A file, that is there or is going to be written.

    Parameters
    ----------
    pattern
        As Qt's file dialogs take it: ``Client keys (*.ppcmikey)``.
    new
        Whether it is going to be written.
    """

    def __init__(
        self, name: str, tip: str, pattern: str, *, new: bool = False, parent: QWidget | None = None
    ) -> None:
        super().__init__(name, tip, "Where it goes" if new else "Choose a file", parent)
        self._pattern, self._new = pattern, new

    def ask(self) -> str:
        """Look for a file."""
        ask = ask_new_file if self._new else ask_file
        return ask(self, "Choose a file", self.line.text(), self._pattern)


def ask_file(parent: QWidget, title: str, start: str, pattern: str) -> str:
    """Let the user look for a file; empty if they changed their mind."""
    every = f"{pattern};;All files (*)"
    return QFileDialog.getOpenFileName(parent, title, start, every)[0]


def ask_new_file(parent: QWidget, title: str, start: str, pattern: str) -> str:
    """Let the user choose where a file is written; empty if they changed their mind."""
    return QFileDialog.getSaveFileName(parent, title, start, pattern)[0]


def accept_files(event: QDragEnterEvent) -> None:
    """Let files be dropped, and nothing else."""
    if event.mimeData().hasUrls():
        event.acceptProposedAction()


def dropped_files(event: QDropEvent) -> list[Path]:
    """Files and folders that were dropped."""
    event.acceptProposedAction()
    return [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]


def sure(parent: QWidget, question: str) -> bool:
    """Ask before something that cannot be undone."""
    answer = QMessageBox.question(parent, "Are you sure?", question)
    return bool(answer == QMessageBox.StandardButton.Yes)
