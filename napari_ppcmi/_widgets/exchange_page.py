"""Outbox and inbox: what is on its way, from whom, and whether it may be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import QLabel, QWidget

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.bundles import BatchResult, InstallModel, MapHere, TakeIn
from napari_ppcmi._protocol.message import Done
from napari_ppcmi._widgets.bundle_table import BundleTable
from napari_ppcmi._widgets.docked import end_with_dock
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.log_dialog import LogDialog
from napari_ppcmi._widgets.once_more import offer_again
from napari_ppcmi._widgets.parts import (
    FolderPicker,
    accept_files,
    button,
    dropped_files,
    listen,
    wrapping,
)
from napari_ppcmi._widgets.share_dialog import NOT_NEEDED, ShareDialog
from napari_ppcmi._widgets.training_parts import scrolled

_MODELS = ("verified", "own", "already used")


class ExchangePage(QWidget):
    """The third page of the workspace.

    Parameters
    ----------
    napari_viewer
        The viewer whose session's folders are shown.
    """

    mapped = Signal(object)
    """A :class:`~napari_ppcmi._protocol.bundles.BatchResult`, after replies were written here."""

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._jobs = jobs_for(napari_viewer)
        self._jobs.attach(self)
        end_with_dock(self)
        self.setAcceptDrops(True)
        self._shown: tuple[object, ...] = ()
        self._build()
        listen(self, self._jobs.session.changed, self._show_session)
        listen(self, self._jobs.session.arrived, self._look)
        self._show_session()

    def _build(self) -> None:
        self.state = wrapping(name="site")
        session = self._jobs.session
        self.outbox = FolderPicker("outbox", "Files that you carry to your partners.")
        self.outbox.chosen.connect(lambda folder: session.use(outbox=folder))
        self.inbox = FolderPicker("inbox", "Files that came from your partners.")
        self.inbox.chosen.connect(lambda folder: session.use(inbox=folder))
        self.sent = BundleTable(self._jobs, "sent")
        self.came = BundleTable(self._jobs, "came")
        self.map_here = button(
            "&Ask the mapping network here",
            "map_here",
            "Answer the questions in the outbox on this computer; the replies go to the inbox.",
            self.ask_here,
        )
        self.install = button(
            "&Install mapping network",
            "install",
            "Take in the selected mapping network, so that this site can segment alone.",
            self.install_model,
        )
        tip = "What left this computer and what came."
        self.log = button("Disclosure &log…", "log", tip, self.show_log)
        self.share = button(
            "S&hare for the mapping server…",
            "share",
            "In an escrow study the mapping server needs a file that is made from your key.",
            self.show_share,
        )
        self.share_note = wrapping(NOT_NEEDED, "share_note")
        self.panel = JobPanel(self._jobs)
        layout = scrolled(self)
        layout.addWidget(self.state)
        for label, picker, table in (
            ("&Outbox", self.outbox, self.sent),
            ("I&nbox: drop files here", self.inbox, self.came),
        ):
            caption = QLabel(label)
            caption.setBuddy(picker)
            layout.addWidget(caption)
            layout.addWidget(picker)
            layout.addWidget(table)
            if table is self.sent:
                layout.addWidget(self.map_here)
        for widget in (self.install, self.share, self.share_note, self.log, self.panel):
            layout.addWidget(widget)
        layout.addStretch(1)

    def ask_here(self) -> None:
        """Let the mapping network of this site answer the questions in the outbox."""
        inbox = self.inbox.path
        queries = [b.file for b in self.sent.selected() if b.kind == "query" or not b.kind]
        if inbox is None:
            self.panel.refuse("No inbox is chosen.", "Choose the folder that replies go to.")
        elif not queries:
            self.panel.refuse(
                "There is no question in the outbox.", "Write one on the Encode page."
            )
        else:
            request = MapHere(queries=tuple(queries), out=inbox, device=self._jobs.session.device)
            self._map(request)

    def install_model(self) -> None:
        """Take in the selected mapping network."""
        models = [b for b in self.came.chosen() if b.kind == "model" and b.state in _MODELS]
        if len(models) != 1:
            self.panel.refuse(
                "Not one mapping network is selected.",
                "Select a verified one in the inbox; a mapping server sends them.",
            )
            return
        self._install(InstallModel(file=models[0].file))

    def take_in(self, files: list[Path]) -> None:
        """Copy files into the inbox; what they are is checked before anything uses them."""
        inbox = self.inbox.path
        if inbox is None:
            self.panel.refuse("No inbox is chosen.", "Choose the folder that replies go to.")
            return
        self.panel.run(TakeIn(files=tuple(files), folder=inbox), self._took_in)

    def show_share(self) -> None:
        """Open the dialog that writes the share for the mapping server."""
        session = self._jobs.session
        if session.identity is None or session.key is None:
            self.panel.refuse(
                "Key and identity are not both open.",
                "Unlock them on the Key page first.",
                is_locked=True,
            )
            return
        self.share_dialog = ShareDialog(self._jobs, self)
        self.share_dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.share_dialog.open()

    def show_log(self) -> None:
        """Open the disclosure log."""
        self.dialog = LogDialog(self._jobs, self)
        self.dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.dialog.open()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files alone."""
        accept_files(event)

    def dropEvent(self, event: QDropEvent) -> None:
        """Take in what was dropped."""
        self.take_in(dropped_files(event))

    def _map(self, request: MapHere, _names: Iterable[str] = ()) -> None:
        job = self.panel.run(request, self._mapped, disable=[self.map_here])
        offer_again(self, job, request, self._map)

    def _install(self, request: InstallModel, _names: Iterable[str] = ()) -> None:
        job = self.panel.run(request, self._installed, disable=[self.install])
        offer_again(self, job, request, self._install)

    def _mapped(self, result: BatchResult) -> None:
        self._tell(f"{len(result.written)} reply file(s) are in the inbox: see Decode.", result)
        self._jobs.session.arrived.emit("inbox")
        self.mapped.emit(result)

    def _took_in(self, result: BatchResult) -> None:
        self._tell(f"Took in {len(result.written)} file(s).", result)
        self._jobs.session.arrived.emit("inbox")

    def _installed(self, _done: Done) -> None:
        self._jobs.say("Installed. Lock and unlock to use it.")
        self._jobs.session.arrived.emit("inbox")

    def _tell(self, text: str, result: BatchResult) -> None:
        self._jobs.say(text)
        if result.problems:
            self.panel.refuse(" ".join(one.failure.text for one in result.problems), "")

    def _look(self, _where: str) -> None:
        self.sent.look()
        self.came.look()

    def _show_session(self) -> None:
        session = self._jobs.session
        open_for = session.identity.name if session.identity else ""
        self.state.setText(
            f"Files are checked for {open_for}." if open_for
            else "Locked. Unlock your identity on the Key page to check files."
        )  # fmt: skip
        arrangement = session.site.study.arrangement if session.site else ""
        self.share.setVisible(arrangement != "blind")
        self.share_note.setVisible(arrangement == "blind")
        shown = (session.outbox, session.inbox, open_for)
        if shown == self._shown:
            return
        self._shown = shown
        self.outbox.show_path(session.outbox)
        self.inbox.show_path(session.inbox)
        self.sent.watch(session.outbox)
        self.came.watch(session.inbox)
