"""Pickers of files that say what was chosen, before anything is done with it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtWidgets import QWidget

from napari_ppcmi._jobs import Jobs
from napari_ppcmi._protocol.keys import KeyInfo, LookAtKey, LookAtStudy, StudyInfo
from napari_ppcmi._protocol.message import Request
from napari_ppcmi._widgets.parts import FilePicker, Note, while_there

_SHORT = 12


class _DescribedPicker(FilePicker):
    """A file, and below it what it is."""

    def __init__(
        self, jobs: Jobs, name: str, tip: str, pattern: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(name, tip, pattern, parent=parent)
        self._jobs = jobs
        self._looked_at: Path | None = None
        self.about = Note(f"{name}_about", is_plain=True)
        column = self.layout()
        assert column is not None
        column.addWidget(self.about)
        self.chosen.connect(self._look)

    def show_path(self, path: Path | None) -> None:
        """Show a file that was chosen elsewhere, and what it is."""
        super().show_path(path)
        if path != self._looked_at:
            self._look(path)

    def _look(self, path: Path | None) -> None:
        self._looked_at = path
        self.about.tell("")
        if path is not None:
            job = self._jobs.submit(self._request(path))
            show = while_there(self, partial(self._show, path))
            job.succeeded.connect(lambda info: show(self._describe(info)))
            job.failed.connect(lambda failure: show(failure.text))

    def _show(self, path: Path, text: str) -> None:
        if path == self._looked_at:  # else another was chosen meanwhile
            self.about.tell(text)

    def _request(self, path: Path) -> Request:
        raise NotImplementedError

    def _describe(self, info: Any) -> str:
        raise NotImplementedError


class StudyPicker(_DescribedPicker):
    """The study file. Its fingerprint is shown, which all partners compare."""

    def __init__(self, jobs: Jobs, parent: QWidget | None = None) -> None:
        tip = "What all sites agreed on. Everybody needs the very same file, so pass it on."
        super().__init__(jobs, "study", tip, "Studies (*.yaml *.yml)", parent)

    def _request(self, path: Path) -> Request:
        return LookAtStudy(file=path)

    def _describe(self, info: StudyInfo) -> str:
        structures = ", ".join(one.name for one in info.classes[1:])
        rows, columns = info.image_size
        return (
            f"{info.name}: {info.modality}, {structures}; {rows} x {columns}, {info.arrangement}. "
            f"Fingerprint {info.fingerprint[:_SHORT]}"
        )


class KeyPicker(_DescribedPicker):
    """A client key, closed as it is."""

    def __init__(self, jobs: Jobs, name: str, tip: str, parent: QWidget | None = None) -> None:
        super().__init__(jobs, name, tip, "Client keys (*.ppcmikey)", parent)

    def _request(self, path: Path) -> Request:
        return LookAtKey(file=path)

    def _describe(self, info: KeyInfo) -> str:
        told = (
            f"Site {info.site}, epoch {info.epoch}, valid until {info.expires}. Key id "
            f"{info.key_id}, study {info.study[:_SHORT]}."
        )
        return f"{told} {info.note}".strip()
