"""Dialogs that make identities and keys; each asks for a new passphrase twice."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr, ValidationError
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._jobs import Jobs
from napari_ppcmi._protocol.keys import CreateIdentity, CreateKey, KeyInfo, RotateKey
from napari_ppcmi._protocol.message import Failure, Request
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.parts import button, wrapping

BACKUP = (
    "Keep a copy of the file and of its passphrase: nobody can open anything without them, and "
    "nobody can help."
)


class _SecretDialog(QDialog):
    """Fields, passphrases, OK; closes when the worker has made what was asked for."""

    title = ""
    asks_twice = True

    def __init__(self, jobs: Jobs, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(self.title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self._jobs = jobs
        self.panel = JobPanel(jobs)
        self.form = QFormLayout()
        self.form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
        self._add_fields()
        self.passphrase = self._secret("passphrase", "&Passphrase")
        self.again = self._secret("again", "The same &again") if self.asks_twice else None
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel
        )
        self.buttons.accepted.connect(self._go)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(wrapping(BACKUP))
        layout.addLayout(self.form)
        layout.addWidget(self.panel)
        layout.addWidget(self.buttons)
        self.resize(420, self.sizeHint().height())

    def _add_fields(self) -> None:
        raise NotImplementedError

    def _request(self, passphrase: SecretStr) -> Request:
        raise NotImplementedError

    def _done(self, answer: object) -> None:
        raise NotImplementedError

    def _line(self, name: str, label: str, tip: str) -> QLineEdit:
        line = QLineEdit(objectName=name)
        line.setToolTip(tip)
        self.form.addRow(label, line)
        return line

    def _file(self, name: str, label: str, tip: str, pattern: str, *, new: bool) -> QLineEdit:
        line, row = QLineEdit(objectName=name), QHBoxLayout()
        line.setToolTip(tip)

        def browse() -> None:
            ask = QFileDialog.getSaveFileName if new else QFileDialog.getOpenFileName
            chosen, _ = ask(self, tip, line.text(), pattern)
            if chosen:
                line.setText(chosen)

        row.addWidget(line)
        row.addWidget(button("…", f"{name}_browse", tip, browse))
        caption = QLabel(label)
        caption.setBuddy(line)
        self.form.addRow(caption, row)
        return line

    def _secret(self, name: str, label: str) -> QLineEdit:
        line = self._line(name, label, "At least 8 letters; several words are best.")
        line.setEchoMode(QLineEdit.EchoMode.Password)
        return line

    def _go(self) -> None:
        typed = SecretStr(self.passphrase.text())
        differs = self.again is not None and self.again.text() != typed.get_secret_value()
        self._forget_typed()
        if differs:
            self.panel.show_failure(Failure(message="The two passphrases differ."))
            return
        try:
            request = self._request(typed)
        except ValidationError:
            self.panel.show_failure(Failure(message="Something is not filled in yet."))
            return
        self.panel.run(request, self._accept, disable=[self.buttons])

    def _forget_typed(self) -> None:
        for line in (self.passphrase, self.again):
            if line is not None:
                line.clear()

    def _accept(self, answer: object) -> None:
        self._done(answer)
        self.accept()


class NewIdentityDialog(_SecretDialog):
    """Makes the identity of the session's home."""

    title = "New identity"

    def _add_fields(self) -> None:
        self.name = self._line("name", "&Name of your site", "Letters, digits, '-', '_' and '.'.")

    def _request(self, passphrase: SecretStr) -> Request:
        return CreateIdentity(
            home=self._jobs.session.home, name=self.name.text().strip(), passphrase=passphrase
        )

    def _done(self, answer: object) -> None:
        self._jobs.say("Made the identity. Unlock to use it.")


class NewKeyDialog(_SecretDialog):
    """Makes a client key for a study."""

    title = "New client key"

    def _add_fields(self) -> None:
        self.study = self._file(
            "study", "&Study file", "The study that all sites agreed on.", "*.yaml", new=False
        )
        self.site = self._line("site", "&Name of your site", "As in the training.")
        self.file = self._file("file", "&Key file", "Where it goes.", "*.ppcmikey", new=True)

    def _request(self, passphrase: SecretStr) -> Request:
        return CreateKey(
            home=self._jobs.session.home,
            file=Path(self.file.text().strip()),
            study_file=Path(self.study.text().strip()),
            site=self.site.text().strip(),
            passphrase=passphrase,
        )

    def _done(self, answer: object) -> None:
        assert isinstance(answer, KeyInfo)
        self._jobs.session.use(key_file=answer.file)
        self._jobs.say(f"Made the key. {answer.note} Unlock to use it.")


class RotateKeyDialog(_SecretDialog):
    """Makes the key of the next epoch under the same passphrase."""

    title = "Rotate the key"
    asks_twice = False

    def _add_fields(self) -> None:
        told = "The old key will open old replies and make nothing new. Partners need new files."
        self.form.addRow(wrapping(told))
        self.old = self._file("old", "&Old key", "The key of now.", "*.ppcmikey", new=False)
        self.old.setText(str(self._jobs.session.key_file or ""))
        self.file = self._file("file", "&New key", "Where it goes.", "*.ppcmikey", new=True)

    def _request(self, passphrase: SecretStr) -> Request:
        return RotateKey(
            home=self._jobs.session.home,
            file=Path(self.old.text().strip()),
            out=Path(self.file.text().strip()),
            passphrase=passphrase,
        )

    def _done(self, answer: object) -> None:
        self._jobs.session.use(key_file=Path(self.file.text().strip()))
        self._jobs.say("Made the key of the next epoch. Lock and unlock to use it.")
