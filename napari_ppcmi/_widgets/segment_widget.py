"""One button: the chosen image gets its mask. Nothing leaves this computer."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QPushButton,
    QWidget,
)

from napari_ppcmi._file_grid import on_file_grid
from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._layers import METADATA_KEY
from napari_ppcmi._overlay import (
    LayerImage,
    file_name,
    make_overlay,
    read_layer,
    shown_frame,
)
from napari_ppcmi._protocol.images import Mask, SaveMask, Segment
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._widgets.alignment_box import AlignmentBox
from napari_ppcmi._widgets.docked import end_with_dock
from napari_ppcmi._widgets.in_turn import InTurn
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.parts import listen, wrapping
from napari_ppcmi._widgets.results_table import ResultsTable
from napari_ppcmi._widgets.training_parts import chooser, scrolled
from ppcmi_sf.errors import PPCMIError

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from numpy.typing import NDArray

    from ppcmi_sf.imaging.geometry import Geometry

_PICTURE = "Picture (*.png)"
_FORMATS = "NIfTI (*.nii.gz);;NIfTI, not compressed (*.nii);;MetaImage (*.mha);;NRRD (*.nrrd)"
_AXES = (("as trained", None), ("first axis", 0), ("second axis", 1), ("third", 2))


@dataclass(frozen=True, eq=False)
class _Asked:
    """An image that waits for its mask.

    Attributes
    ----------
    layer, data
        Where it is from, and the array that the layer showed.
    image
        As it was when the button was pressed.
    """

    layer: Image
    data: Any
    image: LayerImage

    def image_in(self, viewer: Any) -> LayerImage:
        """The image with the name and the place of by now, where the layer shows it still."""
        if self.layer not in viewer.layers or self.layer.data is not self.data:
            return self.image
        try:
            frame = self.image.frame if self.image.is_stacked else None
            return read_layer(self.layer, frame=frame)
        except PPCMIError:
            return self.image


class SegmentWidget(QWidget):
    """Segments image layers with the mapping network of the unlocked site.

    Parameters
    ----------
    napari_viewer
        The viewer whose layers are segmented.
    """

    finished = Signal()
    """After the last chosen image was dealt with, whatever came of it."""

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._jobs = jobs_for(napari_viewer)
        self._jobs.attach(self)
        end_with_dock(self)
        self._unsaved: list[tuple[str, str]] = []
        self._build()
        layers, events = napari_viewer.layers, napari_viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered, events.renamed):
            listen(self, event, self._list_layers)
        listen(self, layers.selection.events.changed, self._follow_selection)
        listen(self, self._jobs.session.changed, self._show_site)
        self._list_layers()
        self._follow_selection()
        self._show_site()

    def _build(self) -> None:
        self.site = wrapping(name="site")
        tip = "The image that gets a mask. Several can be selected in the list."
        self.image = chooser("image", tip)
        self.axis = QComboBox(objectName="axis")
        self.axis.setToolTip("Volumes are segmented slice by slice: along which axis?")
        for text, axis in _AXES:
            self.axis.addItem(text, axis)
        self.button = QPushButton("&Segment", objectName="segment")
        self.button.setToolTip("Make a mask of the image, here on this computer.")
        self.button.clicked.connect(self.segment)
        self.save = QPushButton("Save &mask…", objectName="save")
        self.save.setToolTip("Save the selected mask in the grid of its image.")
        self.save.clicked.connect(self._ask_where)
        self.results = ResultsTable(self._jobs)
        self.panel = JobPanel(self._jobs)
        self.results.failed.connect(self.panel.refuse)
        self._turns = InTurn(self.panel, "segmented", [self.button])
        self._turns.finished.connect(self._end)
        self.alignment = AlignmentBox(self._jobs, self.panel, [self.button])
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("&Image", self.image)
        form.addRow("S&lices along", self.axis)
        layout = scrolled(self)
        layout.addWidget(self.site)
        layout.addLayout(form)
        for widget in (self.button, self.panel, self.results, self.save, self.alignment):
            layout.addWidget(widget)
        layout.addStretch(1)  # 0 would share the room with the tables

    def segment(self) -> None:
        """Segment every selected image layer, or the one that is chosen in the list."""
        self.panel.clear()
        chosen = self._chosen()
        if not chosen:
            self.panel.refuse(
                "There is no image to segment.", "Open one first, for example by a drop."
            )
            return
        try:
            images = [read_layer(layer, frame=shown_frame(self._viewer, layer)) for layer in chosen]
        except PPCMIError as error:
            self.panel.refuse(error.message, error.hint)
            return
        # All at once: axis and site may be changed while the first ones are segmented.
        self._unsaved = []
        for layer, image in zip(chosen, images, strict=True):
            asked = _Asked(layer, layer.data, image)
            self._turns.add(image.name, self._request(image), partial(self._show, asked))
        self._turns.go_on()

    def _chosen(self) -> list[Image]:
        images = _images(self._viewer)
        selected = [layer for layer in images if layer in self._viewer.layers.selection]
        if len(selected) > 1:
            return selected
        return [layer for layer in images if layer is self.image.currentData()]

    def _request(self, image: LayerImage) -> Segment:
        session = self._jobs.session
        axis = self.axis.currentData() if len(image.geometry.shape) == 3 else None
        return Segment(
            arrays=(image.data,),
            name=file_name(image.name),
            geometry=image.geometry,
            source=image.source,
            frame=image.frame,
            series_uid=image.series_uid,
            slice_axis=None if axis is None else image.axes[axis],
            axes=image.axes,
            device=session.device,
            keep_in=session.masks_folder,
        )

    def _end(self) -> None:
        if self._unsaved and not self._turns.failures:
            self.panel.show_failure(_not_saved(self._unsaved))
        self.finished.emit()

    def _show(self, asked: _Asked, mask: Mask) -> None:
        opacity = self._jobs.session.preferences.mask_opacity
        layer = make_overlay(asked.image_in(self._viewer), mask, opacity=opacity)
        self._viewer.add_layer(layer)
        self.results.add(layer, mask)
        if mask.not_saved:
            self._unsaved.append((layer.name, mask.not_saved))
        self._jobs.session.arrived.emit("masks")

    def _ask_where(self) -> None:
        layer = self._mask_to_save()
        if layer is None:
            self.panel.refuse("There is no mask to save.", "Select the mask in the list of layers.")
            return
        try:
            grid = self._grid_of(layer)
        except PPCMIError as error:
            self.panel.refuse(error.message, error.hint)
            return
        flat = grid[1].family == "raster"
        suffix, formats = (".png", _PICTURE) if flat else (".nii.gz", _FORMATS)
        name, _ = QFileDialog.getSaveFileName(
            self, "Save the mask", file_name(layer.name) + suffix, formats
        )
        if name:
            self.save_to(layer, Path(name))

    def save_to(self, layer: Labels, path: Path) -> None:
        """Write a mask in the grid of its image; the suffix chooses the format.

        Raises
        ------
        PPCMIError
            The layer is neither a picture nor a volume.
        """
        labels, geometry, axes = self._grid_of(layer)
        own = {"path": str(path), "geometry": geometry, "axes": axes}
        # A copy: the user goes on painting while it is sent.
        request = SaveMask(arrays=(labels.copy(order="K"),), path=path, geometry=geometry)
        self.panel.run(request, lambda _: self._saved(layer, own), disable=[self.save])

    def _grid_of(self, layer: Labels) -> tuple[NDArray[Any], Geometry, tuple[int, ...]]:
        data, meta, _ = layer.as_layer_data_tuple()
        return on_file_grid(self._viewer, data[0] if layer.multiscale else data, meta)

    def _saved(self, layer: Labels, own: dict[str, Any]) -> None:
        # A dict of its own: a duplicate of the layer shares the one of before.
        own = {**layer.metadata.get(METADATA_KEY, {}), **own}
        layer.metadata = {**layer.metadata, METADATA_KEY: own}
        self._jobs.say(f"Saved {Path(own['path']).name}.")

    def _mask_to_save(self) -> Labels | None:
        """The selected labels layer, else the newest mask of ours, else the newest one drawn."""
        from napari.layers import Labels

        drawn = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        masks = [layer for layer in drawn if "geometry" in layer.metadata.get(METADATA_KEY, {})]
        selected = [layer for layer in drawn if layer in self._viewer.layers.selection]
        return next(iter(reversed(selected or masks or drawn)), None)

    def _list_layers(self) -> None:
        """List the images as they are called now; the chosen one stays, whatever its name."""
        chosen, images = self.image.currentData(), _images(self._viewer)
        self.image.clear()
        for layer in images:
            self.image.addItem(layer.name, layer)
        at = [index for index, layer in enumerate(images) if layer is chosen]
        self.image.setCurrentIndex(at[0] if at else len(images) - 1)

    def _follow_selection(self) -> None:
        images = _images(self._viewer)
        active = self._viewer.layers.selection.active
        if active in images:
            self.image.setCurrentIndex(images.index(active))

    def _show_site(self) -> None:
        session = self._jobs.session
        if session.site is None or session.key is None:
            text = "Locked. Unlock your key on the Key page, or try the demo site there."
        elif not session.site.can_segment:
            text = "No mapping network is installed at this site: use Encode and Exchange."
        else:
            classes = ", ".join(one.name for one in session.site.study.classes[1:])
            text = f"Site {session.site.name}, study {session.site.study.name}: {classes}."
        self.site.setText(f"{text} Research software, not a medical device.")


def _images(viewer: Any) -> list[Image]:
    from napari.layers import Image

    return [layer for layer in viewer.layers if isinstance(layer, Image)]


def _not_saved(masks: list[tuple[str, str]]) -> Failure:
    """What to tell of masks that are in the viewer alone."""
    names = ", ".join(name for name, _ in masks)
    return Failure(
        message=f"Shown, but not kept by itself: {names}. {masks[0][1]}",
        hint="Save it with 'Save mask…' before you close the window.",
    )
