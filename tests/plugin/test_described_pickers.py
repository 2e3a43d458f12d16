"""A file is described before anything is done with it, by a real worker."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._widgets.described_pickers import KeyPicker, StudyPicker
from ppcmi_sf.data.sample import sample_data_folder
from ppcmi_sf.study import StudySpec, make_classes

JOB_MS = 30_000
SITE = sample_data_folder() / "site"


@pytest.fixture
def jobs(viewer_model):
    return jobs_for(viewer_model)


@pytest.fixture
def study(tmp_path):
    spec = StudySpec(name="hearts", modality="MR", classes=make_classes(["left", "right"]))
    spec.save(tmp_path / "hearts.yaml")
    return tmp_path / "hearts.yaml", spec


def wait_for(qtbot, picker, text: str) -> None:
    qtbot.waitUntil(lambda: text in picker.about.text(), timeout=JOB_MS)


def test_a_study_that_is_typed_or_looked_for(qtbot, jobs, study):
    file, spec = study
    picker = StudyPicker(jobs)
    qtbot.addWidget(picker)
    picker.show()
    qtbot.keyClicks(picker.line, str(file))
    assert picker.about.text() == "", "not while somebody types"
    qtbot.keyClick(picker.line, Qt.Key.Key_Return)
    wait_for(qtbot, picker, "hearts: MR, left, right; 256 x 256, escrow")
    assert spec.fingerprint[:12] in picker.about.text() and picker.about.isVisible()
    picker.line.clear()
    qtbot.keyClick(picker.line, Qt.Key.Key_Return)
    assert picker.path is None and not picker.about.isVisible()
    told = []
    picker.chosen.connect(told.append)
    picker.ask = lambda: str(file)
    picker.findChild(QPushButton, "study_browse").click()
    wait_for(qtbot, picker, "hearts")
    assert told == [file]
    picker.ask = lambda: ""  # the user changed their mind
    picker.findChild(QPushButton, "study_browse").click()
    assert picker.path == file and told == [file]


@pytest.mark.parametrize("content", [None, b"- a", b"\xff\xfe", b""])
def test_what_is_no_study_is_told(qtbot, jobs, tmp_path, content):
    file = tmp_path / "no.yaml"
    if content is not None:
        file.write_bytes(content)
    picker = StudyPicker(jobs)
    qtbot.addWidget(picker)
    picker.choose(file)
    wait_for(qtbot, picker, "no.yaml")
    assert "ppcmi" not in picker.about.text().replace(str(tmp_path), "")


def test_a_key_is_described_while_it_is_closed(qtbot, jobs, study):
    (file,) = SITE.glob("*.ppcmikey")
    picker = KeyPicker(jobs, "key", "Your key.")
    qtbot.addWidget(picker)
    picker.show_path(file)
    wait_for(qtbot, picker, "Site north, epoch 1")
    assert "Key id " in picker.about.text()
    picker.choose(study[0])
    wait_for(qtbot, picker, "hearts.yaml")
    picker.show_path(None)
    assert picker.about.text() == ""


def test_the_answer_for_a_file_that_was_left_is_not_shown(qtbot, jobs, study, tmp_path):
    picker = StudyPicker(jobs)
    qtbot.addWidget(picker)
    other = StudySpec(name="lungs", modality="MR", classes=make_classes(["lung"]))
    other.save(tmp_path / "lungs.yaml")
    seen = []
    told = picker.about.tell
    picker.about.tell = lambda text: (seen.append(text), told(text))
    picker.choose(study[0])
    picker.choose(tmp_path / "lungs.yaml")
    wait_for(qtbot, picker, "lungs")
    assert not any("hearts" in text for text in seen)
