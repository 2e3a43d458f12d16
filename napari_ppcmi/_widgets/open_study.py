"""Open image files and DICOM folders in the worker, and the masks that were kept from before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._layers import layers_of, spatial_keywords
from napari_ppcmi._overlay import LayerImage, layer_path, make_overlay, read_layer
from napari_ppcmi._protocol.images import (
    KeptMaskList,
    KeptMasks,
    ListSeries,
    Mask,
    OpenedImage,
    OpenImage,
    OpenKeptMask,
    SeriesList,
)
from napari_ppcmi._protocol.message import Request
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.parts import button, listen, wrapping
from ppcmi_sf.errors import PPCMIError

if TYPE_CHECKING:
    from qtpy.QtGui import QDragEnterEvent, QDropEvent

    from ppcmi_sf.imaging.geometry import Geometry

_OBLIQUE = (
    "This volume lies oblique in space. Slices are drawn along the axes of the file; "
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
        self._waiting: list[OpenImage | ListSeries] = []
        self._folder = Path()  # whose series are listed
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
        self.series = _list("series", "The series in this folder.")
        self.series_button = button(
            "Open &series", "open_series", "Open the chosen series.", self._open_series
        )
        self.panel = JobPanel(self._jobs)
        self.note = wrapping(name="note")
        self.kept = _list("kept", "Masks that were saved by themselves; the newest first.")
        self.kept_button = button(
            "&Open", "open_kept", "Lay the chosen mask over its image.", self._open_kept
        )
        row = QHBoxLayout()
        row.addWidget(self.file_button)
        row.addWidget(self.folder_button)
        layout = QVBoxLayout(self)
        layout.addLayout(row)
        layout.addWidget(wrapping("Or drop files here."))
        for widget in (self.series, self.series_button, self.note, self.panel):
            layout.addWidget(widget)
        self.kept_title = wrapping("Masks kept from before")
        for widget in (self.kept_title, self.kept, self.kept_button):
            layout.addWidget(widget)
        layout.addStretch()
        for hidden in (self.series, self.series_button, self.note):
            hidden.hide()
        self._buttons = [
            self.file_button, self.folder_button, self.series_button, self.kept_button,
        ]  # fmt: skip

    def open(self, paths: list[Path]) -> None:
        """Open files and DICOM folders, one after another."""
        for path in paths:
            self._waiting.append(ListSeries(folder=path) if path.is_dir() else OpenImage(path=path))
        if self.panel.job is None:
            self._next()

    def _next(self) -> None:
        if not self._waiting:
            return
        request = self._waiting.pop(0)
        if isinstance(request, ListSeries):
            self._show_series(SeriesList(series=()))
            self._folder = request.folder
            self._run(request, self._choose_series)
        else:
            self._run(request, self._show_image)

    def _run(self, request: Request, done: Callable[..., None]) -> None:
        job = self.panel.run(request, done, disable=self._buttons)
        job.cancelled.connect(self._waiting.clear)
        job.failed.connect(lambda _: self._waiting.clear())
        job.finished.connect(self._next)

    def _choose_series(self, found: SeriesList) -> None:
        if len(found.series) == 1:
            self._waiting.insert(0, OpenImage(path=self._folder, series_uid=found.series[0].uid))
        else:
            self._show_series(found)

    def _show_series(self, found: SeriesList) -> None:
        self.series.clear()
        for one in found.series:
            files = "1 file" if one.file_count == 1 else f"{one.file_count} files"
            item = QListWidgetItem(f"{one.description or 'Without a description'} ({files})")
            item.setData(Qt.ItemDataRole.UserRole, one.uid)
            self.series.addItem(item)
        self.series.setCurrentRow(0)
        for widget in (self.series, self.series_button):
            widget.setVisible(bool(found.series))

    def _open_series(self) -> None:
        item = self.series.currentItem()
        if item is not None:
            uid = item.data(Qt.ItemDataRole.UserRole)
            self._waiting.append(OpenImage(path=self._folder, series_uid=uid))
            self._next()

    def _show_image(self, image: OpenedImage) -> None:
        for data, keywords, _kind in layers_of(
            image.arrays[0], image.geometry, image.name, image.path
        ):
            self._viewer.add_image(data, **keywords)
        oblique = _is_oblique(image.geometry)
        self.note.setText(_OBLIQUE if oblique else "")
        self.note.setVisible(oblique)
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
            request = OpenKeptMask(path=item.data(Qt.ItemDataRole.UserRole))
            self._run(request, self._show_mask)

    def _show_mask(self, mask: Mask) -> None:
        opacity = self._jobs.session.preferences.mask_opacity
        self._viewer.add_layer(make_overlay(self._image_of(mask), mask, opacity=opacity))

    def _image_of(self, mask: Mask) -> LayerImage:
        """The open image that a mask was made from; else the place in space that it had."""
        from napari.layers import Image

        for layer in self._viewer.layers:
            if not isinstance(layer, Image) or str(layer_path(layer) or "") != mask.source:
                continue
            try:
                image = read_layer(layer)
            except PPCMIError:
                continue
            if image.geometry == mask.geometry:
                return image
        placed = spatial_keywords(mask.geometry, len(mask.geometry.shape))
        return LayerImage(mask.name, None, mask.geometry, False, mask.source, placed)

    def _ask_files(self) -> None:
        names, _ = QFileDialog.getOpenFileNames(self, "Open images")
        self.open([Path(name) for name in names])

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open a DICOM folder")
        if name:
            self.open([Path(name)])

    def dragEnterEvent(self, event: QDragEnterEvent | None) -> None:
        """Take files."""
        data = None if event is None else event.mimeData()
        if event is not None and data is not None and data.hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent | None) -> None:
        """Open the files that were dropped."""
        data = None if event is None else event.mimeData()
        if event is not None and data is not None:
            event.acceptProposedAction()
            self.open([Path(url.toLocalFile()) for url in data.urls() if url.isLocalFile()])


def _list(name: str, tip: str) -> QListWidget:
    made = QListWidget()
    made.setObjectName(name)
    made.setToolTip(tip)
    made.setMaximumHeight(_LIST_HEIGHT)
    return made


def _is_oblique(geometry: Geometry) -> bool:
    """Whether a volume's axes are not those of the patient, nor these in another order."""
    steps = geometry.affine_array()[:3, :3]
    directions = np.abs(steps) / np.linalg.norm(steps, axis=0)
    along = (directions < 1e-3) | (directions > 1 - 1e-3)
    return len(geometry.shape) == 3 and not bool(along.all())
