"""Parts of a new study: how bright values become, and the networks that all sites use."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._widgets.parts import Section
from napari_ppcmi._widgets.training_parts import chooser, named

_FROM_IMAGE = "From each image"
_OWN = "A fixed window"
# Centre and width in Hounsfield units, as radiologists use them.
_WINDOWS = (
    ("Soft tissue", 40.0, 400.0),
    ("Lung", -600.0, 1500.0),
    ("Bone", 400.0, 1800.0),
    ("Brain", 40.0, 80.0),
    ("Vessels with contrast", 100.0, 700.0),
)
_HU = 30_000.0
_MOST_CHANNELS = 8


class BrightnessFields(QWidget):
    """Which values become black and white: from each image, or a fixed window for CT."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.kind = chooser("brightness", "Which values become black and white.")
        self.center = _decimal("center", -_HU, _HU, 40.0, "Middle of the window; in HU for CT.")
        self.width = _decimal("width", 0.1, 2 * _HU, 400.0, "Black to white; in HU for CT.")
        self.low = _decimal("low", 0.0, 99.9, 0.5, "So many percent of the values become black.")
        self.high = _decimal("high", 0.1, 100.0, 99.5, "What lies above this becomes white.")
        self._window = _pair(("Cen&tre", self.center), ("&Width", self.width))
        self._range = _pair(("B&lack below, %", self.low), ("W&hite above, %", self.high))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.kind, self._window, self._range):
            layout.addWidget(widget)
        self.setFocusProxy(self.kind)
        self.kind.currentIndexChanged.connect(self._show)
        self.require_window(False)

    def require_window(self, required: bool) -> None:
        """For CT there are windows alone; for others values may come from each image."""
        self.kind.clear()
        if required:
            for name, center, width in _WINDOWS:
                self.kind.addItem(f"{name} ({center:g}, {width:g} HU)", (center, width))
        else:
            self.kind.addItem(_FROM_IMAGE)
        self.kind.addItem(_OWN)

    @property
    def window(self) -> tuple[float, float] | None:
        """Centre and width, where a window is chosen."""
        from_image = self.kind.currentText() == _FROM_IMAGE
        return None if from_image else (self.center.value(), self.width.value())

    @property
    def percentiles(self) -> tuple[float, float]:
        """What becomes black and white, where no window is chosen."""
        return self.low.value(), self.high.value()

    def _show(self) -> None:
        preset = self.kind.currentData()
        if preset is not None:
            self.center.setValue(preset[0])
            self.width.setValue(preset[1])
        for field in (self.center, self.width):
            field.setEnabled(preset is None)
        from_image = self.kind.currentText() == _FROM_IMAGE
        self._window.setVisible(not from_image)
        self._range.setVisible(from_image)


class NetworkSettings(Section):
    """Sizes of the networks; the defaults suit most studies."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("More settings", "They are good as they are for most studies.", parent)
        self.setObjectName("more_settings")
        tip = "1 for grey images, 3 for colour. Every image must have so many."
        self.channels = named(QSpinBox(), "channels", tip)
        self.channels.setRange(1, _MOST_CHANNELS)
        tip = "Those as published need more images. Small ones are for trials and slow computers."
        self.autoencoder = chooser("autoencoder", tip)
        self.autoencoder.addItem("Full size", "fine")
        self.autoencoder.addItem("As published", "ppcmi-sf")
        self.autoencoder.addItem("Small", "small")
        self.mapping = chooser("mapping", "The published one is much larger and slower.")
        self.mapping.addItem("Fast", "fused")
        self.mapping.addItem("As published", "paper")
        self.fine = named(
            QCheckBox("E&xchange fine features, too"),
            "use_skips",
            "Without them only the coarsest features leave a site; masks are less exact.",
        )
        self.fine.setChecked(True)
        content = QWidget()
        form = QFormLayout(content)
        form.setContentsMargins(0, 0, 0, 0)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("&Channels", self.channels)
        form.addRow("Sites' networ&ks", self.autoencoder)
        form.addRow("Ma&pping network", self.mapping)
        form.addRow(self.fine)
        self.addWidget(content)

    @property
    def chosen(self) -> dict[str, Any]:
        """Fields of :class:`~napari_ppcmi._protocol.training.NewStudy`."""
        return {
            "channels": self.channels.value(),
            "autoencoder": self.autoencoder.currentData(),
            "mapping": self.mapping.currentData(),
            "use_skips": self.fine.isChecked(),
        }


def _decimal(name: str, least: float, most: float, value: float, tip: str) -> QDoubleSpinBox:
    box = named(QDoubleSpinBox(), name, tip)
    box.setRange(least, most)
    box.setDecimals(1)
    box.setValue(value)
    return box


def _pair(*fields: tuple[str, QWidget]) -> QWidget:
    """Two fields beside each other, each below its label."""
    pair = QWidget()
    row = QHBoxLayout(pair)
    row.setContentsMargins(0, 0, 0, 0)
    for text, field in fields:
        label, column = QLabel(text), QVBoxLayout()
        label.setBuddy(field)
        column.addWidget(label)
        column.addWidget(field)
        row.addLayout(column)
    return pair
