"""Replies become masks over the images that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._overlay import (
    LayerImage,
    find_image,
    in_place,
    kept_layer,
    make_overlay,
    opened_layers,
)
from napari_ppcmi._protocol.bundles import OpenRevealed, Reveal, RevealedMasks
from napari_ppcmi._protocol.images import FrameChoice, Mask, OpenedImage, OpenImage
from napari_ppcmi._widgets.bundle_table import BundleTable
from napari_ppcmi._widgets.docked import end_with_dock
from napari_ppcmi._widgets.in_turn import InTurn
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.once_more import offer_again
from napari_ppcmi._widgets.parts import button, listen, wrapping
from napari_ppcmi._widgets.results_table import ResultsTable
from napari_ppcmi._widgets.training_parts import scrolled

_USABLE = ("verified", "already used")


class DecodePage(QWidget):
    """The fourth page of the workspace.

    Parameters
    ----------
    napari_viewer
        The viewer that gets the masks.
    """

    finished = Signal()
    """After every reply was dealt with, whatever came of it."""

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        self._jobs = jobs_for(napari_viewer)
        self._jobs.attach(self)
        end_with_dock(self)
        self._shown: tuple[object, ...] = ()
        self.state = wrapping(name="site")
        self.replies = BundleTable(self._jobs, "replies", ("reply",))
        self.decode = button(
            "&Show masks",
            "decode",
            "Decode the selected replies (all, if none is selected) and lay each mask over the "
            "image that it belongs to.",
            self.show_masks,
            icon="visibility",
        )
        self.results = ResultsTable(self._jobs)
        self.panel = JobPanel(self._jobs)
        self.results.failed.connect(self.panel.refuse)
        self._turns = InTurn(self.panel, "laid over its image", [self.decode])
        self._turns.finished.connect(self.finished)
        layout = scrolled(self)
        for widget in (self.state, self.replies, self.decode, self.panel, self.results):
            layout.addWidget(widget)
        layout.addStretch(1)  # 0 would share the room with the tables
        listen(self, self._jobs.session.changed, self._show_session)
        listen(self, self._jobs.session.arrived, lambda _where: self.replies.look())
        self._show_session()

    def show_masks(self) -> None:
        """Decode the selected replies; masks that were decoded before are shown again."""
        folder = self._jobs.session.replies_folder
        chosen = [b.file for b in self.replies.selected() if b.state in _USABLE]
        if folder is None:
            self.panel.refuse(
                "The key is locked.", "Unlock it on the Key page first.", is_locked=True
            )
        elif not chosen:
            self.panel.refuse(
                "There is no reply that can be used.",
                "Put replies into the inbox, or ask the mapping network on the Exchange page.",
            )
        else:
            request = Reveal(replies=tuple(chosen), out=folder, device=self._jobs.session.device)
            self._reveal(request)

    def _reveal(self, request: Reveal) -> None:
        job = self.panel.run(request, self._revealed, disable=[self.decode])
        job.finished.connect(self._turns.go_on)
        offer_again(self, job, request, self._reveal_again)

    def _reveal_again(self, request: Reveal, names: set[str]) -> None:
        refused = tuple(reply for reply in request.replies if reply.name in names)
        self._reveal(request.model_copy(update={"replies": refused}))

    def _revealed(self, result: RevealedMasks) -> None:
        for problem in result.problems:
            self._turns.note_failure(problem.name, problem.failure)
        for case in result.masks:
            request = OpenRevealed(case=case, device=self._jobs.session.device)
            self._turns.add(case.name, request, self._place)

    def _place(self, mask: Mask) -> None:
        kept = kept_layer(self._jobs.session.kept_layers, mask.source)
        image = find_image(self._viewer, mask, kept)
        if image is not None:
            self._overlay(image, mask)
            return
        self._turns.add_step(
            mask.name,
            OpenImage(path=Path(mask.source)),
            lambda answer: self._open_and_overlay(answer, mask),
            lambda _failure: self._overlay(in_place(mask), mask),
        )

    def _open_and_overlay(self, answer: OpenedImage | FrameChoice, mask: Mask) -> None:
        image = in_place(mask)
        if isinstance(answer, OpenedImage):
            for layer in opened_layers(answer):
                self._viewer.add_layer(layer)
            image = find_image(self._viewer, mask) or image
        self._overlay(image, mask)

    def _overlay(self, image: LayerImage, mask: Mask) -> None:
        opacity = self._jobs.session.preferences.mask_opacity
        added = self._viewer.add_layer(make_overlay(image, mask, opacity=opacity))
        self.results.add(added, mask)

    def _show_session(self) -> None:
        session = self._jobs.session
        name = session.site.name if session.site is not None else ""
        self.state.setText(
            f"Replies for site {name}. Research software, not a medical device." if name
            else "Locked. Unlock key and identity on the Key page first."
        )  # fmt: skip
        shown = (session.inbox, name, session.identity)
        if shown != self._shown:
            self._shown = shown
            self.replies.watch(session.inbox)
