"""Choose images, look at what would leave, and write the bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QFormLayout,
    QGridLayout,
    QListWidget,
    QListWidgetItem,
    QWidget,
)

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._overlay import LayerImage, read_layer, shown_frame
from napari_ppcmi._protocol.bundles import (
    BatchResult,
    CaseInfo,
    CasesFound,
    ExportReview,
    FindCases,
    KeepLayer,
    Purpose,
    ReviewExport,
    WriteBundles,
)
from napari_ppcmi._protocol.keys import HomeInfo, LookAtHome
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._widgets.case_list import CaseList
from napari_ppcmi._widgets.docked import end_with_dock
from napari_ppcmi._widgets.in_turn import InTurn
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.noise_box import NoiseBox
from napari_ppcmi._widgets.parts import FolderPicker, Section, button, listen, wrapping
from napari_ppcmi._widgets.review_dialog import ReviewDialog
from napari_ppcmi._widgets.training_parts import chooser, scrolled
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.imaging import case_name
from ppcmi_sf.training.fit_options import CROSS_FIT_FOLDS

if TYPE_CHECKING:
    from napari.layers import Image

_ROLE = Qt.ItemDataRole.UserRole
_LIST_ROWS = 5
_PURPOSES: tuple[tuple[str, Purpose], ...] = (
    ("Ask for masks of these images", "query"),
    ("Give images and masks for training", "training"),
)


class EncodePage(QWidget):
    """The second page of the workspace.

    Parameters
    ----------
    napari_viewer
        The viewer whose image layers can be chosen.
    """

    written = Signal(object)
    """A :class:`~napari_ppcmi._protocol.bundles.BatchResult`, after bundles were written."""

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._jobs = jobs_for(napari_viewer)
        self._jobs.attach(self)
        end_with_dock(self)
        self._offered: tuple[Path, str] | None = None
        self.dialog: ReviewDialog | None = None
        self._build()
        listen(self, self._jobs.session.changed, self._show_session)
        self._show_session()

    def _build(self) -> None:
        self.state = wrapping(name="site")
        self.cases = CaseList(self._jobs)
        sources = QGridLayout()
        chosen_from = (
            ("Selected &layers", "add_layers", "Take the selected layers.", self.add_layers),
            ("&Files…", "add_files", "Take image files.", self._ask_files),
            ("F&older…", "add_folder", "Take every image of a folder.", self._ask_folder),
            ("Cl&ear", "clear", "Empty the list. No file is touched.", self.cases.clear),
        )
        for at, (text, name, tip, slot) in enumerate(chosen_from):
            sources.addWidget(button(text, name, tip, slot), at // 2, at % 2)
        self.purpose = chooser("purpose", "What the files are for.")
        for text, purpose in _PURPOSES:
            self.purpose.addItem(text, purpose)
        self.purpose.currentIndexChanged.connect(
            lambda _at: self.cases.make_pictures(for_training=self._is_training)
        )
        self.recipients = QListWidget(objectName="recipients")
        self.recipients.setToolTip("Only those who are ticked can open the files.")
        self.recipients.setFixedHeight(self.fontMetrics().height() * _LIST_ROWS)
        self.outbox = FolderPicker("outbox", "Where the files are written; you carry them on.")
        self.outbox.chosen.connect(lambda folder: self._jobs.session.use(outbox=folder))
        self.noise = NoiseBox(
            "Random noise on all features that leave. It makes some attacks harder and the masks "
            "worse. If the training had noise, give the same here."
        )
        self.apart = QCheckBox("Patients in &separate files", objectName="apart")
        self.apart.setToolTip(
            "For training: three files, each of other patients, in place of one. The mapping "
            "server can then train so that it is harder to tell who took part."
        )
        more = Section("More settings", "They are good as they are for most studies.")
        more.setObjectName("more_settings")
        rare = QWidget()
        rare_form = QFormLayout(rare)
        rare_form.addRow("&Noise on features", self.noise)
        rare_form.addRow(self.apart)
        more.addWidget(rare)
        self.review = button(
            "&Review what leaves…",
            "review",
            "Look at everything before a file is written.",
            self.start_review,
        )
        self.panel = JobPanel(self._jobs)
        self._turns = InTurn(self.panel, "taken", [self.review])
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
        form.addRow("&Purpose", self.purpose)
        form.addRow("Recip&ients", self.recipients)
        form.addRow("Out&box", self.outbox)
        layout = scrolled(self)
        layout.addWidget(self.state)
        layout.addLayout(sources)
        layout.addWidget(self.cases)
        layout.addLayout(form)
        layout.addWidget(more)
        layout.addWidget(self.review)
        layout.addWidget(self.panel)
        layout.addStretch()

    @property
    def _is_training(self) -> bool:
        return bool(self.purpose.currentData() == "training")

    @property
    def _parts(self) -> int:
        return CROSS_FIT_FOLDS if self._is_training and self.apart.isChecked() else 1

    @property
    def _opened(self) -> tuple[Path | None, str, str]:
        """Whose bundles would be written now: site folder, key and sender."""
        session = self._jobs.session
        return (
            session.site.folder if session.site else None,
            session.key.key_id if session.key else "",
            session.identity.fingerprint if session.identity else "",
        )

    def add_layers(self) -> None:
        """Take the selected image layers; one that is no file yet is saved at the site first."""
        from napari.layers import Image

        images = [one for one in self._viewer.layers if isinstance(one, Image)]
        chosen = [one for one in images if one in self._viewer.layers.selection]
        if len(images) == 1:  # there is nothing to select among
            chosen = images
        if not chosen:
            self.panel.refuse("No image layer is selected.", "Select one in the list of layers.")
            return
        try:
            read = [
                (read_layer(layer, frame=shown_frame(self._viewer, layer)), layer)
                for layer in chosen
            ]
        except PPCMIError as error:
            self.panel.refuse(error.message, error.hint)
            return
        files, site = [], self._jobs.session.site
        for image, layer in read:
            path = Path(image.source)
            if image.source and path.exists() and not image.is_part:
                files.append(CaseInfo(name=case_name(path), image=path))
            elif site is not None:
                self._keep(image, layer, site.folder)
            else:
                self.panel.refuse(
                    "No site is open.", "Unlock your key on the Key page first.", is_locked=True
                )
        self.cases.add(files)
        self._turns.go_on()

    def add_paths(self, paths: list[Path]) -> None:
        """Take files and folders."""
        request = FindCases(paths=tuple(paths), need_masks=self._is_training)
        self.panel.run(request, self._found, disable=[self.review])

    def start_review(self) -> None:
        """Show what would leave; nothing is written yet."""
        wanted = self._wanted()
        if wanted is not None:
            self._under_review = wanted
            self.panel.run(wanted.reviewed, self._show_review, disable=[self.review])

    def _wanted(self) -> WriteBundles | None:
        cases, ticked, out = self.cases.cases, self._ticked(), self.outbox.path
        if not cases:
            self.panel.refuse("No image is chosen.", "Take selected layers, files or a folder.")
        elif not ticked:
            self.panel.refuse("Nobody is chosen to open the files.", "Tick at least one recipient.")
        elif out is None:
            self.panel.refuse("No outbox is chosen.", "Choose the folder that the files go to.")
        else:
            site_folder, key_id, sender = self._opened
            reviewed = ReviewExport(
                purpose=self.purpose.currentData(),
                cases=cases,
                recipients=ticked,
                site_folder=site_folder,
                key_id=key_id,
                sender=sender,
                parts=self._parts,
                noise=self.noise.level,
                device=self._jobs.session.device,
            )
            return WriteBundles(reviewed=reviewed, out=out)
        return None

    def _show_review(self, review: ExportReview) -> None:
        wanted, site = self._under_review, self._jobs.session.site
        of = (wanted.reviewed.site_folder, wanted.reviewed.key_id, wanted.reviewed.sender)
        if site is None or self._opened != of:
            self.panel.refuse(
                "Another site is open by now, or none, so nothing was written.",
                "Review what leaves once more.",
            )
            return
        self.dialog = ReviewDialog(review, site.study.arrangement, self)
        self.dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        # Not what the page says by then: it could be changed while the review was being made.
        self.dialog.accepted.connect(
            lambda: self.panel.run(wanted, self._written, disable=[self.review])
        )
        self.dialog.open()

    def _written(self, result: BatchResult) -> None:
        told = f"Wrote {len(result.written)} file(s) to the outbox."
        if result.skipped:
            told += f" {len(result.skipped)} were there already."
        self._jobs.say(told)
        self._show_problems(result.problems)
        self._jobs.session.arrived.emit("outbox")
        self.written.emit(result)

    def _found(self, found: CasesFound) -> None:
        self.cases.add(found.cases)
        self._show_problems(found.problems)

    def _show_problems(self, problems: Any) -> None:
        if problems:
            text = " ".join(one.failure.text for one in problems)
            self.panel.show_failure(Failure(message=f"{len(problems)} left out. {text}"))

    def _keep(self, image: LayerImage, layer: Image, folder: Path) -> None:
        request = KeepLayer(
            arrays=(image.data,),
            name=image.name,
            folder=folder / "layers",
            spacing=image.geometry.spacing,
            has_physical_size=image.geometry.has_physical_size,
        )

        def kept(case: CaseInfo) -> None:
            self._jobs.session.kept_layers[str(case.image)] = ref(layer), image.frame
            self.cases.add([case])

        self._turns.add(image.name, request, kept)

    def _show_session(self) -> None:
        session = self._jobs.session
        self.outbox.show_path(session.outbox)
        if session.site is None or session.identity is None:
            self.state.setText("Locked. Unlock key and identity on the Key page first.")
            self.recipients.clear()
            self._offered = None
            return
        study = session.site.study
        self.state.setText(f"Site {session.site.name}, study {study.name} ({study.arrangement}).")
        self.cases.make_pictures()
        job = self._jobs.submit(LookAtHome(home=session.home))
        job.succeeded.connect(self._show_recipients)

    def _show_recipients(self, home: HomeInfo) -> None:
        """List who can be ticked; ticks stay for as long as home and identity are the same."""
        identity = self._jobs.session.identity
        if identity is None or home.home != self._jobs.session.home:
            return  # locked, or another one, meanwhile
        before, self._offered = self._offered, (home.home, identity.fingerprint)
        ticked = set(self._ticked()) if before == self._offered else set()
        self.recipients.clear()
        rows = [(c.name, c.fingerprint, c.words) for c in home.contacts if c.state == "valid"]
        here = ("This computer (mapping network here)", identity.fingerprint, identity.words)
        if before != self._offered and not rows:  # there is nobody to choose among
            ticked = {identity.fingerprint}
        for name, fingerprint, words in [*rows, here]:
            item = QListWidgetItem(name)
            item.setData(_ROLE, fingerprint)
            item.setToolTip(words)
            is_ticked = fingerprint in ticked
            item.setCheckState(Qt.CheckState.Checked if is_ticked else Qt.CheckState.Unchecked)
            self.recipients.addItem(item)

    def _ticked(self) -> tuple[str, ...]:
        """Fingerprints of who can open the files."""
        items = [self.recipients.item(at) for at in range(self.recipients.count())]
        return tuple(i.data(_ROLE) for i in items if i.checkState() == Qt.CheckState.Checked)

    def _ask_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Choose images")
        if names:
            self.add_paths([Path(name) for name in names])

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Choose a folder of images")
        if name:
            self.add_paths([Path(name)])
