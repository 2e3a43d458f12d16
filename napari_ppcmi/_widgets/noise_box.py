"""How much noise is put on the features that leave; none unless it is asked for."""

from __future__ import annotations

from qtpy.QtWidgets import QDoubleSpinBox, QWidget

_MOST, _STEP = 100.0, 0.25


class NoiseBox(QDoubleSpinBox):
    """A level of noise, as a multiple of the features' own size.

    Parameters
    ----------
    tip
        What the noise is on.
    """

    def __init__(self, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("noise")
        self.setRange(0.0, _MOST)
        self.setSingleStep(_STEP)
        self.setSpecialValueText("None")
        self.setToolTip(f"{tip} About 1 is as much as the features themselves.")

    @property
    def level(self) -> float:
        """0 is none."""
        return float(self.value())
