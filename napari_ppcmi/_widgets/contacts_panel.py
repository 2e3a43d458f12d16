"""Partners: add a card after comparing its words, revoke, remove."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._jobs import Jobs
from napari_ppcmi._protocol.keys import (
    AddContact,
    HomeInfo,
    IdentityInfo,
    LookAtHome,
    ReadCard,
    RemoveContact,
    RevokeContact,
)
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.parts import (
    ask_file,
    button,
    finish_buttons,
    listen,
    show_only,
    sure,
    wrapping,
)

_ROWS_SHOWN = 4


class CompareDialog(QDialog):
    """Shows the twelve words of a card; accepted when a person says that they are the same."""

    def __init__(self, card: IdentityInfo, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Compare the words")
        words = wrapping(card.words, "card_words")
        font = words.font()
        font.setPointSizeF(font.pointSizeF() * 1.5)
        words.setFont(font)
        self.same = QCheckBox("They read me the &same words.")
        self.same.setObjectName("same_words")
        self.same.setToolTip("Tick it when every word was the same.")
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.add = QPushButton("&Add partner")
        self.add.setObjectName("add_partner")
        self.add.setEnabled(False)
        buttons.addButton(self.add, QDialogButtonBox.ButtonRole.AcceptRole)
        self.same.toggled.connect(self.add.setEnabled)
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        told = (
            f"The card says that it is of '{card.name}'. Anybody can write that. Call "
            f"{card.name} on a number that you know, and let them read the words of their "
            f"fingerprint to you. {card.note}"
        )
        for widget in (wrapping(told), words, self.same, buttons):
            layout.addWidget(widget)
        finish_buttons(buttons, "Take files of this partner from now on.")
        self.resize(420, 260)


class ContactsPanel(QWidget):
    """The partners of the session's home.

    Parameters
    ----------
    panel
        Where requests run and errors are shown.
    """

    def __init__(self, jobs: Jobs, panel: JobPanel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._jobs, self._panel = jobs, panel
        self._home: Path | None = None
        self.dialog: CompareDialog | None = None
        self.table = QTableWidget(0, 2)
        self.table.setObjectName("contacts")
        self.table.setAccessibleName("Partners")
        self.table.setToolTip("Choose a partner to revoke or remove.")
        show_only(self.table, ["Partner", "State"])
        self.table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
        self.table.setFixedHeight(self.fontMetrics().height() * 2 * _ROWS_SHOWN)
        row = QHBoxLayout()
        for text, name, tip, slot, icon in (
            ("&Add…", "add_contact", "Take in a partner's card.", self._ask_card, "plus"),
            ("Rev&oke", "revoke_contact", "Trust nothing of it any more.", self._ask_revoke, ""),
            ("Re&move", "remove_contact", "Forget it.", self._ask_remove, "minus"),
        ):
            row.addWidget(button(text, name, tip, slot, icon=icon))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.table)
        layout.addLayout(row)
        listen(self, jobs.session.changed, self._follow)
        self._follow()

    def read_card(self, file: Path) -> None:
        """Read a card and let the user compare its words."""
        self._panel.run(ReadCard(file=file), lambda card: self._compare(file, card))

    def revoke(self, name: str) -> None:
        """Never again take anything from a partner."""
        self._panel.run(RevokeContact(home=self._jobs.session.home, name=name), self._changed)

    def remove(self, name: str) -> None:
        """Forget a partner."""
        self._panel.run(RemoveContact(home=self._jobs.session.home, name=name), self._changed)

    def _compare(self, file: Path, card: IdentityInfo) -> None:
        self.dialog = CompareDialog(card, self)
        self.dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        request = AddContact(home=self._jobs.session.home, file=file, fingerprint=card.fingerprint)
        self.dialog.accepted.connect(lambda: self._panel.run(request, self._changed))
        self.dialog.open()

    def _follow(self) -> None:
        home = self._jobs.session.home
        if home != self._home:
            self._home = home
            self.look()

    def look(self) -> None:
        """Show the partners as they are now."""
        job = self._jobs.submit(LookAtHome(home=self._jobs.session.home))
        job.succeeded.connect(self._show)
        job.failed.connect(self._panel.show_failure)

    def _changed(self, home: HomeInfo) -> None:
        self._show(home)
        self._jobs.session.changed.emit()  # other pages list them as recipients

    def _show(self, home: HomeInfo) -> None:
        self.table.setRowCount(len(home.contacts))
        for row, contact in enumerate(home.contacts):
            for column, text in enumerate((contact.name, contact.state)):
                item = QTableWidgetItem(text)
                item.setToolTip(f"{contact.words}\nValid until {contact.expires}. {contact.note}")
                self.table.setItem(row, column, item)

    def _selected(self) -> str | None:
        item = self.table.item(self.table.currentRow(), 0)
        if item is None:
            self._panel.refuse("No partner is chosen.", "Click one in the table.")
            return None
        return item.text()

    def _ask_file(self) -> str:
        return ask_file(self, "Choose a contact card", "", "Contact cards (*.ppcmicard)")

    def _ask_card(self) -> None:
        name = self._ask_file()
        if name:
            self.read_card(Path(name))

    def _ask_revoke(self) -> None:
        name = self._selected()
        if name and self._sure(
            f"Revoke '{name}'? Nothing of it will be accepted any more, and this cannot be undone."
        ):
            self.revoke(name)

    def _ask_remove(self) -> None:
        name = self._selected()
        if name and self._sure(
            f"Remove '{name}'? Its files will be those of an unknown sender until you add it again."
        ):
            self.remove(name)

    def _sure(self, question: str) -> bool:
        return sure(self, question)
