"""The images that are chosen to leave as features, each with a picture of what goes in."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSize
from qtpy.QtGui import QIcon, QImage, QPixmap
from qtpy.QtWidgets import QListWidget, QListWidgetItem, QStyle, QVBoxLayout, QWidget

from napari_ppcmi._jobs import Job, Jobs
from napari_ppcmi._protocol.bundles import CaseInfo
from napari_ppcmi._protocol.images import MakeThumbnail, Thumbnail
from napari_ppcmi._protocol.message import Failure, Step
from napari_ppcmi._widgets.parts import Note, button

MOST_PICTURES = 40
"""So many images get a picture; a folder may hold thousands."""

_SIDE = 48
_ROWS_SHOWN = 4


class CaseList(QWidget):
    """Lists cases; pictures of them come one after another from the worker.

    Parameters
    ----------
    jobs
        The viewer's. Without an open site there are no pictures yet.
    """

    def __init__(self, jobs: Jobs, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._jobs = jobs
        self._for_training = False
        self._job: Job | None = None
        self._cases: dict[Path, CaseInfo] = {}  # by their images, in the order of the list
        self._done: set[Path] = set()  # images that need no picture any more
        self._is_stopped = False
        self.list = QListWidget(objectName="cases")
        self.list.setAccessibleName("Images")
        self.list.setToolTip("The images whose protected features would be written.")
        self.list.setIconSize(QSize(_SIDE, _SIDE))
        self.list.setFixedHeight(_ROWS_SHOWN * (_SIDE + 4) + 4)
        self.note = Note("pictures_note")
        self.stop_button = button(
            "S&top the pictures", "stop_pictures", "Leave the rest without pictures.", self.stop
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        for widget in (self.list, self.note, self.stop_button):
            layout.addWidget(widget)
        self._show_state()

    def count(self) -> int:
        """How many there are."""
        return len(self._cases)

    @property
    def cases(self) -> tuple[CaseInfo, ...]:
        """All of them."""
        return tuple(self._cases.values())

    def add(self, cases: Iterable[CaseInfo]) -> None:
        """Add cases, but none whose image is in the list already."""
        for case in cases:
            if case.image in self._cases:
                continue
            self._cases[case.image] = case
            item = QListWidgetItem(case.name)
            item.setToolTip(str(case.image))
            self.list.addItem(item)
            self._is_stopped = False
        self.make_pictures()

    def clear(self) -> None:
        """Empty the list."""
        self.list.clear()
        self._cases.clear()
        self._done.clear()
        self._show_state()

    def make_pictures(self, *, for_training: bool | None = None) -> None:
        """Go on with the pictures, where any is missing and a site is open.

        Parameters
        ----------
        for_training
            Whether the images are read as for training pairs; as before, unless told.
        """
        if for_training is not None:
            self._for_training = for_training
        case = self._next_case()
        if self._job is None and case is not None and self._jobs.session.site is not None:
            request = MakeThumbnail(image=case.image, for_training=self._for_training, side=_SIDE)
            self._job = job = self._jobs.submit(request)
            job.progressed.connect(self._tell)
            job.succeeded.connect(self._show_picture)
            job.failed.connect(self._show_failure)
            job.cancelled.connect(self.stop)
            job.finished.connect(self._go_on)
        self._show_state()

    def stop(self) -> None:
        """Make no more pictures, until another image is added."""
        self._is_stopped = True
        if self._job is not None:
            self._job.cancel()
        self._show_state()

    def _next_case(self) -> CaseInfo | None:
        if self._is_stopped:
            return None
        return next((one for one in self._pictured() if one.image not in self._done), None)

    def _pictured(self) -> Iterable[CaseInfo]:
        """Those that get a picture: so few that looking through them takes no time."""
        return islice(self._cases.values(), MOST_PICTURES)

    def _go_on(self) -> None:
        self._job = None
        self.make_pictures()

    def _tell(self, step: Step) -> None:
        self._jobs.say(step.message)

    def _show_picture(self, answer: Thumbnail) -> None:
        self._finish(QIcon(_pixmap(answer.arrays[0])), "")

    def _show_failure(self, failure: Failure) -> None:
        style = self.style()
        assert style is not None
        warning = QStyle.StandardPixmap.SP_MessageBoxWarning
        self._finish(style.standardIcon(warning), failure.text)

    def _finish(self, icon: QIcon, told: str) -> None:
        """Show what came of the picture that was asked for; its case may be gone."""
        assert self._job is not None
        request = self._job.request
        assert isinstance(request, MakeThumbnail)
        self._done.add(request.image)
        for row, case in enumerate(self._pictured()):
            item = self.list.item(row)
            if case.image == request.image and item is not None:
                item.setIcon(icon)
                item.setToolTip(f"{request.image}\n{told}".strip())

    def _show_state(self) -> None:
        pictured = sum(one.image in self._done for one in self._pictured())
        wanted = min(self.count(), MOST_PICTURES)
        told = ""
        if self._job is not None:
            told = f"Making pictures: {pictured} of {wanted}."
        elif self.count() > MOST_PICTURES and pictured == wanted:
            told = f"{self.count()} images; the first {MOST_PICTURES} have a picture."
        self.note.tell(told)
        self.stop_button.setVisible(self._job is not None and not self._is_stopped)


def _pixmap(grey: NDArray[np.uint8]) -> QPixmap:
    rows, columns = grey.shape
    plain = np.ascontiguousarray(grey).tobytes()
    image = QImage(plain, columns, rows, columns, QImage.Format.Format_Grayscale8)
    return QPixmap.fromImage(image.copy())
