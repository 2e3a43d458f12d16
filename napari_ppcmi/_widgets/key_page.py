"""Whose site this is: unlock its key, see what is open, make new keys, know the partners."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import SecretStr
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.keys import DemoSite, ExportCard, PrepareDemo, Unlock, Unlocked
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._widgets.contacts_panel import ContactsPanel
from napari_ppcmi._widgets.described_pickers import KeyPicker
from napari_ppcmi._widgets.docked import end_with_dock
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.membership_dialog import MembershipDialog
from napari_ppcmi._widgets.new_key_dialogs import (
    NewIdentityDialog,
    NewKeyDialog,
    RenewIdentityDialog,
    RotateKeyDialog,
)
from napari_ppcmi._widgets.parts import (
    FolderPicker,
    Section,
    ask_new_file,
    button,
    listen,
    wrapping,
)
from napari_ppcmi._widgets.training_parts import scrolled
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.user_folders import user_data_folder


class KeyPage(QWidget):
    """The first page of the workspace.

    Parameters
    ----------
    napari_viewer
        The viewer whose session is unlocked.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._jobs = jobs_for(napari_viewer)
        self._jobs.attach(self)
        end_with_dock(self)
        self._next: Unlock | None = None
        self._warnings: tuple[str, ...] = ()
        self.panel = JobPanel(self._jobs)
        self.panel.idle.connect(self._go_on)
        self._jobs.key_lost.connect(self.panel.show_failure)
        self._build()
        listen(self, self._jobs.session.changed, self._show_session)
        self._show_session()

    def _build(self) -> None:
        layout = scrolled(self)
        layout.addWidget(self._opened())
        layout.addWidget(self._unlocking())
        layout.addWidget(self.panel)
        self.partners = ContactsPanel(self._jobs, self.panel)
        for title, tip, content in (
            ("Make new…", "Identities, keys and contact cards.", self._making()),
            ("Partners", "Whose files you take, and who can open yours.", self.partners),
        ):
            section = Section(title, tip)
            section.addWidget(content)
            layout.addWidget(section)
        tip = "Who takes part in a study: ask to join, let sites in, take over the list."
        self.join = button("&Joining a study…", "join", tip, self._join)
        layout.addWidget(self.join)
        layout.addStretch()

    def _opened(self) -> QWidget:
        shown = QWidget()
        self.site = wrapping(name="site")
        self.site.setTextFormat(Qt.TextFormat.PlainText)  # names that others gave
        self.notes = wrapping(name="notes")
        self.notes.setTextFormat(Qt.TextFormat.PlainText)
        self.words = wrapping(name="words")
        self.words.setTextInteractionFlags(self.panel.status.textInteractionFlags())
        self.words.setToolTip("Partners read these words to each other over the telephone.")
        self.copy = button(
            "Cop&y words", "copy_words", "Copy the fingerprint.", self._copy,
            icon="copy_to_clipboard",
        )  # fmt: skip
        tip = "Close key and identity."
        self.lock = button("Loc&k now", "lock", tip, self.lock_now, icon="lock")
        row = QHBoxLayout()
        row.addWidget(self.copy)
        row.addWidget(self.lock)
        layout = QVBoxLayout(shown)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.site)
        layout.addWidget(self.notes)
        layout.addWidget(self.words)
        layout.addLayout(row)
        return shown

    def _unlocking(self) -> QWidget:
        self.form = QWidget()
        self.site_folder = FolderPicker("site_folder", "The folder that your site was trained in.")
        self.site_folder.chosen.connect(lambda folder: self._jobs.session.use(site_folder=folder))
        tip = "Your client key, a file that ends in .ppcmikey."
        self.key_file = KeyPicker(self._jobs, "key_file", tip)
        self.key_file.chosen.connect(lambda file: self._jobs.session.use(key_file=file))
        self.passphrase = _secret_line("passphrase", "What you type is shown to nobody.")
        self.passphrase.returnPressed.connect(self.unlock)
        self.same = QCheckBox("The &identity has the same one")
        self.same.setObjectName("same")
        self.same.setToolTip("Take the tick away if your identity has its own passphrase.")
        self.same.setChecked(True)
        self.other = _secret_line("identity_passphrase", "Passphrase of your identity.")
        self.other.setPlaceholderText("Passphrase of the identity")
        self.other.setAccessibleName("Passphrase of the identity")
        self.other.returnPressed.connect(self.unlock)
        self.other.hide()
        self.same.toggled.connect(lambda same: self.other.setVisible(not same))
        tip = "Open key and identity."
        self.open = button("&Unlock", "unlock", tip, self.unlock, icon="lock_open")
        self.demo = button(
            "&Demo site",
            "demo",
            "Try everything with synthetic data and a public key, offline.",
            self.use_demo,
        )
        form = QFormLayout(self.form)
        form.setContentsMargins(0, 0, 0, 0)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
        form.addRow("&Site folder", self.site_folder)
        form.addRow("&Key file", self.key_file)
        form.addRow("Passph&rase", self.passphrase)
        form.addRow(self.same)
        form.addRow(self.other)
        row = QHBoxLayout()
        row.addWidget(self.open)
        row.addWidget(self.demo)
        form.addRow(row)
        return self.form

    def _making(self) -> QWidget:
        made = QWidget()
        layout = QVBoxLayout(made)
        layout.setContentsMargins(0, 0, 0, 0)
        for text, name, tip, slot in (
            ("New id&entity…", "new_identity", "Who you are to your partners.", self._identity),
            ("&New client key…", "new_key", "The secret of your site in a study.", self._new_key),
            ("Rene&w identity…", "renew", "The same, with later dates.", self._renew),
            ("Ro&tate key…", "rotate", "Make the key of the next epoch.", self._rotate),
            ("E&xport contact card…", "export_card", "For your partners.", self._export),
        ):
            layout.addWidget(button(text, name, tip, slot))
        return made

    def unlock(self) -> None:
        """Open what is chosen, with what was typed; the fields are emptied at once."""
        self._use_typed()
        session = self._jobs.session
        typed = SecretStr(self.passphrase.text())
        other = typed if self.same.isChecked() else SecretStr(self.other.text())
        self.passphrase.clear()
        self.other.clear()
        if not typed and not other:
            message = "No passphrase was typed."
            self.panel.show_failure(Failure(message=message, hint="Type it, then unlock."))
            self.passphrase.setFocus()
            return
        request = Unlock(
            home=session.home,
            key_file=session.key_file,
            key_passphrase=typed if session.key_file and typed else None,
            site_folder=session.site_folder,
            identity_passphrase=other or None,
        )
        self.panel.run(request, self._unlocked, disable=[self.open, self.demo])

    def lock_now(self) -> None:
        """Forget everything secret."""
        self._jobs.lock()

    def use_demo(self) -> None:
        """Set up the demo site, if it is not there yet, and unlock it."""
        try:
            folder = user_data_folder() / "demo"
        except PPCMIError as error:
            self.panel.refuse(error.message, error.hint)
            return
        self.panel.run(PrepareDemo(folder=folder), self._demo, disable=[self.open, self.demo])

    def _demo(self, demo: DemoSite) -> None:
        self._jobs.session.use_demo(demo)
        self._next = Unlock(
            home=demo.home,
            key_file=demo.key_file,
            key_passphrase=demo.passphrase,
            site_folder=demo.site_folder,
            identity_passphrase=demo.passphrase,
        )

    def _go_on(self) -> None:
        request, self._next = self._next, None
        if request is not None:
            self.panel.run(request, self._unlocked, disable=[self.open, self.demo])

    def _unlocked(self, opened: Unlocked) -> None:
        if opened.key is None and opened.identity is None:
            message = "Nothing was opened: no key file is chosen, and there is no identity yet."
            self.panel.show_failure(
                Failure(message=message, hint="Choose your key file, or make a new one below.")
            )
            return
        self._warnings = opened.warnings
        self._show_session()
        self._jobs.say("Unlocked.")

    def _show_session(self) -> None:
        session = self._jobs.session
        is_open = session.key is not None or session.identity is not None
        for widget in (self.words, self.copy, self.lock):
            widget.setVisible(is_open)
        self.form.setVisible(not is_open)
        self.site_folder.show_path(session.site_folder)
        self.key_file.show_path(session.key_file)
        if not is_open:
            self._warnings = ()
        told = [*self._warnings, *(one.note for one in (session.key, session.identity) if one)]
        self.notes.setText("\n".join(filter(None, told)))
        self.notes.setVisible(any(told))
        if not is_open:
            self.site.setText("Locked. Choose your site and key, or try the demo site.")
            return
        parts = []
        if session.is_demo:
            parts.append("Demo site: synthetic data and a public key, never for patients.")
        if session.key is not None:
            parts.append(
                f"Site {session.key.site}, key epoch {session.key.epoch}, valid until "
                f"{session.key.expires}."
            )
        if session.site is not None:
            study = session.site.study
            parts.append(f"Study {study.name} ({study.arrangement}).")
        if session.identity is not None:
            parts.append(f"Identity {session.identity.name}, until {session.identity.expires}:")
            self.words.setText(session.identity.words)
        else:
            self.words.setText("No identity is open: files cannot be exchanged.")
        self.site.setText(" ".join(parts))

    def _copy(self) -> None:
        clipboard = QApplication.clipboard()
        assert clipboard is not None
        clipboard.setText(self.words.text())

    def _use_typed(self) -> None:
        """Take over what was typed last: a shortcut leaves the focus where it was."""
        session, key = self._jobs.session, self.key_file.path
        if (self.site_folder.path, key) != (session.site_folder, session.key_file):
            session.use(site_folder=self.site_folder.path, key_file=key)

    def _ask_card_file(self) -> str:
        return ask_new_file(self, "Export the card", "me.ppcmicard", "Contact cards (*.ppcmicard)")

    def _identity(self) -> None:
        NewIdentityDialog(self._jobs, self).open()

    def _new_key(self) -> None:
        NewKeyDialog(self._jobs, self).open()

    def _renew(self) -> None:
        RenewIdentityDialog(self._jobs, self).open()

    def _rotate(self) -> None:
        RotateKeyDialog(self._jobs, self).open()

    def _join(self) -> None:
        dialog = MembershipDialog(self._jobs, self)
        dialog.finished.connect(lambda _result: self.partners.look())  # joining adds some
        dialog.open()

    def _export(self) -> None:
        name = self._ask_card_file()
        if name:
            request = ExportCard(home=self._jobs.session.home, file=Path(name))
            self.panel.run(request, lambda card: self._jobs.say(f"Wrote the card of {card.name}."))


def _secret_line(name: str, tip: str) -> QLineEdit:
    line = QLineEdit()
    line.setObjectName(name)
    line.setEchoMode(QLineEdit.EchoMode.Password)
    line.setToolTip(tip)
    return line
