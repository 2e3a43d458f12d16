"""For who runs the mapping server: train its network, answer queries, give the network away."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QCheckBox, QGroupBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.bundles import BatchResult
from napari_ppcmi._protocol.keys import HomeInfo, LookAtHome
from napari_ppcmi._protocol.message import Request
from napari_ppcmi._protocol.training import (
    AnswerQueries,
    JoinServer,
    PublishModel,
    ServerTrained,
    TrainServer,
)
from napari_ppcmi._widgets.described_pickers import StudyPicker
from napari_ppcmi._widgets.docked import end_with_dock
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.loss_curve import LossCurve
from napari_ppcmi._widgets.once_more import offer_again
from napari_ppcmi._widgets.parts import FolderPicker, Note, button, listen, wrapping
from napari_ppcmi._widgets.training_parts import (
    TrainingSettings,
    add_picker,
    chooser,
    left_out,
    named,
    scrolled,
    wrapped_form,
)
from ppcmi_sf.training.fit_options import MAPPING_FIT

_INTRODUCTION = (
    "The mapping server learns from the protected features of all sites, and answers a site's "
    "protected image features with protected mask features. It gets no images, but what it holds "
    "remains patient data."
)
_LOCKED = "Your identity is locked. Unlock it on the Key page of the workspace; then go on here."
_CANCELLED = (
    "Cancelled. Press the same button with the same settings, and it goes on after what was "
    "finished."
)


class ServerWidget(QWidget):
    """The mapping server.

    Parameters
    ----------
    napari_viewer
        The viewer whose session has the identity unlocked.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._jobs = jobs_for(napari_viewer)
        self._jobs.attach(self)
        end_with_dock(self)
        self._offered: tuple[Path, str] | None = None
        self._make_training_fields()
        self._make_use_fields()
        self._arrange(scrolled(self))
        listen(self, self._jobs.session.changed, self._show_session)
        self._show_session()

    def _make_training_fields(self) -> None:
        self.state = wrapping(name="identity")
        self.study = StudyPicker(self._jobs)
        self.bundles = FolderPicker(
            "bundles", "The files of protected features that all sites sent for the training."
        )
        self.shares = FolderPicker(
            "shares", "The sites' shares of their keys. Leave it empty in a blind study."
        )
        self.server_folder = FolderPicker("server_folder", "Where the trained network is kept.")
        self.settings = TrainingSettings(MAPPING_FIT)
        self.cross_fit: QCheckBox = named(
            QCheckBox("Harder to tell &who took part"),
            "cross_fit",
            "Nobody's own mask is what the network learns by heart. It takes three times as long "
            "and makes the masks a little worse. Every site has to give its patients in separate "
            "files ('Encode', 'More settings').",
        )
        self.settings.form.insertRow(3, self.cross_fit)
        self.setTabOrder(self.settings.seed, self.cross_fit)
        self.train: QPushButton = button(
            "&Train", "train", "Start, or go on with a training that was stopped.", self.start,
            icon="playback-forward",
        )  # fmt: skip
        self.join: QPushButton = button(
            "A site &joins",
            "join",
            "The features above are of one new site: the network in the server folder learns to "
            "read them, and nothing changes for the other sites.",
            self.let_join,
        )
        self.curve = LossCurve()
        self.curve.hide()
        self.panel = JobPanel(self._jobs, pausable=True)
        self.panel.progressed.connect(self.curve.add)
        self.panel.idle.connect(self._show_buttons)
        self.summary = Note("summary")

    def _make_use_fields(self) -> None:
        self.queries = FolderPicker("queries", "The files that sites want masks for.")
        self.replies = FolderPicker("replies", "Where the answers are written; send them back.")
        self.answer: QPushButton = button(
            "&Answer queries",
            "answer",
            "Write an answer to each query, which only its sender can open.",
            self.answer_queries,
        )
        tip = "The site that gets the network. It must be among your contacts."
        self.contact = chooser("contact", tip)
        self.network = FolderPicker("network", "Where the file is written; send it to the site.")
        self.publish: QPushButton = button(
            "&Give the network",
            "publish",
            "Write it for this site alone, which can then make masks without asking.",
            self.publish_model,
        )

    def _arrange(self, layout: QVBoxLayout) -> None:
        form, answers, gift = wrapped_form(), wrapped_form(), wrapped_form()
        add_picker(form, "&Study", self.study)
        add_picker(form, "&Protected features for training", self.bundles)
        add_picker(form, "S&hares (escrow studies only)", self.shares)
        add_picker(form, "Ser&ver folder", self.server_folder)
        add_picker(answers, "&Queries", self.queries)
        add_picker(answers, "Folder for rep&lies", self.replies)
        answers.addRow(self.answer)
        gift.addRow("S&ite", self.contact)
        add_picker(gift, "F&older for the file", self.network)
        gift.addRow(self.publish)
        for widget in (wrapping(_INTRODUCTION), self.state):
            layout.addWidget(widget)
        layout.addLayout(form)
        layout.addWidget(self.settings)
        row = QHBoxLayout()
        row.addWidget(self.train)
        row.addWidget(self.join)
        layout.addLayout(row)
        layout.addWidget(self.curve)
        layout.addWidget(self.panel)
        layout.addWidget(self.summary)
        for title, inner in (("Answer queries", answers), ("Give the network to a site", gift)):
            box = QGroupBox(title)
            box.setLayout(inner)
            layout.addWidget(box)
        layout.addStretch()

    def start(self) -> None:
        """Train with what is in the fields."""
        study, bundles, folder = self.study.path, self.bundles.path, self.server_folder.path
        if study is None:
            self.panel.refuse("No study file is chosen.", "Choose the one that all sites have.")
        elif bundles is None:
            self.panel.refuse("No folder of protected features is chosen.", "Choose it above.")
        elif folder is None:
            self.panel.refuse("No server folder is chosen.", "Choose an empty or a new one.")
        else:
            request = TrainServer(
                study_file=study,
                server_folder=folder,
                bundles=(bundles,),
                shares=() if self.shares.path is None else (self.shares.path,),
                epochs=self.settings.epochs.value(),
                batch_size=self.settings.batch_size.value(),
                seed=self.settings.seed.value(),
                cross_fit=self.cross_fit.isChecked(),
                retrain=self.settings.retrain.isChecked(),
                device=self._jobs.session.device,
            )
            if self.settings.may_replace():
                self.curve.clear()
                self.curve.show()
                self._run(request, self._trained)

    def let_join(self) -> None:
        """Let the site whose features are chosen join the network in the server folder."""
        bundles, folder = self.bundles.path, self.server_folder.path
        if bundles is None or folder is None:
            hint = "Choose the new site's features and the folder of the trained network."
            self.panel.refuse("A folder is missing.", hint)
            return
        request = JoinServer(
            server_folder=folder,
            bundles=(bundles,),
            shares=() if self.shares.path is None else (self.shares.path,),
            batch_size=self.settings.batch_size.value(),
            seed=self.settings.seed.value(),
            device=self._jobs.session.device,
        )
        self.curve.clear()
        self.curve.show()
        self._run(request, self._joined)

    def answer_queries(self) -> None:
        """Answer every query of the folder."""
        folder, queries, out = self.server_folder.path, self.queries.path, self.replies.path
        if folder is None or queries is None or out is None:
            hint = "Choose the server folder, the queries and a folder for the replies."
            self.panel.refuse("A folder is missing.", hint)
            return
        request = AnswerQueries(
            server_folder=folder, queries=(queries,), out=out, device=self._jobs.session.device
        )
        self._run(request, self._answered)

    def publish_model(self) -> None:
        """Write the network for the chosen site."""
        folder, out, site = (
            self.server_folder.path,
            self.network.path,
            self.contact.currentText(),
        )
        if folder is None or out is None or not site:
            hint = "Choose the server folder, a site and a folder for the file."
            self.panel.refuse("Something is missing.", hint)
            return
        self._run(PublishModel(server_folder=folder, recipient=site, out=out), self._published)

    def _run(self, request: Request, done: Callable[..., None]) -> None:
        self.summary.hide()
        buttons = [self.train, self.join, self.answer, self.publish]
        job = self.panel.run(
            request, done, disable=buttons, cancelled=partial(self.summary.announce, _CANCELLED)
        )
        offer_again(self, job, request, lambda anew, _names: self._run(anew, done))
        self.panel.pause.setVisible(isinstance(request, TrainServer | JoinServer))

    def _trained(self, trained: ServerTrained) -> None:
        self._tell_training(trained, "The mapping network is trained with")

    def _joined(self, trained: ServerTrained) -> None:
        self._tell_training(trained, "Nothing has changed for the other sites. Learned from")

    def _tell_training(self, trained: ServerTrained, what: str) -> None:
        pairs = ", ".join(f"{number} slices of {name}" for name, number in trained.pairs.items())
        told = f"{what} {pairs}."
        if trained.loss is not None:
            told += f" Its error on cases set apart is {trained.loss:.3g}; the lower, the better."
        lines = [told, *(f"Look at site '{site}': {why}." for site, why in trained.suspicions)]
        if trained.suspicions:
            lines.append("Ask these sites before you use the network.")
        self.summary.announce("\n".join(lines))

    def _answered(self, result: BatchResult) -> None:
        told = f"Answers written: {len(result.written)}."
        if result.skipped:
            told += f" Answered before: {len(result.skipped)}."
        self.summary.announce(f"{told}\n{left_out(result.problems)}".strip())

    def _published(self, result: BatchResult) -> None:
        names = ", ".join(path.name for path in result.written)
        self.summary.announce(f"The network is written: {names}. Send it to the site.")

    def _show_session(self) -> None:
        session = self._jobs.session
        text = f"You are '{session.identity.name}'." if session.identity else _LOCKED
        self.state.setText(text)
        self._show_buttons()
        if session.identity is None:
            self._offered = None
            self.contact.clear()
            return
        looked = self._jobs.submit(LookAtHome(home=session.home))
        looked.succeeded.connect(self._show_contacts)

    def _show_buttons(self) -> None:
        if self.panel.job is None:
            for one in (self.train, self.join, self.answer, self.publish):
                one.setEnabled(self._jobs.session.identity is not None)

    def _show_contacts(self, home: HomeInfo) -> None:
        """List the sites; the chosen one stays chosen, and none is if it is gone."""
        identity = self._jobs.session.identity
        if identity is None or home.home != self._jobs.session.home:
            return  # locked, or another one, meanwhile
        before, self._offered = self._offered, (home.home, identity.fingerprint)
        chosen, was_empty = self.contact.currentText(), not self.contact.count()
        self.contact.clear()
        self.contact.addItems([one.name for one in home.contacts if one.state == "valid"])
        if before == self._offered and not was_empty:
            self.contact.setCurrentIndex(self.contact.findText(chosen))
