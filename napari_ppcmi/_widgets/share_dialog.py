"""Write this site's transform share, which an escrow study's mapping server needs."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QDialogButtonBox, QPushButton, QVBoxLayout, QWidget

from napari_ppcmi._jobs import Jobs
from napari_ppcmi._protocol.bundles import SavedShare, WriteShare
from napari_ppcmi._protocol.joining import LookAtMembership, MembershipInfo
from napari_ppcmi._protocol.keys import HomeInfo, LookAtHome
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.parts import FilePicker, Note, tab_as_they_stand, wrapping
from napari_ppcmi._widgets.training_parts import add_picker, chooser, wrapped_form

WHAT_IT_IS = (
    "A share is made from your client key, for this study and this key epoch alone. With it the "
    "mapping server can undo the protection of your site's features and look at them: they are "
    "like a coarse picture of each image. It cannot make your images, your masks or your key "
    "from the share. The file can be opened by the mapping server that you choose here and by "
    "nobody else; carry it there like your other files."
)
NOT_NEEDED = "This study is blind: the mapping server needs no share of your key."
_SUFFIX = ".ppcmishare"


class ShareDialog(QDialog):
    """Asks for whom and where, writes the share, and says what was written.

    Parameters
    ----------
    jobs
        The viewer's; key, identity and site are unlocked.
    """

    def __init__(self, jobs: Jobs, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._jobs = jobs
        self.setWindowTitle("Share for the mapping server")
        self.server = chooser("share_server", "Who runs the mapping server: one of your partners.")
        self.file = FilePicker(
            "share_file",
            "The file that you then carry to the mapping server.",
            f"Shares (*{_SUFFIX})",
            new=True,
        )
        self.written = Note("share_written", is_plain=True)
        self.panel = JobPanel(jobs)
        self.write = QPushButton("&Write the share", objectName="write_share")
        self.write.clicked.connect(self.write_share)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        self.buttons.addButton(self.write, QDialogButtonBox.ButtonRole.ActionRole)
        self.buttons.rejected.connect(self.reject)
        self.write.setToolTip("Write it for the chosen server alone.")
        self.buttons.setToolTip("Close this window.")
        form = wrapped_form()
        form.addRow("&Mapping server", self.server)
        add_picker(form, "&File", self.file)
        layout = QVBoxLayout(self)
        layout.addWidget(wrapping(WHAT_IT_IS))
        layout.addLayout(form)
        for widget in (self.written, self.panel):
            layout.addWidget(widget)
        layout.addStretch(1)
        layout.addWidget(self.buttons)
        tab_as_they_stand(self.buttons)
        self.resize(420, self.sizeHint().height())
        self._propose_file()
        self.panel.run(LookAtHome(home=jobs.session.home), self._show_partners)

    def write_share(self) -> None:
        """Write it."""
        recipient, file = self.server.currentData(), self.file.path
        self.written.hide()
        if recipient is None:
            self.panel.refuse(
                "No mapping server is chosen.",
                "Add its contact card under Partners on the Key page, then choose it here.",
            )
        elif file is None:
            self.panel.refuse("No file is chosen.", "Choose where the share is written.")
        else:
            file = file if file.suffix == _SUFFIX else Path(f"{file}{_SUFFIX}")
            request = WriteShare(recipient=recipient, file=file)
            self.panel.run(request, self._show_written, disable=[self.write])

    def _propose_file(self) -> None:
        session = self._jobs.session
        if session.outbox is not None and session.key is not None:
            name = f"{session.key.site}-epoch{session.key.epoch}{_SUFFIX}"
            self.file.show_path(session.outbox / name)

    def _show_partners(self, home: HomeInfo) -> None:
        self.server.clear()
        for one in home.contacts:
            if one.state == "valid":
                self.server.addItem(one.name, one.fingerprint)
                self.server.setItemData(
                    self.server.count() - 1, one.words, Qt.ItemDataRole.ToolTipRole
                )
        site = self._jobs.session.site
        if site is not None:
            request = LookAtMembership(home=home.home, study_file=site.study.file)
            self._jobs.submit(request).succeeded.connect(self._prefer_server)

    def _prefer_server(self, membership: MembershipInfo) -> None:
        """Choose the server whose list was taken over."""
        server = membership.server
        at = -1 if server is None else self.server.findData(server.fingerprint)
        if at >= 0:
            self.server.setCurrentIndex(at)

    def _show_written(self, share: SavedShare) -> None:
        self.written.tell(
            f"Wrote {share.file} (key epoch {share.epoch}, id {share.key_id}).\n"
            f"Only '{share.recipient.name}' can open it, whose fingerprint is: "
            f"{share.recipient.words}"
        )
        self._jobs.session.arrived.emit("outbox")
