"""How the error of a network falls while it trains, as curves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPalette, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_ppcmi._protocol.message import Step

LOG_RANGE = 30.0
"""Over so large a range of values a linear axis shows nothing of the small ones."""

_HUES = (210, 30, 130)  # blue, orange, green: apart for the colour-blind, too
_Y_TICKS = 4


@dataclass
class Series:
    """Losses of one network, by epoch."""

    name: str
    training: dict[int, float] = field(default_factory=dict)
    validation: dict[int, float] = field(default_factory=dict)


class LossCurve(QWidget):
    """Training (solid) and validation (dashed) loss over epochs, one colour for each network."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("loss_curve")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip("The lower, the better. Dashed: on cases set apart, which tell the truth.")
        self.series: list[Series] = []
        self.clear()

    def sizeHint(self) -> QSize:
        """Rows for the axes, and one for each entry of the legend."""
        line = self.fontMetrics().height()
        return QSize(240, line * (10 + self._legend_rows()))

    def clear(self) -> None:
        """Start anew."""
        self.series = []
        self._describe()

    def add(self, step: Step) -> None:
        """Take over the losses of a step, if they are new."""
        loss, epoch = step.values.get("loss"), round(step.values.get("epoch", 0))
        if loss is None or epoch < 1:
            return
        name = step.message.split(":")[0]
        if not self.series or self.series[-1].name != name:
            self.series.append(Series(name))
        now = self.series[-1]
        validation = step.values.get("validation_loss")
        if epoch in now.training:
            return
        now.training[epoch] = loss
        if validation is not None:
            now.validation[epoch] = validation
        self._describe()

    @property
    def is_log(self) -> bool:
        """Whether the axis of the losses is logarithmic."""
        values = self._values()
        return bool(values) and min(values) > 0 and max(values) / min(values) > LOG_RANGE

    def _values(self) -> list[float]:
        return [
            v for s in self.series for part in (s.training, s.validation) for v in part.values()
        ]

    def _legend_rows(self) -> int:
        return max(1, len(self.series)) + 1

    def _describe(self) -> None:
        told = "No epoch is finished yet."
        if self.series:
            now = self.series[-1]
            epoch = max(now.training)
            told = f"{now.name}, epoch {epoch}: training loss {now.training[epoch]:.4g}"
            if epoch in now.validation:
                told += f", validation loss {now.validation[epoch]:.4g}"
        self.setAccessibleName("Loss curve")
        self.setAccessibleDescription(told)
        self.updateGeometry()
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Draw everything in the palette of the theme."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = self.palette().color(QPalette.ColorRole.WindowText)
        painter.setPen(text)
        values = self._values()
        if not values:
            where, centre = self.rect(), Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(where, int(centre), "The curve begins after the first epoch.")
            return
        scale = _Scale(values, max(max(s.training) for s in self.series), log=self.is_log)
        metrics = painter.fontMetrics()
        line = metrics.height()
        labels = [f"{value:.3g}" for value in scale.ticks]
        left = max(metrics.horizontalAdvance(label) for label in labels) + line // 2
        top = line * self._legend_rows() + line // 2
        box = QRectF(left, top, self.width() - left - line, self.height() - top - 2 * line)
        self._draw_axes(painter, box, scale, labels)
        for number, series in enumerate(self.series):
            self._draw_series(painter, box, scale, series, self._color(number))
        self._draw_legend(painter)

    def _color(self, number: int) -> QColor:
        is_dark = self.palette().color(QPalette.ColorRole.WindowText).lightness() > 127
        return QColor.fromHsl(_HUES[number % len(_HUES)], 200, 165 if is_dark else 95)

    def _draw_axes(self, painter: QPainter, box: QRectF, scale: _Scale, labels: list[str]) -> None:
        line = painter.fontMetrics().height()
        text = painter.pen()
        faint = QColor(text.color())
        faint.setAlphaF(0.25)
        right = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        for value, label in zip(scale.ticks, labels, strict=True):
            y = scale.place(box, 1, value).y()
            painter.setPen(QPen(faint, 1))
            painter.drawLine(QPointF(box.left(), y), QPointF(box.right(), y))
            painter.setPen(text)
            painter.drawText(QRectF(0, y - line / 2, box.left() - line / 4, line), right, label)
        centre = int(Qt.AlignmentFlag.AlignCenter)
        for epoch in sorted({1, scale.epochs}):
            x = scale.place(box, epoch, scale.low).x()
            painter.drawText(QRectF(x - 2 * line, box.bottom(), 4 * line, line), centre, str(epoch))
        under = QRectF(box.left(), box.bottom() + line * 0.7, box.width(), line)
        painter.drawText(under, centre, "epoch (loss: log scale)" if scale.log else "epoch")

    def _draw_series(
        self, painter: QPainter, box: QRectF, scale: _Scale, series: Series, color: QColor
    ) -> None:
        styles = (Qt.PenStyle.SolidLine, Qt.PenStyle.DashLine)
        for losses, style in zip((series.training, series.validation), styles, strict=True):
            points = [scale.place(box, epoch, loss) for epoch, loss in sorted(losses.items())]
            painter.setPen(QPen(color, 2, style))
            painter.drawPolyline(QPolygonF(points))
            painter.setPen(QPen(color, 5, Qt.PenStyle.SolidLine, Qt.PenCapStyle.RoundCap))
            if points:
                painter.drawPoint(points[-1])

    def _draw_legend(self, painter: QPainter) -> None:
        text = self.palette().color(QPalette.ColorRole.WindowText)
        line = painter.fontMetrics().height()
        rows = [
            (self._color(number), Qt.PenStyle.SolidLine, series.name)
            for number, series in enumerate(self.series)
        ]
        rows.append((text, Qt.PenStyle.DashLine, "on cases set apart"))
        for row, (color, style, name) in enumerate(rows):
            middle = line * (row + 0.5)
            painter.setPen(QPen(color, 2, style))
            painter.drawLine(QPointF(line / 2, middle), QPointF(line * 2.5, middle))
            painter.setPen(text)
            painter.drawText(QPointF(line * 3, middle + line * 0.3), name)


class _Scale:
    """From epochs and losses to places in a box."""

    def __init__(self, values: list[float], epochs: int, *, log: bool) -> None:
        self.log, self.epochs = log, epochs
        self.low, self.high = min(values), max(values)
        if self.low == self.high:
            self.low, self.high = self.low - 0.5 * abs(self.low or 1), self.high * 1.5 + 0.1
        elif not log:
            self.low = min(self.low, max(0.0, self.low - 0.1 * (self.high - self.low)))
        low, high = self._along(self.low), self._along(self.high)
        steps = [low + (high - low) * at / (_Y_TICKS - 1) for at in range(_Y_TICKS)]
        self.ticks = [10**step if log else step for step in steps]

    def _along(self, value: float) -> float:
        return math.log10(value) if self.log else value

    def place(self, box: QRectF, epoch: int, loss: float) -> QPointF:
        """Where a loss is drawn."""
        low, high = self._along(self.low), self._along(self.high)
        share = (self._along(loss) - low) / (high - low)
        across = (epoch - 1) / max(1, self.epochs - 1)
        return QPointF(box.left() + across * box.width(), box.bottom() - share * box.height())
