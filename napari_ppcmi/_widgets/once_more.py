"""Files that were used before are refused, lest an old one slips in; a person may say otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from qtpy.compat import isalive
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_ppcmi._jobs import Job
from napari_ppcmi._protocol.bundles import BatchResult, RevealedMasks
from napari_ppcmi._protocol.message import Answer, Failure, Request

_REPLAY = "ReplayError"
_QUESTION = (
    "Files were used before{count}. Somebody may have sent an old one once more, by mistake or "
    "on purpose. Use them again?"
)
Kind = TypeVar("Kind", bound=Request)


def offer_again(
    parent: QWidget, job: Job, request: Kind, run: Callable[[Kind, set[str]], None]
) -> None:
    """When a job has ended and files were refused because they were used before, ask.

    Parameters
    ----------
    request
        What the job does; with a field ``again``.
    run
        Called when the user says yes, with the request to run now and the names of those files
        (none where the job as a whole was refused).
    """
    names: list[str] = []

    def note_failure(failure: Failure) -> None:
        if failure.kind == _REPLAY:
            names.append("")

    def note_problems(answer: Answer) -> None:
        if isinstance(answer, BatchResult | RevealedMasks):
            names.extend(one.name for one in answer.problems if one.failure.kind == _REPLAY)

    def ask() -> None:
        if names and isalive(parent):  # else there is nobody to ask any more
            anew = request.model_copy(update={"again": True})
            # A job that the first such file ended knows nothing of the others.
            count = f": {len(names)}" if all(names) else ", at least one of them"
            _ask(parent, count, lambda: run(anew, set(names) - {""}))

    job.failed.connect(note_failure)
    job.succeeded.connect(note_problems)
    job.finished.connect(ask)


def _ask(parent: QWidget, count: str, go_on: Callable[[], None]) -> None:
    buttons = QMessageBox.StandardButton
    box = QMessageBox(parent)
    box.setWindowTitle("Used before")
    box.setText(_QUESTION.format(count=count))
    box.setStandardButtons(buttons.Yes | buttons.No)
    box.setDefaultButton(buttons.No)

    def close(answer: int) -> None:
        box.deleteLater()
        if answer == buttons.Yes.value:
            go_on()

    box.finished.connect(close)
    box.open()
