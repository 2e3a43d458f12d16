"""What the sites of a collaboration agree on, asked for in a dialog."""

from __future__ import annotations

from typing import Literal

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QDialog,
    QDialogButtonBox,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QRadioButton,
    QSpinBox,
    QTextEdit,
    QWidget,
)

from napari_ppcmi._jobs import Jobs
from napari_ppcmi._protocol.keys import StudyInfo
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._protocol.training import NewStudy
from napari_ppcmi._widgets.parts import FilePicker, Note, finish_buttons, open_at, wrapping
from napari_ppcmi._widgets.study_fields import BrightnessFields, NetworkSettings
from napari_ppcmi._widgets.training_parts import (
    add_foot,
    add_picker,
    chooser,
    named,
    scrolled,
    wrapped_form,
)

_MODALITIES = (
    ("Magnetic resonance (MR)", "MR"),
    ("Ultrasound (US)", "US"),
    ("Computed tomography (CT)", "CT"),
    ("X-ray (XR)", "XR"),
    ("Something else", "OTHER"),
)
_ARRANGEMENTS: tuple[tuple[Literal["escrow", "blind"], str, str], ...] = (
    (
        "escrow",
        "&Escrow",
        "Each site gives the mapping server a secret made from its key, so the server can undo the "
        "protection: it sees the features themselves, which are like a coarse picture. Choose it "
        "where you trust the server and fear that somebody else opens a bundle.",
    ),
    (
        "blind",
        "Bl&ind",
        "The mapping server holds no secret and works on protected features alone. Whoever opens a "
        "bundle, the server too, sees the layout of its images, and with one known image can learn "
        "to make pictures of the others. Choose it only where the server must not hold a key.",
    ),
)
_STEP = 32
_WIDTH, _HEIGHT = 400, 720


class NewStudyDialog(QDialog):
    """Asks for a study and writes its file.

    Parameters
    ----------
    jobs
        The viewer's.
    """

    made = Signal(object)
    """Path of the new study file."""

    def __init__(self, jobs: Jobs, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._jobs = jobs
        self.setWindowTitle("New study")
        self._make_fields()
        self._arrange()

    def _make_fields(self) -> None:
        self.name = named(QLineEdit(), "study_name", "Everybody sees it. Name no patient.")
        self.modality = chooser("modality", "What took the images.")
        for text, value in _MODALITIES:
            self.modality.addItem(text, value)
        self.structures = named(
            QTextEdit(),
            "structures",
            "One a line, in the order of their values in the masks: the first is 1. The "
            "background, 0, needs no line.",
        )
        self.structures.setTabChangesFocus(True)
        self.structures.setAcceptRichText(False)
        self.structures.setPlaceholderText("left ventricle")
        self.structures.setFixedHeight(self.fontMetrics().height() * 5)
        self.rows, self.columns = _side("rows"), _side("columns")
        self.brightness = BrightnessFields()
        self.modality.currentIndexChanged.connect(
            lambda: self.brightness.require_window(self.modality.currentData() == "CT")
        )
        self.networks = NetworkSettings()
        tip = "The file that you then give to all partners."
        self.file = FilePicker("study_file", tip, "Studies (*.yaml)", new=True)
        self.arrangement = QButtonGroup(self)
        self.error = Note("study_error")
        kinds = QDialogButtonBox.StandardButton
        self.buttons = QDialogButtonBox(kinds.Save | kinds.Cancel)
        self.buttons.accepted.connect(self.save)
        self.buttons.rejected.connect(self.reject)

    def _arrange(self) -> None:
        size = QHBoxLayout()
        size.addWidget(self.rows)
        size.addWidget(self.columns)
        form = wrapped_form()
        form.addRow("&Name", self.name)
        form.addRow("&Modality", self.modality)
        form.addRow("&Brightness", self.brightness)
        form.addRow("&Structures, one per line", self.structures)
        form.addRow(_label("Si&ze of the networks' images: rows and columns", self.rows), size)
        layout = scrolled(self)
        layout.addLayout(form)
        for number, (value, text, sentence) in enumerate(_ARRANGEMENTS):
            choice = named(QRadioButton(text), value, sentence)
            choice.setChecked(number == 0)
            self.arrangement.addButton(choice, number)
            layout.addWidget(choice)
            layout.addWidget(wrapping(sentence))
        last = wrapped_form()
        add_picker(last, "&File", self.file)
        layout.addWidget(self.networks)
        layout.addLayout(last)
        layout.addStretch(1)
        add_foot(self, self.error, self.buttons)
        open_at(self, _WIDTH, _HEIGHT)
        finish_buttons(self.buttons, "Write the study file.")

    def save(self) -> None:
        """Write the study; the dialog stays open if something is wrong with it."""
        lines = self.structures.toPlainText().splitlines()
        names = tuple(line.strip() for line in lines if line.strip())
        file = self.file.path
        if not self.name.text().strip() or not names or file is None:
            self._refuse("A study needs a name, at least one structure and a file.")
            return
        request = NewStudy(
            file=file if file.suffix else file.with_suffix(".yaml"),
            name=self.name.text().strip(),
            modality=self.modality.currentData(),
            class_names=names,
            image_size=(self.rows.value(), self.columns.value()),
            window=self.brightness.window,
            percentiles=self.brightness.percentiles,
            arrangement=_ARRANGEMENTS[self.arrangement.checkedId()][0],
            **self.networks.chosen,
        )
        job = self._jobs.submit(request)
        job.succeeded.connect(self._saved)
        job.failed.connect(self._failed)

    def _saved(self, study: StudyInfo) -> None:
        self.made.emit(study.file)
        self.accept()

    def _failed(self, failure: Failure) -> None:
        self._refuse(failure.text)

    def _refuse(self, text: str) -> None:
        self.error.tell(text)


def _label(text: str, field: QWidget) -> QLabel:
    label = QLabel(text)
    label.setBuddy(field)
    return label


def _side(name: str) -> QSpinBox:
    tip = f"{name.capitalize()}, a multiple of {_STEP}. Every image is fitted to it."
    box = named(QSpinBox(), name, tip)
    box.setRange(_STEP, 2048)
    box.setSingleStep(_STEP)
    box.setValue(256)
    box.setAccessibleName(f"Image {name}")
    return box
