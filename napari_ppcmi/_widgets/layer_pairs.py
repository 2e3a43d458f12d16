"""Pairs of an image layer and a labels layer, both with a file behind them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import ref

from qtpy.QtWidgets import QHBoxLayout, QListWidget, QVBoxLayout, QWidget

from napari_ppcmi._jobs import Jobs
from napari_ppcmi._overlay import in_file_axes, is_part_of_file, layer_path
from napari_ppcmi._protocol.bundles import CaseInfo
from napari_ppcmi._protocol.images import CompareLabels, LabelsCompared
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._widgets.parts import Note, button, listen
from napari_ppcmi._widgets.training_parts import chooser, named, wrapped_form
from ppcmi_sf.imaging import case_name

_LIST_ROWS = 4


@dataclass(frozen=True)
class _Pair:
    """A case, and the labels layer that it was taken from, which may be removed."""

    case: CaseInfo
    labels: ref[Any]


class LayerPairs(QWidget):
    """Chooses pairs of layers to train with.

    Training reads the files. So a labels layer is compared with its file, in the worker, when it
    is added and once more before a training: nobody shall train with less than what is drawn.

    Parameters
    ----------
    viewer
        The viewer whose layers can be chosen.
    jobs
        Of that viewer.
    """

    def __init__(self, viewer: Any, jobs: Jobs, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer, self._jobs = viewer, jobs
        self._pairs: list[_Pair] = []
        self._is_comparing = False
        self.image = chooser("image_layer", "The image of a pair.")
        self.labels = chooser("labels_layer", "The structures drawn on that image.")
        self.problem = Note("pair_problem")
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
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.renamed):
            listen(self, event, self._fill)
        self._fill()

    @property
    def cases(self) -> tuple[CaseInfo, ...]:
        """What was paired."""
        return tuple(pair.case for pair in self._pairs)

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
        """Put the chosen layers into the list, if the labels are as they are in their file."""
        labels = self.labels.currentData()
        image, mask = (layer_path(layer) for layer in (self.image.currentData(), labels))
        if image is None or mask is None:
            return  # the button is off then
        if any(one.image == image for one in self.cases):
            self.problem.tell(f"{image.name} is in the list already.")
            return
        name, number = case_name(image), 2
        while any(one.name == name for one in self.cases):
            name, number = f"{case_name(image)}-{number}", number + 1
        pair = _Pair(CaseInfo(name=name, image=image, mask=mask), ref(labels))
        self._is_comparing = True
        self._judge()
        self._compare([pair], lambda problem: self._take(pair, problem))

    def confirm(self, told: Callable[[str], None]) -> None:
        """Compare every labels layer of the list with its file once more.

        Parameters
        ----------
        told
            Called with what is wrong, or with nothing.
        """
        self._compare(self._pairs, told)

    def remove_pair(self) -> None:
        """Take the chosen pair out of the list; its layers and files stay."""
        row = self.list.currentRow()
        if row >= 0:
            self.list.takeItem(row)
            del self._pairs[row]

    def _take(self, pair: _Pair, problem: str) -> None:
        self._is_comparing = False
        self._judge()
        if problem:
            self.problem.tell(problem)
            return
        self._pairs.append(pair)
        image, mask = pair.case.image, pair.case.mask
        self.list.addItem(f"{image.name} + {mask.name if mask else ''}")

    def _compare(self, pairs: list[_Pair], told: Callable[[str], None]) -> None:
        """Compare one after another: together they may not fit into memory twice."""
        if not pairs:
            told("")
            return
        pair, *rest = pairs
        layer, mask = pair.labels(), pair.case.mask
        if layer is None or layer not in self._viewer.layers or mask is None:
            self._compare(rest, told)  # what counts is the file alone
            return

        def judge(answer: LabelsCompared | Failure) -> None:
            if isinstance(answer, Failure):
                told(answer.text)
            elif answer.same:
                self._compare(rest, told)
            else:
                told(_unsaved(layer.name, mask.name))

        job = self._jobs.submit(CompareLabels(arrays=(in_file_axes(layer),), path=mask))
        job.succeeded.connect(judge)
        job.failed.connect(judge)

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
        self.problem.tell(" ".join(problems))
        self.add.setEnabled(not problems and not self._is_comparing)


def _unsaved(layer: str, file: str) -> str:
    return (
        f"'{layer}' has changes that are not in its file {file}, which is what the networks would "
        "learn from: save it first. For a mask of ours that is 'Save mask…' on the Segment page; "
        "any other layer save by File, Save Selected Layers, and open what was saved."
    )
