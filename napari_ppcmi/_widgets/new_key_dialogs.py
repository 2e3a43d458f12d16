"""Dialogs that make identities and keys; each asks for a new passphrase twice."""

from __future__ import annotations

from pydantic import SecretStr
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLineEdit,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._jobs import Jobs
from napari_ppcmi._protocol.keys import (
    CreateIdentity,
    CreateKey,
    IdentityInfo,
    KeyInfo,
    RenewIdentity,
    RotateKey,
)
from napari_ppcmi._protocol.message import Request
from napari_ppcmi._widgets.described_pickers import KeyPicker, StudyPicker
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.parts import FilePicker, finish_buttons, wrapping
from napari_ppcmi._widgets.training_parts import add_picker

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
        layout.addStretch(1)
        layout.addWidget(self.buttons)
        finish_buttons(self.buttons, "Make it, and lock it with the passphrase.")
        self.resize(420, self.sizeHint().height())

    def _add_fields(self) -> None:
        raise NotImplementedError

    def _request(self, passphrase: SecretStr) -> Request | None:
        """What to ask for; nothing while a file is missing."""
        raise NotImplementedError

    def _done(self, answer: object) -> None:
        raise NotImplementedError

    def _line(self, name: str, label: str, tip: str) -> QLineEdit:
        line = QLineEdit(objectName=name)
        line.setToolTip(tip)
        self.form.addRow(label, line)
        return line

    def _pick(self, label: str, picker: FilePicker) -> FilePicker:
        add_picker(self.form, label, picker)
        return picker

    def _secret(self, name: str, label: str) -> QLineEdit:
        line = self._line(name, label, "At least 8 letters; several words are best.")
        line.setEchoMode(QLineEdit.EchoMode.Password)
        return line

    def _go(self) -> None:
        typed = SecretStr(self.passphrase.text())
        differs = self.again is not None and self.again.text() != typed.get_secret_value()
        self._forget_typed()
        if differs:
            self.panel.refuse("The two passphrases differ.", "Type the same one twice.")
            return
        request = self._request(typed)
        if request is None:
            self.panel.refuse("Something is not filled in yet.", "Choose the files above.")
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


class RenewIdentityDialog(_SecretDialog):
    """Gives the identity later dates."""

    title = "Renew the identity"
    asks_twice = False

    def _add_fields(self) -> None:
        told = (
            "The keys and the words of the fingerprint stay as they are; only the dates are later. "
            "Send the new card to your partners."
        )
        self.form.addRow(wrapping(told))

    def _request(self, passphrase: SecretStr) -> Request:
        return RenewIdentity(home=self._jobs.session.home, passphrase=passphrase)

    def _done(self, answer: object) -> None:
        assert isinstance(answer, IdentityInfo)
        self._jobs.say(f"The identity is valid until {answer.expires}. Lock and unlock to use it.")


class NewKeyDialog(_SecretDialog):
    """Makes a client key for a study."""

    title = "New client key"

    def _add_fields(self) -> None:
        self.study = self._pick("&Study file", StudyPicker(self._jobs))
        self.site = self._line("site", "&Name of your site", "As in the training.")
        self.file = self._pick("&Key file", _new_key_file("The new key."))

    def _request(self, passphrase: SecretStr) -> Request | None:
        study, file = self.study.path, self.file.path
        if study is None or file is None:
            return None
        return CreateKey(
            home=self._jobs.session.home,
            file=file,
            study_file=study,
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
        self.old = self._pick("&Old key", KeyPicker(self._jobs, "old", "The key of now."))
        self.old.show_path(self._jobs.session.key_file)
        self.file = self._pick("&New key", _new_key_file("The key of the next epoch."))

    def _request(self, passphrase: SecretStr) -> Request | None:
        old, new = self.old.path, self.file.path
        if old is None or new is None:
            return None
        return RotateKey(home=self._jobs.session.home, file=old, out=new, passphrase=passphrase)

    def _done(self, answer: object) -> None:
        assert isinstance(answer, KeyInfo)
        self._jobs.session.use(key_file=answer.file)
        self._jobs.say("Made the key of the next epoch. Lock and unlock to use it.")


def _new_key_file(tip: str) -> FilePicker:
    return FilePicker("file", tip, "Client keys (*.ppcmikey)", new=True)
