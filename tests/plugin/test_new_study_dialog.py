"""A new study by clicks: what the command line can choose can be chosen here."""

from __future__ import annotations

import pytest
from qtpy.QtWidgets import QDialogButtonBox
from typer.testing import CliRunner

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._widgets.new_study_dialog import NewStudyDialog
from ppcmi_sf.cli.app import app
from ppcmi_sf.study import PercentileNormalization, StudySpec, WindowNormalization

JOB_MS = 30_000


@pytest.fixture
def dialog(qtbot, viewer_model, tmp_path):
    """Filled in, but for what a test is about."""
    made = NewStudyDialog(jobs_for(viewer_model))
    qtbot.addWidget(made)
    made.show()
    made.name.setText("Emboli")
    made.structures.setPlainText("embolus")
    made.file.choose(tmp_path / "study.yaml")
    return made


def choose(box, data) -> None:
    box.setCurrentIndex(box.findData(data))


def save(dialog) -> None:
    dialog.buttons.button(QDialogButtonBox.StandardButton.Save).click()


def saved(qtbot, dialog, tmp_path) -> StudySpec:
    with qtbot.waitSignal(dialog.accepted, timeout=JOB_MS):
        save(dialog)
    return StudySpec.load(tmp_path / "study.yaml")


def test_ct_takes_a_window_as_radiologists_name_it(qtbot, dialog, tmp_path):
    fields = dialog.brightness
    assert fields.low.isVisible() and not fields.center.isVisible()
    choose(dialog.modality, "CT")
    assert fields.center.isVisible() and not fields.low.isVisible()
    entries = [fields.kind.itemText(at) for at in range(fields.kind.count())]
    assert entries[0] == "Soft tissue (40, 400 HU)" and "From each image" not in entries
    fields.kind.setCurrentIndex(fields.kind.findText("Lung (-600, 1500 HU)"))
    assert not fields.center.isEnabled()
    study = saved(qtbot, dialog, tmp_path)
    assert study.normalization == WindowNormalization(center=-600, width=1500)
    assert study.modality == "CT"


def test_a_window_of_ones_own(qtbot, dialog, tmp_path):
    choose(dialog.modality, "CT")
    fields = dialog.brightness
    fields.kind.setCurrentIndex(fields.kind.findText("A fixed window"))
    fields.center.setValue(110)
    fields.width.setValue(250)
    study = saved(qtbot, dialog, tmp_path)
    assert study.normalization == WindowNormalization(center=110, width=250)


def test_going_back_from_ct_takes_values_from_the_image_again(qtbot, dialog, tmp_path):
    choose(dialog.modality, "CT")
    choose(dialog.modality, "US")
    dialog.brightness.low.setValue(1)
    dialog.brightness.high.setValue(98)
    study = saved(qtbot, dialog, tmp_path)
    assert study.normalization == PercentileNormalization(low=1, high=98)


def test_the_networks_can_be_chosen(qtbot, dialog, tmp_path):
    networks = dialog.networks
    assert not networks.channels.isVisible()
    networks.toggleButton().click()
    assert networks.channels.isVisible()
    networks.channels.setValue(3)
    choose(networks.autoencoder, "small")
    choose(networks.mapping, "paper")
    networks.fine.click()
    study = saved(qtbot, dialog, tmp_path)
    chosen = (study.channels, study.autoencoder, study.mapping, study.use_skips)
    assert chosen == (3, "small", "paper", False)


def test_the_defaults_are_those_of_the_command_line(qtbot, dialog, tmp_path):
    plain = tmp_path / "plain.yaml"
    words = ["--name", "Emboli", "--modality", "MR", "--class", "embolus"]
    assert CliRunner().invoke(app, ["study", "new", str(plain), *words]).exit_code == 0
    assert saved(qtbot, dialog, tmp_path) == StudySpec.load(plain)


def test_what_is_wrong_is_told_in_words_of_the_window(qtbot, dialog, tmp_path):
    dialog.brightness.low.setValue(60)
    dialog.brightness.high.setValue(40)
    save(dialog)
    qtbot.waitUntil(lambda: "low must be below high" in dialog.error.text(), timeout=JOB_MS)
    assert "Correct it" in dialog.error.text() and "--" not in dialog.error.text()
    assert not (tmp_path / "study.yaml").exists()
    dialog.brightness.high.setValue(99)
    (tmp_path / "study.yaml").write_text("of somebody else")
    save(dialog)
    qtbot.waitUntil(lambda: "exists already" in dialog.error.text(), timeout=JOB_MS)
    assert (tmp_path / "study.yaml").read_text() == "of somebody else"
    dialog.file.line.clear()
    save(dialog)
    assert "a file" in dialog.error.text()
