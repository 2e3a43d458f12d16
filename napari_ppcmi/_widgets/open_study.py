"""Open image files and DICOM folders in the worker, and the masks that were kept from before."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QWidget,
)

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._layers import is_oblique, look_in_plane
from napari_ppcmi._overlay import find_image, in_place, make_overlay, opened_layers
from napari_ppcmi._protocol.images import (
    FrameChoice,
    KeptMaskList,
    KeptMasks,
    ListSeries,
    Mask,
    OpenedImage,
    OpenImage,
    OpenKeptMask,
    SeriesList,
)
from napari_ppcmi._widgets.docked import end_with_dock
from napari_ppcmi._widgets.in_turn import InTurn
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.part_chooser import PartChooser, of_series
from napari_ppcmi._widgets.parts import Note, accept_files, button, dropped_files, listen, wrapping
from napari_ppcmi._widgets.training_parts import scrolled

if TYPE_CHECKING:
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

_OBLIQUE = (
    "This volume lies oblique in space. It is shown straight, slice by slice as it was taken; "
    "masks are saved exactly in its place."
)
_LIST_HEIGHT = 110


class OpenStudy(QWidget):
    """Opens images where napari's window stays free meanwhile.

    Parameters
    ----------
    napari_viewer
        Gets the layers.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._jobs = jobs_for(napari_viewer)
        self._jobs.attach(self)
        end_with_dock(self)
        self.setAcceptDrops(True)
        self._build()
        session = self._jobs.session
        listen(self, session.changed, self._list_kept)
        listen(self, session.arrived, self._on_arrived)
        self._list_kept()

    def _build(self) -> None:
        self.file_button = button(
            "Open &file…", "open_file", "Open images of any format that is read.", self._ask_files
        )
        self.folder_button = button(
            "Open &DICOM folder…", "open_folder", "Open a series of DICOM files.", self._ask_folder
        )
        self.parts = PartChooser()
        self.parts.chosen.connect(self._open_part)
        self.panel = JobPanel(self._jobs)
        self.note = Note("note")
        self.kept = _list("kept", "Masks that were saved by themselves; the newest first.")
        self.kept_button = button(
            "&Open", "open_kept", "Lay the chosen mask over its image.", self._open_kept
        )
        row = QHBoxLayout()
        row.addWidget(self.file_button)
        row.addWidget(self.folder_button)
        layout = scrolled(self)
        layout.addLayout(row)
        layout.addWidget(wrapping("Or drop files here."))
        for widget in (self.parts, self.note, self.panel):
            layout.addWidget(widget)
        self.kept_title = wrapping("Masks kept from before")
        for widget in (self.kept_title, self.kept, self.kept_button):
            layout.addWidget(widget)
        layout.addStretch()
        buttons = [self.file_button, self.folder_button, self.parts, self.kept_button]
        self._turns = InTurn(self.panel, "opened", buttons)

    def open(self, paths: list[Path]) -> None:
        """Open files and DICOM folders, one after another."""
        for path in paths:
            if path.is_dir():
                listed = partial(self._choose_series, path)
                self._turns.add(path.name, ListSeries(folder=path), listed)
            else:
                self._turns.add(path.name, OpenImage(path=path), partial(self._take, ""))
        self._turns.go_on()

    def _choose_series(self, folder: Path, found: SeriesList) -> None:
        if len(found.series) == 1:
            request, told = of_series(folder, found.series[0], 1)
            self._turns.add_step(_name_of(request), request, partial(self._take, told))
        else:
            self.parts.ask_series(folder, found)

    def _open_part(self, request: OpenImage, told: str) -> None:
        self._turns.add(_name_of(request), request, partial(self._take, told))
        self._turns.go_on()

    def _take(self, told: str, answer: OpenedImage | FrameChoice) -> None:
        if isinstance(answer, FrameChoice):
            self.parts.ask_frame(answer)
        else:
            self._show_image(answer, told)

    def _show_image(self, image: OpenedImage, told: str) -> None:
        geometry, is_first = image.geometry, not self._viewer.layers
        for layer in opened_layers(image):
            self._viewer.add_layer(layer)
        if is_first:
            look_in_plane(self._viewer, layer, geometry)
        self.note.tell(f"{told} {_OBLIQUE if is_oblique(geometry) else ''}".strip())
        self._jobs.say(f"Opened {image.name}.")

    def _list_kept(self) -> None:
        folder = self._jobs.session.masks_folder
        self._show_kept(KeptMaskList(masks=()))
        if folder is None:
            return
        job = self._jobs.submit(KeptMasks(folder=folder))
        job.succeeded.connect(self._show_kept)
        job.failed.connect(self.panel.show_failure)

    def _on_arrived(self, what: str) -> None:
        if what == "masks":
            self._list_kept()

    def _show_kept(self, found: KeptMaskList) -> None:
        self.kept.clear()
        if self._jobs.session.masks_folder is None:  # locked meanwhile
            found = KeptMaskList(masks=())
        for mask in found.masks:
            item = QListWidgetItem(f"{mask.name} — {mask.made[:16].replace('T', ' ')}")
            item.setData(Qt.ItemDataRole.UserRole, mask.path)
            item.setToolTip(mask.source or "From a layer that was no file")
            self.kept.addItem(item)
        for widget in (self.kept_title, self.kept, self.kept_button):
            widget.setVisible(bool(found.masks))

    def _open_kept(self) -> None:
        item = self.kept.currentItem()
        if item is not None:
            path = item.data(Qt.ItemDataRole.UserRole)
            self._turns.add(path.name, OpenKeptMask(path=path), self._show_mask)
            self._turns.go_on()

    def _show_mask(self, mask: Mask) -> None:
        opacity = self._jobs.session.preferences.mask_opacity
        image = find_image(self._viewer, mask) or in_place(mask)
        self._viewer.add_layer(make_overlay(image, mask, opacity=opacity))

    def _ask_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Open images")
        self.open([Path(name) for name in names])

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open a DICOM folder")
        if name:
            self.open([Path(name)])

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files alone."""
        accept_files(event)

    def dropEvent(self, event: QDropEvent) -> None:
        """Open the files that were dropped."""
        self.open(dropped_files(event))


def _name_of(request: OpenImage) -> str:
    return request.name or request.path.name


def _list(name: str, tip: str) -> QListWidget:
    made = QListWidget()
    made.setObjectName(name)
    made.setToolTip(tip)
    made.setAccessibleName(tip.rstrip("."))
    made.setMaximumHeight(_LIST_HEIGHT)
    return made
