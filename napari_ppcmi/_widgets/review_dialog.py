"""“What leaves this computer”: everything that a bundle will hold, before it is written."""

from __future__ import annotations

from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QImage, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QDialogButtonBox,
    QGridLayout,
    QHeaderView,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._protocol.bundles import ExportReview
from napari_ppcmi._widgets.parts import finish_buttons, open_at, show_only, wrapping
from ppcmi_sf.files import size_in_words

_PICTURE = 220
_COLUMN = 44
_TABLE_HEIGHT = 300

_EVERYBODY = (
    ("This site", "everything of its own", "images, masks and features of others"),
    ("Anybody who gets hold of the file", "its size and the recipients' fingerprints",
     "anything else"),
)  # fmt: skip
WHO_SEES = {
    "escrow": (
        *_EVERYBODY,
        ("The mapping server", "the site's features: a coarse picture of the image",
         "images, masks, decoders, client keys"),
        ("Another site", "nothing; of an opened file its decoder makes noise", "the rest"),
    ),
    "blind": (
        *_EVERYBODY,
        ("The mapping server",
         "protected features, through which the layout shows; with one known image it can learn "
         "to make pictures of the others",
         "images, masks, decoders, client keys"),
        ("Another site", "nothing; of an opened file its decoder may make a picture", "the rest"),
    ),
}  # fmt: skip


class ReviewDialog(QDialog):
    """Shows a review; accepted when the user says that it may leave.

    Parameters
    ----------
    review
        What would be written.
    arrangement
        Of the study: ``escrow`` or ``blind``.
    """

    def __init__(
        self, review: ExportReview, arrangement: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("What leaves this computer")
        open_at(self, 620, 760)
        content = QWidget()
        inner = QVBoxLayout(content)
        for part in self._parts(review, arrangement):
            inner.addWidget(part)
        inner.addStretch()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setWidget(content)
        self.agree = QCheckBox("I have looked at this, and it may &leave.", objectName="agree")
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.write = self.buttons.addButton(
            "&Write the files", QDialogButtonBox.ButtonRole.AcceptRole
        )
        self.write.setObjectName("write")
        self.write.setEnabled(False)
        self.agree.setToolTip("Tick it when you have looked: then the files can be written.")
        self.agree.toggled.connect(self.write.setEnabled)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.addWidget(scroll)
        layout.addWidget(self.agree)
        layout.addWidget(self.buttons)
        finish_buttons(self.buttons, "Write the files to the outbox; you carry them on.")

    def _parts(self, review: ExportReview, arrangement: str) -> list[QWidget]:
        files = f"{review.bundles} file{'s' if review.bundles != 1 else ''}"
        summary = wrapping(
            f"{files} with the protected features of {review.items} "
            f"slice{'s' if review.items != 1 else ''}, about {size_in_words(review.byte_count)}. "
            "No image, mask, name, date, path or position in the scanner is in them. Encrypted to "
            "the recipients below, signed by you.",
            "summary",
        )
        closeness = wrapping(
            f"Right: the best that somebody without your key made of the features here, by "
            f"{review.method}. Likeness to the original: |r| = {review.correlation:.2f}, "
            f"SSIM = {review.ssim:.2f} (1 is the same picture). This is one try with the decoders "
            "at hand, not a proof: protecting features is not encryption, and features of patients "
            "remain patient data.",
            "closeness",
        )
        parts: list[QWidget] = [summary, _pictures(review), closeness]
        if review.noise:
            parts.append(wrapping(f"With {review.noise}.", "noise"))
        if review.problems:
            why = "\n".join(f"{one.name}: {one.failure.text}" for one in review.problems)
            parts += [_heading(f"Left out: {len(review.problems)}"), wrapping(why, "left_out")]
        recipients = [(one.name, one.words) for one in review.recipients]
        for heading, columns, rows in (
            ("Who can open it", ("Recipient", "Fingerprint"), recipients),
            ("Every field of the header", ("Field", "Text"), review.header),
            (f"Who can see what (this study: {arrangement})", ("Who", "sees", "does not see"),
             WHO_SEES[arrangement]),
        ):  # fmt: skip
            table = _table(columns, rows)
            table.setAccessibleName(heading)
            table.setToolTip(f"{heading}.")
            parts += [_heading(heading), table]
        return parts


def _heading(text: str) -> QLabel:
    label = wrapping(text)
    font = label.font()
    font.setBold(True)
    label.setFont(font)
    return label


def _pictures(review: ExportReview) -> QWidget:
    shown = QWidget()
    grid = QGridLayout(shown)
    captions = (f"Original: {review.picture_of} (stays here)", "Without your key")
    for column, (array, caption) in enumerate(zip(review.arrays, captions, strict=True)):
        picture = QLabel(objectName=("original", "reconstruction")[column])
        picture.setPixmap(_pixmap(array))
        picture.setAccessibleName(caption)
        grid.addWidget(picture, 0, column, Qt.AlignmentFlag.AlignCenter)
        grid.addWidget(wrapping(caption), 1, column)
    return shown


def _pixmap(values: NDArray[np.float32]) -> QPixmap:
    grey = np.ascontiguousarray(np.clip(values, 0, 1) * 255, np.uint8)
    rows, columns = grey.shape
    image = QImage(grey.tobytes(), columns, rows, columns, QImage.Format.Format_Grayscale8)
    return QPixmap.fromImage(image).scaled(
        _PICTURE,
        _PICTURE,
        Qt.AspectRatioMode.KeepAspectRatio,
        Qt.TransformationMode.SmoothTransformation,
    )


def _table(headings: tuple[str, ...], rows: object) -> QTableWidget:
    listed = [tuple(row) for row in rows]  # type: ignore[attr-defined]
    table = QTableWidget(len(listed), len(headings))
    show_only(table, headings)
    for at, row in enumerate(listed):
        for column, text in enumerate(row):
            # Fingerprints have no place to break at, and nothing may be cut off here.
            table.setItem(at, column, QTableWidgetItem("\n".join(wrap(text, _COLUMN))))
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
    table.setWordWrap(True)
    table.resizeRowsToContents()
    table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    table.setSizeAdjustPolicy(QTableWidget.SizeAdjustPolicy.AdjustToContents)
    table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    table.setMaximumHeight(_TABLE_HEIGHT)
    return table
