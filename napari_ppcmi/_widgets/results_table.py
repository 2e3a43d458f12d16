"""Legend and amounts: the classes of a mask with their colours and how much there is of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from weakref import ref

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QTableWidgetItem, QWidget

from napari_ppcmi._jobs import Jobs
from napari_ppcmi._overlay import ClassAmount, amounts
from napari_ppcmi._protocol.images import CountLabels, LabelCounts, Mask
from napari_ppcmi._protocol.message import Failure
from napari_ppcmi._widgets.copied_table import CopiedTable
from napari_ppcmi._widgets.parts import listen, while_there

if TYPE_CHECKING:
    from napari.layers import Labels

_SWATCH = 14
_ROWS_SHOWN = 5
_HEADINGS = ("Mask", "Structure", "Amount")
_REST_MS = 500  # strokes come one after another
_UNKNOWN = "…"


@dataclass(eq=False)
class _Shown:
    """A mask of the table, without its array."""

    name: str
    mask: Mask
    layer: ref[Labels]
    found: list[ClassAmount]
    is_painted: bool = False
    is_known: bool = True
    """Whether ``found`` is of what the layer holds now."""


class ResultsTable(CopiedTable):
    """A row for each class of each mask; can be copied and saved as CSV.

    A mask that the user corrects is counted anew, in the worker.

    Parameters
    ----------
    jobs
        The viewer's.
    """

    counted = Signal()
    """After the amounts of a mask that was painted in are known."""

    def __init__(self, jobs: Jobs, parent: QWidget | None = None) -> None:
        super().__init__("amounts", _HEADINGS, "How much there is of each structure.", parent)
        self._jobs = jobs
        self._masks: list[_Shown] = []
        self._waiting: list[_Shown] = []
        self._rest = QTimer(self, singleShot=True, interval=_REST_MS)
        self._rest.timeout.connect(self._count)
        self.table.setFixedHeight(self.table.fontMetrics().height() * 2 * _ROWS_SHOWN)

    def add(self, layer: Labels, mask: Mask) -> None:
        """Put a mask's classes on top; the newest mask of a name replaces the older rows."""
        plain = mask.model_copy(update={"arrays": ()})
        shown = _Shown(layer.name, plain, ref(layer), amounts(mask))
        self._masks = [shown] + [one for one in self._masks if one.name != shown.name]
        listen(self, layer.events.paint, lambda: self._note(shown, is_stroke=True))
        # An undo tells nothing but that there is something else to see; so does the slider.
        listen(self, layer.events.set_data, lambda: self._note(shown, is_stroke=False))
        listen(self, layer.events.name, lambda: self._rename(shown))
        self._fill()
        self.show()

    def records(self) -> Iterable[Sequence[str]]:
        """A heading, then the rows; amount and unit apart."""
        yield "mask", "structure", "amount", "unit"
        for shown, one in self._rows():
            yield shown.name, one.name, _number(shown, one), one.unit

    def _rows(self) -> Iterable[tuple[_Shown, ClassAmount]]:
        return ((shown, one) for shown in self._masks for one in shown.found)

    def _fill(self) -> None:
        rows = list(self._rows())
        self.table.setRowCount(len(rows))
        for index, (shown, one) in enumerate(rows):
            swatch = QPixmap(_SWATCH, _SWATCH)
            swatch.fill(QColor(one.color))
            structure = QTableWidgetItem(QIcon(swatch), one.name)
            amount = QTableWidgetItem(f"{_number(shown, one)} {one.unit}")
            amount.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            for column, item in enumerate((QTableWidgetItem(shown.name), structure, amount)):
                item.setToolTip(item.text())
                self.table.setItem(index, column, item)

    def _rename(self, shown: _Shown) -> None:
        layer = shown.layer()
        if layer is not None and shown in self._masks:
            shown.name = layer.name
            self._fill()

    def _note(self, shown: _Shown, *, is_stroke: bool) -> None:
        """A mask may be another one now."""
        if not is_stroke and not shown.is_painted:
            return
        shown.is_painted = True
        if is_stroke and shown.is_known:
            shown.is_known = False
            self._fill()
        if shown not in self._waiting:
            self._waiting.append(shown)
        self._rest.start()

    def _count(self) -> None:
        waiting, self._waiting = self._waiting, []
        for shown in waiting:
            layer = shown.layer()
            if layer is None or shown not in self._masks:
                continue
            data = layer.data[0] if layer.multiscale else layer.data
            request = CountLabels(arrays=(data,), class_count=len(shown.mask.classes))
            job = self._jobs.submit(request)
            job.succeeded.connect(while_there(self, partial(self._take, shown)))
            job.failed.connect(while_there(self, self._tell))

    def _take(self, shown: _Shown, answer: LabelCounts) -> None:
        shown.found = amounts(shown.mask.model_copy(update={"counts": answer.counts}))
        shown.is_known = shown not in self._waiting
        self._fill()
        self.counted.emit()

    def _tell(self, failure: Failure) -> None:
        self.failed.emit(failure.message, failure.hint)


def _number(shown: _Shown, one: ClassAmount) -> str:
    if not shown.is_known:
        return _UNKNOWN
    return f"{one.amount:.0f}" if one.unit == "pixels" else f"{one.amount:.2f}"
