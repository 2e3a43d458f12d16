"""Who takes part in a study: a site asks to join, the mapping server keeps the list."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._jobs import Jobs
from napari_ppcmi._protocol.joining import (
    ComparedCard,
    LetIn,
    LookAtMembership,
    MembershipInfo,
    ReadJoinRequest,
    ReadMembershipList,
    RenewList,
    TakeOut,
    TakeOver,
    WriteJoinRequest,
)
from napari_ppcmi._protocol.keys import IdentityInfo
from napari_ppcmi._protocol.message import Request
from napari_ppcmi._widgets.contacts_panel import CompareDialog
from napari_ppcmi._widgets.described_pickers import StudyPicker
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.members_table import MembersTable
from napari_ppcmi._widgets.parts import (
    Note,
    Section,
    ask_file,
    ask_new_file,
    button,
    open_at,
    plain,
    sure,
    wrapping,
)
from napari_ppcmi._widgets.training_parts import (
    add_foot,
    add_picker,
    number_box,
    scrolled,
    wrapped_form,
)

_REQUESTS = "Requests to join (*.ppcmijoin)"
_LISTS = "Lists of who takes part (*.ppcmimembers)"
_WIDTH, _HEIGHT = 420, 600
_NO_LIST = "There is no list of this study here yet."
_LOST = (
    "Only after the folder of your identity was lost: sites refuse a list whose number is lower "
    "than one that they have seen. They see its number here."
)


class MembershipDialog(QDialog):
    """Shows the list of a study, and does what sites and mapping servers do with it.

    Parameters
    ----------
    jobs
        The viewer's.
    """

    def __init__(self, jobs: Jobs, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._jobs = jobs
        self.compare: CompareDialog | None = None
        self.setWindowTitle("Joining a study")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.panel = JobPanel(jobs)
        self.study = StudyPicker(jobs)
        self.study.chosen.connect(self._look)
        self.state = plain("membership")
        self.members = MembersTable()
        self.told = Note("told", is_plain=True)
        self._arrange()
        site = jobs.session.site
        if site is not None:
            self.study.choose(site.study.file)
        else:
            self._look(None)

    def _arrange(self) -> None:
        form = wrapped_form()
        add_picker(form, "Stud&y", self.study)
        layout = scrolled(self)
        layout.addLayout(form)
        for widget in (self.state, self.members, self._site_box(), self._server_box()):
            layout.addWidget(widget)
        closing = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        closing.rejected.connect(self.reject)
        closing.setToolTip("Close this window.")
        layout.addStretch(1)
        add_foot(self, self.told, self.panel, closing)
        open_at(self, _WIDTH, _HEIGHT)

    def _site_box(self) -> QWidget:
        box = QGroupBox("Your site")
        row = QHBoxLayout(box)
        for text, name, tip, slot in (
            ("Ask to &join…", "ask_to_join", "Write a request for the mapping server.", self._ask),
            ("Take over a &list…", "take_over", "The list that the mapping server sent you.",
             self._take_over),
        ):  # fmt: skip
            row.addWidget(button(text, name, tip, slot))
        return box

    def _server_box(self) -> QWidget:
        box = QGroupBox("If you run the mapping server")
        layout, row = QVBoxLayout(box), QHBoxLayout()
        for text, name, tip, slot in (
            ("Let a &site in…", "let_in", "Take in a site's request to join.", self._let_in),
            ("&Take a site out…", "take_out", "Its files are not taken any more.", self._take_out),
        ):
            row.addWidget(button(text, name, tip, slot))
        layout.addLayout(row)
        tip = "The same sites, with later dates and the newest contact cards."
        layout.addWidget(button("&Write the list anew…", "renew_list", tip, self._renew))
        lost = Section("After a loss", "For a mapping server whose files were lost.")
        content = QWidget()
        fields = QFormLayout(content)
        fields.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
        tip = "The next list gets this number or a higher one."
        self.at_least = number_box("at_least", 1, 1, tip)
        fields.addRow(wrapping(_LOST))
        fields.addRow("&Number of the list, at least", self.at_least)
        lost.addWidget(content)
        layout.addWidget(lost)
        return box

    def _ask(self) -> None:
        study = self._study()
        if study is None:
            return
        identity = self._jobs.session.identity
        name = f"{identity.name if identity else 'site'}.ppcmijoin"
        file = self._ask_new_file("Write the request", name, _REQUESTS)
        if file is not None:
            request = WriteJoinRequest(study_file=study, file=file)
            self.panel.run(request, partial(self._asked, file))

    def _asked(self, file: Path, own: IdentityInfo) -> None:
        self._tell(
            f"Wrote {file}. Send it to the mapping server. Over the telephone, read these words to "
            f"it: {own.words}"
        )

    def _take_over(self) -> None:
        study = self._study()
        file = None if study is None else self._ask_file("Choose the list", _LISTS)
        if study is None or file is None:
            return
        home = self._jobs.session.home

        def go_on(fingerprint: str) -> None:
            request = TakeOver(home=home, study_file=study, file=file, fingerprint=fingerprint)
            self.panel.run(request, self._taken_over)

        self._compare(ReadMembershipList(home=home, study_file=study, file=file), go_on)

    def _taken_over(self, membership: MembershipInfo) -> None:
        self._show(membership)
        missing = " You are not in it: the mapping server will not take your files."
        self._tell(f"Took over list {membership.serial}.{'' if membership.is_member else missing}")
        self._jobs.session.changed.emit()

    def _let_in(self) -> None:
        study = self._study()
        file = None if study is None else self._ask_file("Choose the request", _REQUESTS)
        if study is None or file is None:
            return

        def go_on(fingerprint: str) -> None:
            out = self._ask_list(study)
            if out is not None:
                self._issue(
                    LetIn(study_file=study, file=file, fingerprint=fingerprint, out=out), out
                )

        self._compare(ReadJoinRequest(study_file=study, file=file), go_on)

    def _take_out(self) -> None:
        study, name = self._study(), self.members.chosen
        if study is None:
            return
        if name is None:
            self.panel.refuse("No site is chosen.", "Click one in the table.")
        elif self._sure(
            f"Take '{name}' out of the study? Its files will not be taken any more. For the other "
            "sites nothing changes."
        ):
            out = self._ask_list(study)
            if out is not None:
                self._issue(TakeOut(study_file=study, name=name, out=out), out)

    def _renew(self) -> None:
        study = self._study()
        out = None if study is None else self._ask_list(study)
        if study is not None and out is not None:
            at_least = self.at_least.value()
            self._issue(RenewList(study_file=study, out=out, at_least=at_least), out)

    def _compare(self, request: Request, go_on: Callable[[str], None]) -> None:
        """Read a file, let a person compare the words of whose it is, and go on."""
        read: list[ComparedCard] = []
        job = self.panel.run(request, read.append)

        def ask() -> None:
            for one in read:
                if one.known:
                    go_on(one.card.fingerprint)
                    continue
                self.compare = CompareDialog(one.card, self)
                self.compare.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
                self.compare.accepted.connect(partial(go_on, one.card.fingerprint))
                self.compare.open()

        job.finished.connect(ask)

    def _issue(self, request: Request, out: Path) -> None:
        self.panel.run(request, partial(self._issued, out))

    def _issued(self, out: Path, membership: MembershipInfo) -> None:
        self._show(membership)
        words = membership.server.words if membership.server else ""
        self._tell(
            f"Wrote list {membership.serial} to {out}. Send it to the sites. One that joins for "
            f"the first time compares your words with you: {words}"
        )
        self._jobs.session.changed.emit()

    def _look(self, study: Path | None) -> None:
        self.told.hide()
        self.state.setText("Choose the study file that all sites agreed on.")
        self.members.show_members(())
        if study is not None:
            request = LookAtMembership(home=self._jobs.session.home, study_file=study)
            self.panel.run(request, self._show)

    def _show(self, membership: MembershipInfo) -> None:
        self.members.show_members(membership.members)
        server = membership.server
        if server is None:
            self.state.setText(_NO_LIST)
            return
        whose = "yours" if membership.is_ours else f"of '{server.name}'"
        text = f"List {membership.serial}, {whose}, valid until {membership.expires}."
        if not membership.is_ours:
            text += " You are in it." if membership.is_member else " You are not in it."
        self.state.setText(text)

    def _study(self) -> Path | None:
        if self.study.path is None:
            self.panel.refuse("No study file is chosen.", "Choose it above.")
        return self.study.path

    def _tell(self, text: str) -> None:
        self.told.tell(text)

    def _ask_list(self, study: Path) -> Path | None:
        return self._ask_new_file("Write the list", f"{study.stem}.ppcmimembers", _LISTS)

    def _ask_file(self, title: str, pattern: str) -> Path | None:
        name = ask_file(self, title, str(self._jobs.session.inbox or ""), pattern)
        return Path(name) if name else None

    def _ask_new_file(self, title: str, name: str, pattern: str) -> Path | None:
        folder = self._jobs.session.outbox
        chosen = ask_new_file(self, title, str(folder / name if folder else name), pattern)
        return Path(chosen) if chosen else None

    def _sure(self, question: str) -> bool:
        return sure(self, question)
