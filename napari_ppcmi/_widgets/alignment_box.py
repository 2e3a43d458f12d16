"""Fit the encoder to the network that the server gave, for better masks at this site alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_ppcmi._jobs import Jobs
from napari_ppcmi._protocol.training import AlignSite, SiteAligned
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.parts import FolderPicker, Note, Section, button, listen, wrapping
from napari_ppcmi._widgets.training_parts import left_out

_INTRODUCTION = (
    "The network was taught by all sites. Your own images and masks can fit your site to it, which "
    "may give better masks here. Nothing leaves this computer, and what you send to others is made "
    "as before."
)
_CANCELLED = "Cancelled. Press Fit with the same folder, and it goes on."


class AlignmentBox(Section):
    """A part of the Segment page.

    Parameters
    ----------
    jobs
        The viewer's.
    panel
        Runs the fit.
    others
        Buttons that must wait meanwhile.
    """

    def __init__(
        self,
        jobs: Jobs,
        panel: JobPanel,
        others: Sequence[QWidget],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__("Fit to your images", "Learn from your own masks, for this site.", parent)
        self._jobs, self._panel, self._others = jobs, panel, list(others)
        self.data = FolderPicker(
            "alignment_data", "With images/ and masks/ of equal names in it, or a known data set."
        )
        self.data.line.setAccessibleName("Folder of your images and masks")
        self.fit: QPushButton = button(
            "&Fit", "fit", "Start, or go on with a fit that was stopped.", self.start,
            icon="playback-forward",
        )  # fmt: skip
        self.summary = Note("alignment_summary")
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(0, 0, 0, 0)
        for widget in (wrapping(_INTRODUCTION), self.data, self.fit, self.summary):
            column.addWidget(widget)
        self.addWidget(content)
        listen(self, jobs.session.changed, self._show_site)
        self._show_site()

    def start(self) -> None:
        """Fit with the images of the folder."""
        self.summary.hide()
        if self.data.path is None:
            self._panel.refuse(
                "No folder of images and masks is chosen.", "Choose the one you trained with."
            )
            return
        request = AlignSite(data=self.data.path, device=self._jobs.session.device)
        self._panel.run(
            request,
            self._done,
            disable=[self.fit, *self._others],
            cancelled=partial(self.summary.announce, _CANCELLED),
        )

    def _done(self, aligned: SiteAligned) -> None:
        told = (_summary(aligned), left_out(aligned.problems))
        self.summary.announce("\n".join(filter(None, told)))

    def _show_site(self) -> None:
        site = self._jobs.session.site
        self.setVisible(site is not None and site.can_segment)


def _summary(aligned: SiteAligned) -> str:
    """What came of it, for people."""
    if aligned.before is None or aligned.after is None:
        return (
            f"Fitted on {aligned.training_slices} slices. None were set apart when the site was "
            "trained, so it is not known whether masks are better now."
        )
    scores = f"(Dice {aligned.before:.3f} before, {aligned.after:.3f} with the fit)"
    on = f"on {aligned.validation_slices} slices of patients set apart {scores}"
    if not aligned.kept:
        return f"Masks were worse {on}, so the fit was thrown away and nothing has changed."
    how = "better than" if aligned.after > aligned.before else "as good as"
    return f"Fitted on {aligned.training_slices} slices. Masks are {how} before {on}."
