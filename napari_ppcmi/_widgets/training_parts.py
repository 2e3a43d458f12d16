"""What the two training pages share: choosing a study, and settings few people touch."""

from __future__ import annotations

from typing import TypeVar

from qtpy.QtCore import QEvent, QObject, QSize
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QScrollArea,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._protocol.bundles import CaseProblem
from napari_ppcmi._widgets.parts import PathPicker, Section, sure
from ppcmi_sf.training.fit_options import FitOptions

_MOST_TOLD = 5
_REPLACE = (
    "If a training was finished in this folder, its networks are replaced. All that was made with "
    "them has to be made again. Train anew?"
)
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


class TrainingSettings(Section):
    """Settings that have good defaults; folded away.

    Parameters
    ----------
    fit
        The defaults.
    """

    def __init__(self, fit: FitOptions, parent: QWidget | None = None) -> None:
        super().__init__("More settings", "They are good as they are for most data.", parent)
        self.setObjectName("more_settings")
        self.epochs = number_box("epochs", 1, fit.epochs, "At most so many times over all images.")
        self.batch_size = number_box(
            "batch_size", 1, fit.batch_size, "Slices at a time. Use fewer when memory is short."
        )
        self.seed = number_box("seed", 0, 0, "The same number gives the same networks again.")
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

    def may_replace(self) -> bool:
        """Whether the training may begin: asked where it replaces one that was finished."""
        return not self.retrain.isChecked() or sure(self, _REPLACE)


def number_box(name: str, least: int, value: int, tip: str) -> QSpinBox:
    """A field for a whole number that has no upper end to speak of."""
    box = named(QSpinBox(), name, tip)
    box.setRange(least, 1_000_000)
    box.setValue(value)
    return box


def wrapped_form() -> QFormLayout:
    """A form for a narrow dock: each field is below its label."""
    form = QFormLayout()
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
    return form


def add_picker(form: QFormLayout, label: str, picker: PathPicker) -> None:
    """Put a picker into a form; a screen reader tells its label, too."""
    form.addRow(label, picker)
    picker.line.setAccessibleName(label.replace("&", ""))


class _Upright(QScrollArea):
    """Scrolls up and down; it is never narrower than its content, of which a part would be cut."""

    def minimumSizeHint(self) -> QSize:
        """As wide as the content needs, and its bar."""
        least, content, bar = super().minimumSizeHint(), self.widget(), self.verticalScrollBar()
        if content is not None and bar is not None:
            frame = self.width() - self.contentsRect().width()
            width = content.minimumSizeHint().width() + bar.sizeHint().width() + frame
            least.setWidth(max(least.width(), width))
        return least

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Ask for more room when the content needs it: a larger font, a part unfolded."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return bool(super().eventFilter(watched, event))


def scrolled(page: QWidget) -> QVBoxLayout:
    """Let a page scroll when the dock is too low; put its content into what is given back."""
    area = _Upright()
    area.setWidgetResizable(True)
    area.setFrameShape(QFrame.Shape.NoFrame)
    content = QWidget()
    area.setWidget(content)
    outer = QVBoxLayout(page)
    outer.setContentsMargins(0, 0, 0, 0)
    outer.addWidget(area)
    return QVBoxLayout(content)


def add_foot(page: QWidget, *widgets: QWidget) -> None:
    """Put widgets below the part of a page that scrolls."""
    foot, outer = QWidget(), page.layout()
    assert outer is not None
    column = QVBoxLayout(foot)
    for widget in widgets:
        column.addWidget(widget)
    outer.addWidget(foot)


def left_out(problems: tuple[CaseProblem, ...]) -> str:
    """What is wrong with the cases that were left out; empty if there are none."""
    if not problems:
        return ""
    lines = [f"{one.name}: {one.failure.text}" for one in problems[:_MOST_TOLD]]
    if len(problems) > _MOST_TOLD:
        lines.append(f"… and {len(problems) - _MOST_TOLD} more.")
    return "\n".join([f"Left out: {len(problems)}.", *lines])
