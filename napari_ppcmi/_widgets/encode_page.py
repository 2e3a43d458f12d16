"""Choose images, look at what would leave, and write the bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import ref

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._overlay import LayerImage, read_layer
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
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.parts import FolderPicker, button, listen, wrapping
from napari_ppcmi._widgets.review_dialog import ReviewDialog
from ppcmi_sf.errors import PPCMIError

if TYPE_CHECKING:
    from napari.layers import Image

_ROLE = Qt.ItemDataRole.UserRole
_LIST_ROWS = 5
_PURPOSES: tuple[tuple[str, Purpose], ...] = (
    ("Ask for masks of these images", "query"),
    ("Give images with masks, to train the mapping network", "training"),
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
        self._to_keep: list[tuple[LayerImage, Image]] = []
        self.dialog: ReviewDialog | None = None
        self._build()
        listen(self, self._jobs.session.changed, self._show_session)
        self._show_session()

    def _build(self) -> None:
        self.state = wrapping(name="site")
        self.cases = QListWidget(objectName="cases")
        self.cases.setToolTip("The images whose protected features would be written.")
        self.cases.setFixedHeight(self.fontMetrics().height() * 2 * _LIST_ROWS)
        sources = QHBoxLayout()
        for text, name, tip, slot in (
            ("Selected &layers", "add_layers", "Take the selected layers.", self.add_layers),
            ("&Files…", "add_files", "Take image files.", self._ask_files),
            ("F&older…", "add_folder", "Take every image of a folder.", self._ask_folder),
            ("C&lear", "clear", "Empty the list. No file is touched.", self.cases.clear),
        ):
            sources.addWidget(button(text, name, tip, slot))
        self.purpose = QComboBox(objectName="purpose")
        self.purpose.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        for text, purpose in _PURPOSES:
            self.purpose.addItem(text, purpose)
        self.recipients = QListWidget(objectName="recipients")
        self.recipients.setToolTip("Only those who are ticked can open the files.")
        self.recipients.setFixedHeight(self.fontMetrics().height() * _LIST_ROWS)
        self.outbox = FolderPicker("outbox", "Where the files are written; you carry them on.")
        self.outbox.chosen.connect(lambda folder: self._jobs.session.use(outbox=folder))
        self.review = button(
            "&Review what leaves…",
            "review",
            "Look at everything before a file is written.",
            self.start_review,
        )
        self.panel = JobPanel(self._jobs)
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)
        form.addRow("&Purpose", self.purpose)
        form.addRow("Recip&ients", self.recipients)
        form.addRow("Out&box", self.outbox)
        layout = QVBoxLayout(self)
        layout.addWidget(self.state)
        layout.addLayout(sources)
        layout.addWidget(self.cases)
        layout.addLayout(form)
        layout.addWidget(self.review)
        layout.addWidget(self.panel)
        layout.addStretch()

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
            read = [(read_layer(layer), layer) for layer in chosen]
        except PPCMIError as error:
            self.panel.refuse(error.message, error.hint)
            return
        for image, layer in read:
            if image.source and Path(image.source).exists():
                name = Path(image.source).name.split(".")[0]
                self._add(CaseInfo(name=name, image=Path(image.source)), layer.thumbnail)
            else:
                self._to_keep.append((image, layer))
        self._keep_next()

    def add_paths(self, paths: list[Path]) -> None:
        """Take files and folders."""
        request = FindCases(paths=tuple(paths), need_masks=self.purpose.currentData() == "training")
        self.panel.run(request, self._found, disable=[self.review])

    def start_review(self) -> None:
        """Show what would leave; nothing is written yet."""
        wanted = self._wanted()
        if wanted is None:
            return
        purpose, cases, recipients, _ = wanted
        request = ReviewExport(
            purpose=purpose, cases=cases, recipients=recipients, device=self._jobs.session.device
        )
        self.panel.run(request, self._show_review, disable=[self.review])

    def _wanted(
        self,
    ) -> tuple[Literal["query", "training"], tuple[CaseInfo, ...], tuple[str, ...], Path] | None:
        cases = [self.cases.item(at).data(_ROLE) for at in range(self.cases.count())]
        items = [self.recipients.item(at) for at in range(self.recipients.count())]
        ticked = [i.data(_ROLE) for i in items if i.checkState() == Qt.CheckState.Checked]
        out = self.outbox.folder
        if not cases:
            self.panel.refuse("No image is chosen.", "Take selected layers, files or a folder.")
        elif not ticked:
            self.panel.refuse("Nobody is chosen to open the files.", "Tick at least one recipient.")
        elif out is None:
            self.panel.refuse("No outbox is chosen.", "Choose the folder that the files go to.")
        else:
            return self.purpose.currentData(), tuple(cases), tuple(ticked), out
        return None

    def _show_review(self, review: ExportReview) -> None:
        site = self._jobs.session.site
        self.dialog = ReviewDialog(review, site.study.arrangement if site else "", self)
        self.dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.dialog.accepted.connect(self._write)
        self.dialog.open()

    def _write(self) -> None:
        wanted = self._wanted()
        if wanted is None:
            return
        purpose, cases, recipients, out = wanted
        request = WriteBundles(
            purpose=purpose,
            cases=cases,
            recipients=recipients,
            out=out,
            device=self._jobs.session.device,
        )
        self.panel.run(request, self._written, disable=[self.review])

    def _written(self, result: BatchResult) -> None:
        told = f"Wrote {len(result.written)} file(s) to the outbox."
        if result.skipped:
            told += f" {len(result.skipped)} were there already."
        self._jobs.say(told)
        self._show_problems(result.problems)
        self._jobs.session.arrived.emit("outbox")
        self.written.emit(result)

    def _found(self, found: CasesFound) -> None:
        for case in found.cases:
            self._add(case)
        self._show_problems(found.problems)

    def _show_problems(self, problems: Any) -> None:
        if problems:
            text = " ".join(f"{one.failure.message} {one.failure.hint}" for one in problems)
            self.panel.show_failure(Failure(message=f"{len(problems)} left out. {text}"))

    def _keep_next(self) -> None:
        site = self._jobs.session.site
        if not self._to_keep:
            return
        if site is None:
            self._to_keep.clear()
            self.panel.refuse("No site is open.", "Unlock your key on the Key page first.")
            return
        image, layer = self._to_keep.pop(0)
        request = KeepLayer(
            arrays=(image.data,),
            name=image.name,
            folder=site.folder / "layers",
            spacing=image.geometry.spacing,
            has_physical_size=image.geometry.has_physical_size,
        )

        def kept(case: CaseInfo) -> None:
            self._jobs.session.kept_layers[str(case.image)] = ref(layer)
            self._add(case, layer.thumbnail)

        self.panel.run(request, kept, disable=[self.review]).finished.connect(self._keep_next)

    def _add(self, case: CaseInfo, thumbnail: Any = None) -> None:
        known = [self.cases.item(at).data(_ROLE).image for at in range(self.cases.count())]
        if case.image in known:
            return
        item = QListWidgetItem(case.name)
        item.setData(_ROLE, case)
        item.setToolTip(str(case.image))
        if thumbnail is not None:
            rgba = np.ascontiguousarray(thumbnail, np.uint8)
            rows, columns = rgba.shape[:2]
            picture = QImage(
                rgba.tobytes(), columns, rows, 4 * columns, QImage.Format.Format_RGBA8888
            )
            item.setIcon(QIcon(QPixmap.fromImage(picture.copy())))
        self.cases.addItem(item)

    def _show_session(self) -> None:
        session = self._jobs.session
        self.outbox.show_folder(session.outbox)
        if session.site is None or session.identity is None:
            self.state.setText("Locked. Unlock key and identity on the Key page first.")
            self.recipients.clear()
            return
        study = session.site.study
        self.state.setText(f"Site {session.site.name}, study {study.name} ({study.arrangement}).")
        job = self._jobs.submit(LookAtHome(home=session.home))
        job.succeeded.connect(self._show_recipients)

    def _show_recipients(self, home: HomeInfo) -> None:
        identity = self._jobs.session.identity
        if identity is None:
            return
        self.recipients.clear()
        rows = [(c.name, c.fingerprint, c.words) for c in home.contacts if c.state == "valid"]
        here = ("This computer (mapping network here)", identity.fingerprint, identity.words)
        for name, fingerprint, words in [*rows, here]:
            item = QListWidgetItem(name)
            item.setData(_ROLE, fingerprint)
            item.setToolTip(words)
            item.setCheckState(Qt.CheckState.Unchecked)
            self.recipients.addItem(item)
        if self.recipients.count() == 1:
            self.recipients.item(0).setCheckState(Qt.CheckState.Checked)

    def _ask_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Choose images")
        if names:
            self.add_paths([Path(name) for name in names])

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Choose a folder of images")
        if name:
            self.add_paths([Path(name)])
