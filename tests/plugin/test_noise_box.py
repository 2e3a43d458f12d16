"""The field for noise on the features that leave."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt

from napari_ppcmi._widgets.noise_box import NoiseBox


@pytest.fixture
def box(qtbot):
    made = NoiseBox("Noise on what leaves.")
    qtbot.addWidget(made)
    made.show()
    return made


def test_there_is_none_until_it_is_asked_for(box):
    assert box.level == 0
    assert box.text() == "None"
    assert "Noise on what leaves." in box.toolTip()


def test_a_level_can_be_typed_and_taken_back(qtbot, box):
    box.selectAll()
    qtbot.keyClicks(box, f"0{box.locale().decimalPoint()}5")
    qtbot.keyClick(box, Qt.Key.Key_Return)
    assert box.level == 0.5
    box.stepDown()
    box.stepDown()
    assert (box.level, box.text()) == (0, "None")


def test_it_is_never_negative_nor_without_end(box):
    box.setValue(-1)
    assert box.level == 0
    box.setValue(1e9)
    assert box.level == 100
