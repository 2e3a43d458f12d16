"""What the two training pages share: choosing a study, and settings few people touch."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLineEdit,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_ppcmi._protocol.bundles import CaseProblem
from napari_ppcmi._widgets.parts import FolderPicker, button

_MOST_TOLD = 5
Kind = TypeVar("Kind", bound=QWidget)


def named(widget: Kind, name: str, tip: str) -> Kind:
    """Give a field its name and its tooltip."""
    widget.setObjectName(name)
    widget.setToolTip(tip)
    return widget


def chooser(name: str, tip: str) -> QComboBox:
    """A combobox that long entries do not make wider."""
    box = named(QComboBox(), name, tip)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    return box


class StudyPicker(QWidget):
    """The study file: typed, or looked for."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        tip = "What all sites agreed on. Everybody needs the very same file, so pass it on."
        self.line = named(QLineEdit(), "study", tip)
        self.line.setPlaceholderText("Choose the study file")
        browse = button("…", "study_browse", "Look for the study file.", self._browse)
        browse.setMaximumWidth(32)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.line)
        row.addWidget(browse)
        self.setFocusProxy(self.line)

    @property
    def file(self) -> Path | None:
        """What is chosen."""
        text = self.line.text().strip()
        return Path(text) if text else None

    def ask_file(self) -> str:
        """Let the user look for the file; empty if they changed their mind."""
        return QFileDialog.getOpenFileName(
            self, "Choose the study file", self.line.text(), "Studies (*.yaml *.yml)"
        )[0]

    def _browse(self) -> None:
        name = self.ask_file()
        if name:
            self.line.setText(name)


class TrainingSettings(QCollapsible):
    """Settings that have good defaults; folded away.

    Parameters
    ----------
    epochs, batch_size
        The defaults.
    """

    def __init__(self, epochs: int, batch_size: int, parent: QWidget | None = None) -> None:
        super().__init__("More settings", parent)
        self.setObjectName("more_settings")
        self.epochs = _number("epochs", 1, epochs, "At most so many times over all images.")
        self.batch_size = _number(
            "batch_size", 1, batch_size, "Slices at a time. Use fewer when memory is short."
        )
        self.seed = _number("seed", 0, 0, "The same number gives the same networks again.")
        self.retrain = named(
            QCheckBox("&Replace what is there"),
            "retrain",
            "Train anew where a training was finished before. All that was made with the old "
            "networks has to be made again.",
        )
        content = QWidget()
        self.form = QFormLayout(content)
        self.form.setContentsMargins(0, 0, 0, 0)
        self.form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        self.form.addRow("&Epochs", self.epochs)
        self.form.addRow("&Batch size", self.batch_size)
        self.form.addRow("See&d", self.seed)
        self.form.addRow(self.retrain)
        self.addWidget(content)


def _number(name: str, least: int, value: int, tip: str) -> QSpinBox:
    box = named(QSpinBox(), name, tip)
    box.setRange(least, 1_000_000)
    box.setValue(value)
    return box


def wrapped_form() -> QFormLayout:
    """A form for a narrow dock: each field is below its label."""
    form = QFormLayout()
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
    return form


def add_picker(form: QFormLayout, label: str, picker: FolderPicker | StudyPicker) -> None:
    """Put a picker into a form; a screen reader tells its label, too."""
    form.addRow(label, picker)
    picker.line.setAccessibleName(label.replace("&", ""))


def scrolled(page: QWidget) -> QVBoxLayout:
    """Let a page scroll when the dock is too low; put its content into what is given back."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    content = QWidget()
    area.setWidget(content)
    outer = QVBoxLayout(page)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(area)
    return QVBoxLayout(content)


def left_out(problems: tuple[CaseProblem, ...]) -> str:
    """What is wrong with the cases that were left out; empty if there are none."""
    if not problems:
        return ""
    lines = [
        f"{one.name}: {one.failure.message} {one.failure.hint}".strip()
        for one in problems[:_MOST_TOLD]
    ]
    if len(problems) > _MOST_TOLD:
        lines.append(f"… and {len(problems) - _MOST_TOLD} more.")
    return "\n".join([f"Left out: {len(problems)}.", *lines])
