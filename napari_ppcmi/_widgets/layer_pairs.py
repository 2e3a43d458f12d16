"""Pairs of an image layer and a labels layer, both with a file behind them."""

from __future__ import annotations

from typing import Any

from qtpy.QtWidgets import QHBoxLayout, QListWidget, QVBoxLayout, QWidget

from napari_ppcmi._overlay import is_part_of_file, layer_path
from napari_ppcmi._protocol.bundles import CaseInfo
from napari_ppcmi._widgets.parts import button, listen, wrapping
from napari_ppcmi._widgets.training_parts import chooser, named, wrapped_form
from ppcmi_sf.imaging import case_name

_LIST_ROWS = 4


class LayerPairs(QWidget):
    """Chooses pairs of layers to train with.

    Parameters
    ----------
    viewer
        The viewer whose layers can be chosen.
    """

    def __init__(self, viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._cases: list[CaseInfo] = []
        self.image = chooser("image_layer", "The image of a pair.")
        self.labels = chooser("labels_layer", "The structures drawn on that image.")
        self.problem = wrapping(name="pair_problem")
        tip = "Train with these two layers."
        self.add = button("&Add pair", "add_pair", tip, self.add_pair, icon="plus")
        tip = "Take the chosen pair out of the list."
        self.remove = button("Remo&ve", "remove_pair", tip, self.remove_pair, icon="minus")
        self.list = named(QListWidget(), "pairs", "The pairs that the networks learn from.")
        self.list.setAccessibleName("Pairs to train with")
        self.list.setFixedHeight(self.fontMetrics().height() * (_LIST_ROWS + 1))
        self._arrange()
        for box in (self.image, self.labels):
            box.currentIndexChanged.connect(self._judge)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            listen(self, event, self._fill)
        self._fill()

    @property
    def cases(self) -> tuple[CaseInfo, ...]:
        """What was paired."""
        return tuple(self._cases)

    def _arrange(self) -> None:
        form = wrapped_form()
        form.addRow("&Image layer", self.image)
        form.addRow("&Labels layer", self.labels)
        row = QHBoxLayout()
        row.addWidget(self.add)
        row.addWidget(self.remove)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self.problem)
        layout.addLayout(row)
        layout.addWidget(self.list)

    def add_pair(self) -> None:
        """Put the chosen layers into the list."""
        paths = [layer_path(box.currentData()) for box in (self.image, self.labels)]
        image, mask = paths
        if image is None or mask is None:
            return  # the button is off then
        if any(one.image == image for one in self._cases):
            self.problem.setText(f"{image.name} is in the list already.")
            return
        name, number = case_name(image), 2
        while any(one.name == name for one in self._cases):
            name, number = f"{case_name(image)}-{number}", number + 1
        self._cases.append(CaseInfo(name=name, image=image, mask=mask))
        self.list.addItem(f"{image.name} + {mask.name}")

    def remove_pair(self) -> None:
        """Take the chosen pair out of the list; its layers and files stay."""
        row = self.list.currentRow()
        if row >= 0:
            self.list.takeItem(row)
            del self._cases[row]

    def _fill(self, _event: Any = None) -> None:
        from napari.layers import Image, Labels

        for box, kind in ((self.image, Image), (self.labels, Labels)):
            chosen = box.currentData()
            box.blockSignals(True)
            box.clear()
            for layer in self._viewer.layers:
                if isinstance(layer, kind):
                    box.addItem(layer.name, layer)
                    if layer is chosen:
                        box.setCurrentIndex(box.count() - 1)
            box.blockSignals(False)
        self._judge()

    def _judge(self) -> None:
        """Say why the chosen layers cannot be used, if so."""
        problems = []
        for box, what in ((self.image, "image"), (self.labels, "labels")):
            layer = box.currentData()
            if layer is None:
                problems.append(f"There is no {what} layer in the viewer.")
                continue
            path = layer_path(layer)
            if path is None or not path.exists():
                why = "has no file behind it"
            elif is_part_of_file(layer):
                why = "is one of several images in its file"
            else:
                continue
            problems.append(
                f"'{layer.name}' {why}: save it (File, Save Selected Layers), then open that file."
            )
        self.problem.setText(" ".join(problems))
        self.problem.setVisible(bool(problems))
        self.add.setEnabled(not problems)
