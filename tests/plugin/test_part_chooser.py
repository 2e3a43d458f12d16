"""Which series, which frame: asked one after another."""

from __future__ import annotations

from pathlib import Path

import pytest
from qtpy.QtWidgets import QPushButton

from napari_ppcmi._protocol.images import FrameChoice, OpenImage, SeriesInfo, SeriesList
from napari_ppcmi._widgets.part_chooser import PartChooser, of_series

T1 = SeriesInfo(uid="1.2", description="T1", file_count=1)
NAMELESS = SeriesInfo(uid="1.3", description="", file_count=9)


@pytest.fixture
def chooser(qtbot):
    made = PartChooser()
    qtbot.addWidget(made)
    made.got = []
    made.chosen.connect(lambda request, told: made.got.append((request, told)))
    return made


def click(chooser, name):
    chooser.findChild(QPushButton, name).click()


def test_questions_wait_for_each_other(chooser):
    assert chooser.isHidden()
    chooser.ask_frame(FrameChoice(path=Path("/a/cine.tif"), count=20))
    chooser.ask_series(Path("/a/scan"), SeriesList(series=(T1, NAMELESS)))
    chooser.ask_frame(FrameChoice(path=Path("/a/other.tif"), count=2))
    assert chooser.question.text().startswith("cine.tif holds 20 images")
    assert chooser.frame.text() == "Frame 1 of 20"
    chooser.frame.setValue(20)
    click(chooser, "open_part")
    assert chooser.question.text() == "scan holds 2 series. Choose one."
    assert [chooser.series.item(at).text() for at in range(2)] == [
        "T1 (1 file)",
        "Without a description (9 files)",
    ]
    chooser.series.itemDoubleClicked.emit(chooser.series.item(0))
    assert "other.tif" in chooser.question.text()
    click(chooser, "skip_part")
    assert chooser.isHidden()
    first, second = chooser.got
    assert first == (
        OpenImage(path=Path("/a/cine.tif"), frame=19, name="cine, frame 20"),
        "This is frame 20 of the 20 in cine.tif.",
    )
    assert second[0] == OpenImage(path=Path("/a/scan"), series_uid="1.2", name="scan, T1")


def test_nothing_is_opened_while_nothing_is_chosen(chooser):
    chooser.ask_series(Path("/a/scan"), SeriesList(series=(T1, NAMELESS)))
    chooser.series.setCurrentRow(-1)
    click(chooser, "open_part")
    assert chooser.got == [] and not chooser.isHidden()


def test_the_only_series_needs_no_name_of_its_own():
    request, told = of_series(Path("/a/scan"), NAMELESS, 1)
    assert request == OpenImage(path=Path("/a/scan"))
    assert told == "This is 'Without a description' (9 files), the only series in scan."
