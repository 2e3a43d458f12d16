"""Make the pictures of docs/images: a real napari with the demo site, page after page.

Run it under a virtual display (see docs/user-guide.md):

    make screenshots
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["NAPARI_CONFIG"] = ""

OUT = Path(__file__).parents[1] / "docs" / "images"
WAIT_SECONDS = 60


def main() -> None:
    """Drive the widgets as a user does, by their buttons."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("CONFIG", "DATA"):
            os.environ[f"XDG_{name}_HOME"] = str(Path(folder) / name.lower())
        os.environ["PPCMI_HOME"] = str(Path(folder) / "home")
        _Tour().walk()


class _Tour:
    def __init__(self) -> None:
        import napari
        from qtpy.QtWidgets import QApplication

        from napari_ppcmi._widgets.segment_widget import SegmentWidget
        from napari_ppcmi._widgets.workspace import Workspace

        self.viewer = napari.Viewer(show=True)
        self.viewer.window.resize(1400, 950)
        self.app = QApplication.instance()
        self.viewer.open_sample("napari-ppcmi", "ultrasound")
        self.viewer.layers.pop()  # the mask that the sample brings along
        self.viewer.layers.selection.active = self.viewer.layers[0]
        self.workspace = Workspace(self.viewer)
        self.dock = self.viewer.window.add_dock_widget(self.workspace, name="PPCMI-SF")
        self.segment = SegmentWidget

    def walk(self) -> None:
        """Every page, with something on it."""
        pages, work = self.workspace.tabs, self.workspace
        self.shoot("key-locked")
        self.click(work.key, "demo")
        self.wait(lambda: work.key._jobs.session.is_unlocked)
        self.shoot("key")
        pages.setCurrentIndex(1)
        self.click(work.encode, "add_layers")
        self.wait(lambda: work.encode.recipients.count() > 0)
        self.viewer.reset_view()
        self.shoot("encode")
        self.click(work.encode, "review")
        self.wait(lambda: work.encode.dialog is not None)
        self.pause(0.5)
        work.encode.dialog.grab().save(str(OUT / "review.png"))
        work.encode.dialog.agree.setChecked(True)
        work.encode.dialog.write.click()
        pages.setCurrentIndex(2)
        self.wait(lambda: work.exchange.sent.table.rowCount() > 0)
        self.click(work.exchange, "map_here")
        self.wait(lambda: work.exchange.came.table.rowCount() > 0)
        self.shoot("exchange")
        pages.setCurrentIndex(3)
        self.wait(lambda: work.decode.replies.table.rowCount() > 0)
        self.click(work.decode, "decode")
        self.wait(lambda: len(self.viewer.layers) > 1)
        self.shoot("decode")
        self.swap("Segment", self.segment)
        for title, module, name, shot in (
            ("Train site models", "train_widget", "TrainWidget", "train"),
            ("Mapping server", "server_widget", "ServerWidget", "server"),
            ("Privacy audit", "audit_widget", "AuditWidget", "audit"),
            ("Open study", "open_study", "OpenStudy", "open-study"),
        ):
            loaded = __import__(f"napari_ppcmi._widgets.{module}", fromlist=[name])
            self.show_alone(title, getattr(loaded, name), shot)
        self.viewer.theme = "light"
        self.shoot("light")
        self.viewer.close()

    def swap(self, title: str, kind: Any) -> None:
        widget = self.show_alone(title, kind, None)
        count = len(self.viewer.layers)
        self.click(widget, "segment")
        self.wait(lambda: len(self.viewer.layers) > count)
        self.shoot("segment")

    def show_alone(self, title: str, kind: Any, shot: str | None) -> Any:
        widget = kind(self.viewer)
        self.dock.setVisible(False)
        self.dock = self.viewer.window.add_dock_widget(widget, name=title)
        if shot:
            self.shoot(shot)
        return widget

    def click(self, page: Any, name: str) -> None:
        from qtpy.QtWidgets import QPushButton

        page.findChild(QPushButton, name).click()

    def wait(self, ready: Any) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not ready():
            if time.monotonic() > deadline:
                sys.exit("this step took too long; the window shows why")
            self.pause(0.05)
        self.pause(0.3)

    def pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.app.processEvents()
            time.sleep(0.01)

    def shoot(self, name: str) -> None:
        self.pause(0.5)
        OUT.mkdir(parents=True, exist_ok=True)
        self.viewer.screenshot(path=str(OUT / f"{name}.png"), canvas_only=False, flash=False)


if __name__ == "__main__":
    main()
