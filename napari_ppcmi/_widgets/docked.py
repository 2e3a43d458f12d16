"""What ends when a dock is closed."""

from __future__ import annotations

from qtpy.compat import isalive
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget


class _Closer(QObject):
    """Deletes a widget that lost its dock.

    napari only takes a widget out of a dock that is closed. It would live on unseen until Python
    collects it: with its jobs, which nobody could cancel, and with the key open.
    """

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Look for the moment when the dock lets go of the widget."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            QTimer.singleShot(0, self._look)
        return False

    def _look(self) -> None:
        widget = self.parent() if isalive(self) else None
        if isinstance(widget, QWidget) and widget.parent() is None and widget.isHidden():
            widget.deleteLater()


def end_with_dock(widget: QWidget) -> None:
    """Delete a widget when the dock that it is in is closed."""
    widget.installEventFilter(_Closer(widget))
