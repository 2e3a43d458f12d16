"""Icons on buttons: in the colour of the text, and with another theme in another colour."""

from __future__ import annotations

from collections import Counter

from qtpy.QtCore import QSize
from qtpy.QtGui import QColor, QPalette
from qtpy.QtWidgets import QPushButton

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._widgets.icons import set_icon
from napari_ppcmi._widgets.key_page import KeyPage
from napari_ppcmi._widgets.parts import Section, button


def color_of(one: QPushButton) -> QColor:
    """Of what is drawn and is not see-through."""
    image = one.icon().pixmap(QSize(32, 32)).toImage()
    points = [(x, y) for x in range(image.width()) for y in range(image.height())]
    colors = [image.pixelColor(x, y) for x, y in points]
    drawn = Counter(color.name() for color in colors if color.alpha() == 255)
    assert drawn, "nothing is drawn"
    return QColor(drawn.most_common(1)[0][0])


def text_color(one: QPushButton) -> QColor:
    return one.palette().color(QPalette.ColorRole.ButtonText)


def test_an_icon_has_the_colour_of_the_text_and_follows_it(qtbot):
    made = button("&Lock", "lock", "Close it.", lambda: None)
    qtbot.addWidget(made)
    set_icon(made, "lock")
    assert color_of(made) == text_color(made)
    palette = made.palette()
    palette.setColor(QPalette.ColorRole.ButtonText, QColor("#ff0080"))
    made.setPalette(palette)
    assert color_of(made).name() == "#ff0080"
    assert made.text() == "&Lock"


def test_another_theme_of_napari_gives_another_colour(make_napari_viewer, qtbot, unlock_demo):
    viewer = make_napari_viewer(show=True)
    page = KeyPage(viewer)
    viewer.window.add_dock_widget(page, name="Key")
    unlock_demo(viewer)
    arrows = [section.toggleButton() for section in page.findChildren(Section)]
    buttons = [page.lock, page.copy, *arrows]
    seen = {}
    for theme in ("dark", "light"):
        viewer.theme = theme
        qtbot.waitUntil(lambda: all(color_of(one) == text_color(one) for one in buttons))
        seen[theme] = color_of(page.lock).lightness()
    assert seen["dark"] > 128 > seen["light"], seen
    jobs_for(viewer).close()
