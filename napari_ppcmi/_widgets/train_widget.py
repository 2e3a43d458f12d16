"""Train a site's two networks on its own images; nothing leaves this computer."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtWidgets import (
    QLineEdit,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.training import SiteTrained, TrainSite
from napari_ppcmi._widgets.described_pickers import StudyPicker
from napari_ppcmi._widgets.docked import end_with_dock
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.layer_pairs import LayerPairs
from napari_ppcmi._widgets.loss_curve import LossCurve
from napari_ppcmi._widgets.new_study_dialog import NewStudyDialog
from napari_ppcmi._widgets.parts import FolderPicker, Note, button, wrapping
from napari_ppcmi._widgets.training_parts import (
    TrainingSettings,
    add_picker,
    chooser,
    left_out,
    named,
    scrolled,
    wrapped_form,
)
from ppcmi_sf.training.fidelity_words import fidelity_lines
from ppcmi_sf.training.fit_options import AUTOENCODER_FIT

_INTRODUCTION = (
    "Two networks learn from your own images and masks how to turn them into features, and back. "
    "The features that you later share are protected with your key. Nothing leaves this computer "
    "here."
)
_CANCELLED = (
    "Cancelled. Press Train with the same settings, and it goes on after the last epoch that was "
    "finished."
)
_TRAIN_LONGER = "Train it anew with more epochs before you send pairs."
_AXES = ("As the file suggests", "First axis", "Second axis", "Third axis")


class TrainWidget(QWidget):
    """Trains a site.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers can be trained with.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._jobs = jobs_for(napari_viewer)
        self._jobs.attach(self)
        end_with_dock(self)
        self._trained: SiteTrained | None = None
        self.dialog: NewStudyDialog | None = None
        self._make_fields(napari_viewer)
        self._arrange(scrolled(self))
        self._show_source()

    def _make_fields(self, viewer: Any) -> None:
        self.study = StudyPicker(self._jobs)
        self.new_study: QPushButton = button(
            "Ne&w study…", "new_study", "Write a study file and use it.", self.open_dialog
        )
        tip = "Of your site, such as north: letters, digits, '-', '_' and '.'."
        self.name = named(QLineEdit(), "name", tip)
        self.from_folder = named(
            QRadioButton("A &folder of images and masks"),
            "from_folder",
            "With images/ and masks/ of equal names in it, or a known data set.",
        )
        self.from_layers = named(
            QRadioButton("La&yers of the viewer"),
            "from_layers",
            "Pairs of an image and the labels drawn on it.",
        )
        self.from_folder.setChecked(True)
        self.from_folder.toggled.connect(self._show_source)
        self.data = FolderPicker("data", "The folder of the images and their masks.")
        self.data.line.setAccessibleName("Folder of images and masks")
        self.pairs = LayerPairs(viewer, self._jobs)
        self.site_folder = FolderPicker(
            "site_folder", "Where the trained networks are kept. It stays on this computer."
        )
        self.settings = TrainingSettings(AUTOENCODER_FIT)
        tip = "Volumes are cut across this axis, slice by slice."
        self.slice_axis = chooser("slice_axis", tip)
        for number, text in enumerate(_AXES):
            self.slice_axis.addItem(text, number - 1 if number else None)
        self.settings.form.insertRow(3, "Slice a&xis", self.slice_axis)
        self.setTabOrder(self.settings.seed, self.slice_axis)
        self.train: QPushButton = button(
            "&Train", "train", "Start, or go on with a training that was stopped.", self.start,
            icon="playback-forward",
        )  # fmt: skip
        self.curve = LossCurve()
        self.curve.hide()
        self.panel = JobPanel(self._jobs, pausable=True)
        self.panel.progressed.connect(self.curve.add)
        self.summary = Note("summary")
        self.use: QPushButton = button(
            "&Use this site", "use_site", "Take its folder on the Key page.", self.use_site
        )
        self.use.hide()

    def _arrange(self, layout: QVBoxLayout) -> None:
        first, second = wrapped_form(), wrapped_form()
        add_picker(first, "&Study", self.study)
        first.addRow(self.new_study)
        first.addRow("&Name of your site", self.name)
        add_picker(second, "Site f&older", self.site_folder)
        layout.addWidget(wrapping(_INTRODUCTION))
        layout.addLayout(first)
        layout.addWidget(wrapping("Learn from"))
        layout.addWidget(self.from_folder)
        layout.addWidget(self.data)
        layout.addWidget(self.from_layers)
        layout.addWidget(self.pairs)
        layout.addLayout(second)
        for widget in (
            self.settings,
            self.train,
            self.curve,
            self.panel,
            self.summary,
            self.use,
        ):
            layout.addWidget(widget)
        layout.addStretch()

    def start(self) -> None:
        """Train with what is in the fields."""
        request = self._request()
        if request is None or not self.settings.may_replace():
            return
        if request.data is not None:
            self._train(request)
            return
        self.train.setEnabled(False)
        self.pairs.confirm(lambda problem: self._train_unless(problem, request))

    def _train_unless(self, problem: str, request: TrainSite) -> None:
        self.train.setEnabled(True)
        if problem:
            self.panel.refuse(problem, "")
        else:
            self._train(request)

    def _train(self, request: TrainSite) -> None:
        self.curve.clear()
        self.curve.show()
        self.summary.hide()
        self.use.hide()
        self.panel.run(
            request,
            self._done,
            disable=[self.train],
            cancelled=partial(self.summary.announce, _CANCELLED),
        )

    def _request(self) -> TrainSite | None:
        """What to do, or ``None`` after saying what is missing."""
        study, folder, name = self.study.path, self.site_folder.path, self.name.text().strip()
        data = self.data.path if self.from_folder.isChecked() else None
        cases = () if self.from_folder.isChecked() else self.pairs.cases
        if study is None:
            self.panel.refuse("No study file is chosen.", "Choose one, or make a new study.")
        elif not name:
            self.panel.refuse("The site has no name.", "Give it a short one, such as north.")
        elif data is None and self.from_folder.isChecked():
            self.panel.refuse("No folder of images is chosen.", "Choose it, or use layers.")
        elif data is None and not cases:
            self.panel.refuse("No pair of layers is chosen.", "Choose two, and press Add pair.")
        elif folder is None:
            self.panel.refuse("No site folder is chosen.", "Choose an empty or a new one.")
        else:
            return TrainSite(
                study_file=study,
                name=name,
                site_folder=folder,
                data=data,
                cases=cases,
                epochs=self.settings.epochs.value(),
                batch_size=self.settings.batch_size.value(),
                seed=self.settings.seed.value(),
                slice_axis=self.slice_axis.currentData(),
                retrain=self.settings.retrain.isChecked(),
                device=self._jobs.session.device,
            )
        return None

    def use_site(self) -> None:
        """Make the folder that was trained last the session's site folder."""
        if self._trained is not None:
            self._jobs.session.use(site_folder=self._trained.site_folder)
            self.use.setEnabled(False)
            self._jobs.say("This site is chosen on the Key page. Make or unlock its key there.")

    def open_dialog(self) -> None:
        """Ask for a new study."""
        self.dialog = NewStudyDialog(self._jobs, self)
        self.dialog.made.connect(self.study.choose)
        self.dialog.open()

    def _done(self, trained: SiteTrained) -> None:
        self._trained = trained
        self.summary.announce(_summary(trained))
        self.use.setEnabled(True)
        self.use.show()

    def _show_source(self) -> None:
        self.data.setVisible(self.from_folder.isChecked())
        self.pairs.setVisible(not self.from_folder.isChecked())


def _summary(trained: SiteTrained) -> str:
    """What came of a training, for people."""
    told = [
        f"The site is trained on {trained.training_slices} slices. Its folder is "
        f"{trained.site_folder}."
    ]
    if trained.image_loss is None or trained.mask_loss is None:
        told.append("Too few cases for setting some apart, so nothing is known of how good it is.")
    else:
        told.append(
            f"On {trained.validation_slices} slices set apart the error is "
            f"{trained.image_loss:.3g} for images and {trained.mask_loss:.3g} for masks; the "
            "lower, the better."
        )
    told += fidelity_lines(trained.mask_dice, "the site's mask autoencoder", _TRAIN_LONGER)
    told.append(left_out(trained.problems))
    return "\n".join(filter(None, told))
