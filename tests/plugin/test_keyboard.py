"""Everything can be reached with Tab, in the order that is seen, and says what it is."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QRect, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSpinBox,
    QComboBox,
    QDialog,
    QHeaderView,
    QLabel,
    QLineEdit,
    QRadioButton,
    QTabBar,
    QTextEdit,
    QWidget,
)

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.bundles import ExportReview
from napari_ppcmi._protocol.keys import IdentityInfo, LookAtHome
from napari_ppcmi._widgets.audit_widget import AuditWidget
from napari_ppcmi._widgets.contacts_panel import CompareDialog
from napari_ppcmi._widgets.decode_page import DecodePage
from napari_ppcmi._widgets.encode_page import EncodePage
from napari_ppcmi._widgets.exchange_page import ExchangePage
from napari_ppcmi._widgets.key_page import KeyPage
from napari_ppcmi._widgets.log_dialog import LogDialog
from napari_ppcmi._widgets.membership_dialog import MembershipDialog
from napari_ppcmi._widgets.new_key_dialogs import (
    NewIdentityDialog,
    NewKeyDialog,
    RenewIdentityDialog,
    RotateKeyDialog,
)
from napari_ppcmi._widgets.new_study_dialog import NewStudyDialog
from napari_ppcmi._widgets.open_study import OpenStudy
from napari_ppcmi._widgets.parts import Section
from napari_ppcmi._widgets.review_dialog import ReviewDialog
from napari_ppcmi._widgets.segment_widget import SegmentWidget
from napari_ppcmi._widgets.server_widget import ServerWidget
from napari_ppcmi._widgets.share_dialog import ShareDialog
from napari_ppcmi._widgets.train_widget import TrainWidget
from napari_ppcmi._widgets.workspace import Workspace

CONTROLS = (
    QAbstractButton, QAbstractItemView, QAbstractSpinBox, QComboBox, QLineEdit, QTabBar, QTextEdit,
)  # fmt: skip
WIDTH, HEIGHT = 320, 900
MOST_STEPS = 100
PAGES = (
    KeyPage, EncodePage, ExchangePage, DecodePage, SegmentWidget, OpenStudy, TrainWidget,
    ServerWidget, AuditWidget, Workspace,
)  # fmt: skip
DIALOGS = (
    NewIdentityDialog, RenewIdentityDialog, NewKeyDialog, RotateKeyDialog, NewStudyDialog,
    MembershipDialog, ShareDialog, LogDialog,
)  # fmt: skip
JARGON = re.compile(r"latent|tensor|pyramid|\w_\w", re.IGNORECASE)


def controls_of(window: QWidget) -> list[QWidget]:
    """What can be used now, without the parts that Qt makes them of."""
    found = []
    for widget in window.findChildren(QWidget):
        parent = widget.parentWidget()
        inner = isinstance(parent, QAbstractSpinBox | QComboBox | QAbstractItemView)
        inner = inner or (parent is not None and widget.objectName().startswith("qt_"))
        is_control = isinstance(widget, CONTROLS) and not isinstance(widget, QHeaderView)
        scrolls = isinstance(parent, QTabBar)
        if is_control and not inner and not scrolls and widget.isVisible() and widget.isEnabled():
            found.append(widget)
    return found


def name_of(widget: QWidget) -> str:
    text = getattr(widget, "text", lambda: "")
    said = text() if callable(text) else ""
    return f"{type(widget).__name__} '{widget.objectName() or said}'"


def walk(window: QWidget) -> list[QWidget]:
    """Where the focus goes with Tab, from the first to the last."""
    first = window
    while not (first.isVisible() and first.isEnabled() and _takes_tab(first)):
        first = first.nextInFocusChain()
    first.setFocus(Qt.FocusReason.TabFocusReason)
    went: list[QWidget] = []
    for _ in range(MOST_STEPS):
        now = window.focusWidget()
        if now is None or now in went:
            break
        assert _is_seen(now), f"{name_of(now)} gets the focus and is not seen"
        went.append(now)
        QTest.keyClick(now, Qt.Key.Key_Tab)
    return went


def _takes_tab(widget: QWidget) -> bool:
    return widget.focusPolicy() & Qt.FocusPolicy.TabFocus == Qt.FocusPolicy.TabFocus


def _is_seen(widget: QWidget) -> bool:
    """Whether something of it is inside of everything that it lies in, scrolled as it is now."""
    parent = widget.parentWidget()
    while parent is not None and not widget.isWindow():
        place = QRect(widget.mapTo(parent, QPoint(0, 0)), widget.size())
        if not parent.rect().intersects(place):
            return False
        parent = None if parent.isWindow() else parent.parentWidget()
    return True


def is_reached(control: QWidget, went: list[QWidget]) -> bool:
    if control in went:
        return True
    # Of buttons that exclude each other, Tab reaches the one that is on; arrows reach the others.
    return isinstance(control, QRadioButton) and any(
        isinstance(one, QRadioButton) and one.parentWidget() is control.parentWidget()
        for one in went
    )


def order_faults(window: QWidget, went: list[QWidget]) -> list[str]:
    """Where the focus goes up, or to the left within a row."""
    faults = []
    for before, after in pairwise(went):
        here, there = (one.mapTo(window, QPoint(0, 0)) for one in (before, after))
        middle = there.y() + after.height() / 2
        same_row = here.y() < middle < here.y() + before.height()
        if middle < here.y() or (same_row and there.x() < here.x()):
            faults.append(f"the focus jumps back from {name_of(before)} to {name_of(after)}")
    return faults


def tip_of(widget: QWidget) -> str:
    """What Qt shows: a widget without a tooltip shows that of what it lies in."""
    if isinstance(widget, QTabBar):
        return " ".join(widget.tabToolTip(at) for at in range(widget.count()))
    at: QWidget | None = widget
    while at is not None and not at.isWindow():
        if at.toolTip():
            return at.toolTip()
        at = at.parentWidget()
    return ""


def spoken_name(widget: QWidget) -> str:
    """What a screen reader tells of it."""
    if widget.accessibleName() or isinstance(widget, QTabBar):
        return widget.accessibleName() or widget.tabText(0)
    if isinstance(widget, QAbstractButton) and re.search(r"\w", widget.text()):
        return widget.text()
    labels = widget.window().findChildren(QLabel)
    return next((one.text() for one in labels if _leads_to(one.buddy(), widget)), "")


def _leads_to(buddy: QWidget | None, widget: QWidget) -> bool:
    while buddy is not None:
        if buddy is widget:
            return True
        buddy = buddy.focusProxy()
    return False


def text_faults(control: QWidget) -> list[str]:
    faults, tip = [], tip_of(control)
    if not spoken_name(control):
        faults.append(f"{name_of(control)} has no name to be read aloud")
    if not tip:
        faults.append(f"{name_of(control)} has no tooltip")
    elif JARGON.search(tip) or not tip[0].isupper() or not tip.endswith((".", "?")):
        faults.append(f"{name_of(control)}: the tooltip is no plain sentence: {tip!r}")
    return faults


def shortcut_faults(window: QWidget) -> list[str]:
    """Letters that stand for two things at a time."""
    used: Counter[str] = Counter()
    for one in window.findChildren(QWidget):
        if not one.isVisible() or not one.isEnabled():
            continue
        if isinstance(one, QAbstractButton) or (isinstance(one, QLabel) and one.buddy()):
            texts = [one.text()]
        elif isinstance(one, QTabBar):
            texts = [one.tabText(at) for at in range(one.count())]
        else:
            continue
        for text in texts:
            used.update(found.lower() for found in re.findall(r"&(\w)", text))
    return [f"Alt+{letter.upper()} stands for {n} things" for letter, n in used.items() if n > 1]


def room_faults(window: QWidget) -> list[str]:
    """Sentences that have less room than they need."""
    return [
        f"{name_of(label)} is cut off"
        for label in window.findChildren(QLabel)
        if label.isVisible() and label.wordWrap() and label.text()
        if label.height() < label.heightForWidth(label.width())
    ]


def faults_of(window: QWidget) -> list[str]:
    if not isinstance(window, QDialog):
        window.resize(WIDTH, HEIGHT)
    window.show()
    QTest.qWaitForWindowExposed(window)
    QTest.qWait(50)  # sections that were unfolded get their room
    controls = controls_of(window)
    assert controls
    went = walk(window)
    faults = [f"Tab does not reach {name_of(c)}" for c in controls if not is_reached(c, went)]
    faults += order_faults(window, [one for one in went if one in controls])
    for control in controls:
        faults += text_faults(control)
    faults += shortcut_faults(window) + room_faults(window)
    return [f"{type(window).__name__}: {fault}" for fault in faults]


def unfold(window: QWidget) -> None:
    for section in window.findChildren(Section):
        section.expand(animate=False)


def show_all(page: QWidget) -> None:
    """Also what comes with a result, a job or another choice."""
    unfold(page)
    for name in ("results", "curve", "series", "series_button", "kept", "kept_button", "use"):
        part = getattr(page, name, None)
        if isinstance(part, QWidget):
            part.show()
    if isinstance(page, SegmentWidget | TrainWidget | AuditWidget):
        page.panel.cancel.parentWidget().show()
    if isinstance(page, TrainWidget):
        page.from_layers.click()
    if isinstance(page, KeyPage):
        page.same.setChecked(False)


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_while_locked(qtbot, viewer_model, kind):
    page = kind(viewer_model)
    qtbot.addWidget(page)
    faults = faults_of(page)
    show_all(page)
    faults += faults_of(page)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("kind", DIALOGS)
def test_a_dialog(qtbot, viewer_model, kind):
    dialog = kind(jobs_for(viewer_model))
    qtbot.addWidget(dialog)
    faults = faults_of(dialog)
    assert not faults, "\n".join(faults)


def test_pages_and_their_dialogs_once_unlocked(qtbot, viewer_model, unlock_demo, ask):
    viewer_model.add_image(np.zeros((40, 50)), name="slice")
    demo, jobs = unlock_demo(viewer_model), jobs_for(viewer_model)
    home = ask(jobs, LookAtHome(home=demo.home))
    windows: list[QWidget] = [kind(viewer_model) for kind in PAGES]
    for page in windows:
        show_all(page)
    review = ExportReview(
        arrays=(np.zeros((64, 64), np.float32), np.ones((64, 64), np.float32)),
        bundles=1,
        items=1,
        byte_count=2**20,
        recipients=(home.identity,),
        header=(("study", "demo"),),
        picture_of="slice",
        method="least squares",
        correlation=0.5,
        ssim=0.5,
    )
    assert isinstance(home.identity, IdentityInfo)
    windows += [ReviewDialog(review, "blind"), CompareDialog(home.identity)]
    windows[-2].agree.setChecked(True)
    windows[-1].same.setChecked(True)
    faults: list[str] = []
    for window in windows:
        qtbot.addWidget(window)
        faults += faults_of(window)
        window.hide()
    assert not faults, "\n".join(faults)


def test_what_is_folded_away_is_left_out(qtbot, viewer_model):
    page = TrainWidget(viewer_model)
    qtbot.addWidget(page)
    page.show()
    assert page.settings.epochs not in walk(page)
    page.settings.toggleButton().click()
    qtbot.waitUntil(lambda: page.settings.content().height() > 50)
    assert page.settings.epochs in walk(page)
    page.settings.toggleButton().click()
    assert page.settings.epochs not in walk(page)
