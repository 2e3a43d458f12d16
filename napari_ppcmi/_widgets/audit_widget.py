"""Attack one's own site, and see in numbers what an attacker gets; nothing leaves this computer."""

from __future__ import annotations

from functools import partial
from typing import Any

from qtpy.QtWidgets import QPushButton, QRadioButton, QVBoxLayout, QWidget

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.audit import Audited, AuditSite
from napari_ppcmi._widgets.audit_parts import AttackChoice, AuditResults, PartnerFolders
from napari_ppcmi._widgets.docked import end_with_dock
from napari_ppcmi._widgets.job_panel import JobPanel
from napari_ppcmi._widgets.noise_box import NoiseBox
from napari_ppcmi._widgets.parts import FolderPicker, Note, button, into_view, listen, wrapping
from napari_ppcmi._widgets.training_parts import (
    add_picker,
    named,
    number_box,
    scrolled,
    wrapped_form,
)

_INTRODUCTION = (
    "Known attacks are run on the networks and protected features of your own site, and the report "
    "says what they got. Nothing leaves this computer. The report shows images of patients."
)
_LOCKED = "Locked. Unlock your key on the Key page, or try the demo site there."
_CANCELLED = "Cancelled. Nothing was written."


class AuditWidget(QWidget):
    """Audits the unlocked site.

    Parameters
    ----------
    napari_viewer
        The viewer whose session has the key unlocked.
    """

    def __init__(self, napari_viewer: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._jobs = jobs_for(napari_viewer)
        self._jobs.attach(self)
        end_with_dock(self)
        self._make_fields()
        self._arrange(scrolled(self))
        listen(self, self._jobs.session.changed, self._show_site)
        self._show_site()

    def _make_fields(self) -> None:
        self.site = wrapping(name="site")
        self.data = FolderPicker(
            "data", "The images and masks that this site was trained on, all of them."
        )
        self.partners = PartnerFolders()
        self.public = FolderPicker(
            "public",
            "Images like the site's, of other patients, such as an attacker finds. Without them "
            "the ones that the site set apart are taken.",
        )
        self.unseen = FolderPicker(
            "unseen",
            "Images and masks of patients that no training saw, as many as you have: whether a "
            "patient was in a training can only be asked with enough of both.",
        )
        self.quick = named(
            QRadioButton("A &quick look"), "quick", "Few images and short trainings."
        )
        self.full = named(
            QRadioButton("In &full"),
            "full",
            "More images and longer trainings: the intervals are narrower, and it takes longer.",
        )
        self.quick.setChecked(True)
        self.attacks = AttackChoice()
        self.noise = NoiseBox(
            "What the attacks get is given this noise, as if the site put it on all that it sends."
        )
        self.seed = number_box("seed", 0, 0, "The same number gives the same figures again.")
        self.out = FolderPicker("out", "A new or empty folder. What is in it is patient data.")
        self.run: QPushButton = button(
            "&Run the audit", "run", "Attack the site, and write the report.", self.start,
            icon="playback-forward",
        )  # fmt: skip
        self.panel = JobPanel(self._jobs)
        self.summary = Note("summary")
        self.results = AuditResults()
        self.results.failed.connect(self.panel.refuse)

    def _arrange(self, layout: QVBoxLayout) -> None:
        first, second, third = wrapped_form(), wrapped_form(), wrapped_form()
        add_picker(first, "&Data that the site was trained on", self.data)
        add_picker(second, "P&ublic images, if there are any", self.public)
        add_picker(second, "Patients &no training saw, if any", self.unseen)
        third.addRow("No&ise on features", self.noise)
        third.addRow("&Seed", self.seed)
        add_picker(third, "Folder for the rep&ort", self.out)
        layout.addWidget(wrapping(_INTRODUCTION))
        layout.addWidget(self.site)
        layout.addLayout(first)
        layout.addWidget(self.partners)
        layout.addLayout(second)
        layout.addWidget(self.quick)
        layout.addWidget(self.full)
        layout.addWidget(self.attacks)
        layout.addLayout(third)
        for widget in (self.run, self.panel, self.summary, self.results):
            layout.addWidget(widget)
        layout.addStretch()

    def start(self) -> None:
        """Audit with what is in the fields."""
        request = self._request()
        if request is not None:
            self.summary.hide()
            self.results.hide()
            self.panel.run(
                request,
                self._show,
                disable=[self.run],
                cancelled=partial(self.summary.announce, _CANCELLED),
            )

    def _request(self) -> AuditSite | None:
        """What is asked for, or ``None`` after telling what is missing."""
        data, out, attacks = self.data.path, self.out.path, self.attacks.chosen
        if not self._jobs.session.is_unlocked:
            self.panel.refuse(
                "The key is locked.", "Unlock it on the Key page, then try again.", is_locked=True
            )
        elif data is None:
            self.panel.refuse(
                "No data folder is chosen.", "Choose the one that the site was trained on."
            )
        elif not attacks:
            self.panel.refuse("No attack is chosen.", "Tick at least one.")
        elif out is None:
            self.panel.refuse(
                "No folder for the report is chosen.", "Choose an empty or a new one."
            )
        else:
            return AuditSite(
                data=data,
                out=out,
                partners=self.partners.paths,
                public=self.public.path,
                unseen=self.unseen.path,
                noise=self.noise.level,
                thorough=self.full.isChecked(),
                attacks=attacks,
                seed=self.seed.value(),
                device=self._jobs.session.device,
            )
        return None

    def _show(self, found: Audited) -> None:
        self.results.fill(found)
        into_view(self.results.summary)

    def _show_site(self) -> None:
        session = self._jobs.session
        if session.site is None or session.key is None:
            self.site.setText(_LOCKED)
            return
        network = "" if session.site.can_segment else " No mapping network is installed here."
        self.site.setText(
            f"Site {session.site.name}, study {session.site.study.name} "
            f"({session.site.study.arrangement}), key epoch {session.key.epoch}.{network}"
        )
