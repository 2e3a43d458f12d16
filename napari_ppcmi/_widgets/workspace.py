"""The four pages in the order of the work, in one dock."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import QSize
from qtpy.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from napari_ppcmi._widgets.decode_page import DecodePage
from napari_ppcmi._widgets.docked import end_with_dock
from napari_ppcmi._widgets.encode_page import EncodePage
from napari_ppcmi._widgets.exchange_page import ExchangePage
from napari_ppcmi._widgets.key_page import KeyPage

_LEAST_WIDTH = 320


class Workspace(QWidget):
    """Key, Encode, Exchange, Decode.

    Parameters
    ----------
    napari_viewer
        The viewer that it works for.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        end_with_dock(self)
        self.key = KeyPage(napari_viewer)
        self.encode = EncodePage(napari_viewer)
        self.exchange = ExchangePage(napari_viewer)
        self.decode = DecodePage(napari_viewer)
        self.tabs = QTabWidget(objectName="pages")
        for title, page in (
            ("&1 Key", self.key),
            ("&2 Encode", self.encode),
            ("&3 Exchange", self.exchange),
            ("&4 Decode", self.decode),
        ):
            self.tabs.addTab(page, title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.tabs)

    def minimumSizeHint(self) -> QSize:
        """Room for the titles of the pages, and for the widest one."""
        return super().minimumSizeHint().expandedTo(QSize(_LEAST_WIDTH, 0))
