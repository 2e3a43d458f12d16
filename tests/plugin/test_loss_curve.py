"""Which points a loss curve has, and that it can be seen in either theme."""

from __future__ import annotations

import pytest
from qtpy.QtGui import QColor, QPalette

from napari_ppcmi._protocol.message import Step
from napari_ppcmi._widgets.loss_curve import LossCurve


def step(name: str, epoch: int, loss: float | None = None, validation: float | None = None) -> Step:
    values = {}
    if loss is not None:
        values = {"epoch": float(epoch), "loss": loss}
    if validation is not None:
        values["validation_loss"] = validation
    return Step(done=epoch, total=10, message=f"{name}: training, epoch {epoch}", values=values)


@pytest.fixture
def curve(qtbot):
    made = LossCurve()
    qtbot.addWidget(made)
    return made


def test_a_point_belongs_to_the_epoch_that_is_over(curve):
    curve.add(step("Image autoencoder", 0))
    assert curve.series == []
    curve.add(step("Image autoencoder", 1, 0.5, 0.6))
    curve.add(step("Image autoencoder", 1, 0.5, 0.6))  # a batch of the epoch after it
    curve.add(step("Image autoencoder", 2, 0.4))
    assert curve.series[0].training == {1: 0.5, 2: 0.4}
    assert curve.series[0].validation == {1: 0.6}


def test_an_epoch_as_good_as_the_one_before_is_a_point_too(curve):
    for epoch in (1, 2, 3):
        curve.add(step("Image autoencoder", epoch, 0.5))
    assert curve.series[0].training == {1: 0.5, 2: 0.5, 3: 0.5}


def test_another_network_begins_another_curve(curve):
    curve.add(step("Image autoencoder", 2, 0.5))
    curve.add(step("Mask autoencoder", 2, 0.9))
    assert [series.name for series in curve.series] == ["Image autoencoder", "Mask autoencoder"]
    curve.clear()
    assert curve.series == []


def test_a_resumed_training_begins_where_it_was(curve):
    curve.add(step("Image autoencoder", 7, 0.5))
    assert curve.series[0].training == {7: 0.5}


@pytest.mark.parametrize(("least", "is_log"), [(0.5, False), (0.01, True), (0.0, False)])
def test_a_wide_range_gets_a_logarithmic_axis(curve, least, is_log):
    curve.add(step("Mapping network", 2, 1.0))
    curve.add(step("Mapping network", 3, least))
    assert curve.is_log is is_log


def test_the_latest_numbers_are_told_to_screen_readers(curve):
    curve.add(step("Mask autoencoder", 1, 0.25, 0.5))
    assert curve.accessibleName() == "Loss curve"
    assert curve.accessibleDescription() == (
        "Mask autoencoder, epoch 1: training loss 0.25, validation loss 0.5"
    )


@pytest.mark.parametrize(("text", "ground"), [("white", "black"), ("black", "white")])
def test_it_is_drawn_in_both_themes(curve, text, ground):
    palette = QPalette()
    palette.setColor(QPalette.ColorRole.WindowText, QColor(text))
    palette.setColor(QPalette.ColorRole.Window, QColor(ground))
    curve.setPalette(palette)
    curve.resize(320, 200)
    empty = curve.grab().toImage()
    for epoch in range(2, 6):
        curve.add(step("Image autoencoder", epoch, 1 / epoch, 2 / epoch))
    drawn = curve.grab().toImage()
    assert drawn != empty
    hues = {
        drawn.pixelColor(x, y).hslHue()
        for x in range(drawn.width())
        for y in range(drawn.height())
        if drawn.pixelColor(x, y).hslSaturation() > 150
    }
    assert any(200 <= hue <= 220 for hue in hues)
