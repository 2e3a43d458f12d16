"""napari's own icons on our buttons, in the colour of the button's text in every theme."""

from __future__ import annotations

from collections.abc import Callable

from napari.resources import get_colorized_svg, get_icon_path
from qtpy.QtCore import QByteArray, QEvent, QObject, QRectF, Qt
from qtpy.QtGui import QIcon, QPainter, QPalette, QPixmap
from qtpy.QtSvg import QSvgRenderer
from qtpy.QtWidgets import QAbstractButton

_SCALE = 2  # sharp on screens of twice the density, too
_MARGIN = 0.12  # of the side: napari's own fill it, and would touch the text
_CHANGES = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange, QEvent.Type.Polish)


def set_icon(button: QAbstractButton, name: str) -> None:
    """Put one of napari's icons before a button's text.

    Parameters
    ----------
    name
        Of a file in napari's resources, such as ``lock``.
    """
    follow_text(button, lambda color: button.setIcon(draw_icon(button, name, color)))


def follow_text(button: QAbstractButton, draw: Callable[[str], None]) -> None:
    """Draw with the colour of a button's text, now and whenever a theme changes it."""
    _Follower(button, draw)


def draw_icon(button: QAbstractButton, name: str, color: str) -> QIcon:
    """One of napari's icons in a colour, in the size of a button's."""
    pixmap = QPixmap(button.iconSize() * _SCALE)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    svg = get_colorized_svg(get_icon_path(name), color)
    renderer = QSvgRenderer(QByteArray(svg.encode()))
    renderer.setAspectRatioMode(Qt.AspectRatioMode.KeepAspectRatio)
    side = pixmap.width()
    renderer.render(painter, QRectF(pixmap.rect()).adjusted(*_inwards(_MARGIN * side)))
    painter.end()
    return QIcon(pixmap)


def _inwards(by: float) -> tuple[float, float, float, float]:
    return by, by, -by, -by


class _Follower(QObject):
    """Lives and ends with its button."""

    def __init__(self, button: QAbstractButton, draw: Callable[[str], None]) -> None:
        super().__init__(button)
        self._draw, self._drawn = draw, ""
        button.installEventFilter(self)
        self._look(button)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """See what changed; nothing is kept from the button."""
        if event is not None and event.type() in _CHANGES and isinstance(watched, QAbstractButton):
            self._look(watched)
        return False

    def _look(self, button: QAbstractButton) -> None:
        color = button.palette().color(QPalette.ColorRole.ButtonText).name()
        if color != self._drawn:
            self._drawn = color
            self._draw(color)
