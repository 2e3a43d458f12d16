"""The Key page by clicks and keys, with a real worker."""

from __future__ import annotations

from pathlib import Path

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QCheckBox, QLabel, QLineEdit, QPushButton, QWidget
from superqt import QCollapsible

from napari_ppcmi._jobs import jobs_for
from napari_ppcmi._protocol.keys import DemoSite, PrepareDemo
from napari_ppcmi._widgets.contacts_panel import ContactsPanel
from napari_ppcmi._widgets.key_page import KeyPage
from napari_ppcmi._widgets.new_key_dialogs import NewIdentityDialog
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.home import Home
from ppcmi_sf.identity import Identity

JOB_MS = 30_000
WIDTH = 320
PHRASE = "four random words"


@pytest.fixture
def page(qtbot, viewer_model):
    made = KeyPage(viewer_model)
    qtbot.addWidget(made)
    made.resize(WIDTH, 900)
    made.show()
    qtbot.waitExposed(made)
    return made


@pytest.fixture
def session(viewer_model):
    return jobs_for(viewer_model).session


@pytest.fixture
def demo(viewer_model, ask, tmp_path) -> DemoSite:
    """A site that is there and is not the page's own demo."""
    return ask(jobs_for(viewer_model), PrepareDemo(folder=tmp_path / "mine"))


def click(qtbot, page, name: str) -> None:
    button = page.findChild(QPushButton, name)
    assert button.isEnabled()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def type_in(qtbot, page, name: str, text: str) -> QLineEdit:
    line = page.findChild(QLineEdit, name)
    line.clear()
    qtbot.keyClicks(line, text)
    return line


def error(page) -> QLabel:
    return page.panel.error


def unlock(qtbot, page, demo: DemoSite, passphrase: str) -> None:
    type_in(qtbot, page, "site_folder", str(demo.site_folder))
    type_in(qtbot, page, "key_file", str(demo.key_file))
    type_in(qtbot, page, "passphrase", passphrase)
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        click(qtbot, page, "unlock")
        assert page.passphrase.text() == ""


def texts(page: QWidget) -> str:
    """Everything that stands anywhere on a page."""
    shown = [one.text() for kind in (QLabel, QLineEdit) for one in page.findChildren(kind)]
    tips = [one.toolTip() for one in page.findChildren(QWidget)]
    return "\n".join(shown + tips)


def test_the_demo_site_is_opened_and_locked_by_two_clicks(qtbot, page, session):
    assert not page.lock.isVisible()
    click(qtbot, page, "demo")
    qtbot.waitUntil(lambda: session.is_unlocked and page.panel.job is None, timeout=JOB_MS)
    assert not error(page).isVisible(), error(page).text()
    assert (
        "Site north, key epoch 1" in page.site.text() and "never for patients" in page.site.text()
    )
    assert page.words.text() == session.identity.words
    click(qtbot, page, "copy_words")
    assert QApplication.clipboard().text() == session.identity.words
    click(qtbot, page, "lock")
    assert session.key is None and session.identity is None
    assert page.form.isVisible() and "Locked" in page.site.text()
    assert not page.words.isVisible()


def test_one_passphrase_opens_both_and_stays_nowhere(qtbot, page, session, demo, tmp_path):
    session.use(home=demo.home)
    secret = demo.passphrase.get_secret_value()
    unlock(qtbot, page, demo, secret)
    assert not error(page).isVisible(), error(page).text()
    assert session.key.site == session.identity.name == session.site.name == "north"
    assert secret not in texts(page)
    assert secret not in repr(vars(session)) + repr(vars(page)) + repr(vars(page._jobs))
    for file in (tmp_path / "xdg").rglob("*"):
        assert not file.is_file() or secret.encode() not in file.read_bytes()


def test_a_wrong_passphrase_opens_nothing_and_says_so(qtbot, page, session, demo):
    session.use(home=demo.home)
    unlock(qtbot, page, demo, "not the right words")
    assert "the passphrase does not open this client key" in error(page).text()
    assert "not the right words" not in texts(page)
    assert not session.is_unlocked and session.identity is None
    assert page.form.isVisible() and not page.lock.isVisible()
    unlock(qtbot, page, demo, demo.passphrase.get_secret_value())  # and the next try works
    assert session.is_unlocked and not error(page).isVisible()


def test_enter_unlocks_and_the_identity_may_have_its_own(qtbot, page, session, demo):
    session.use(home=demo.home, site_folder=demo.site_folder, key_file=demo.key_file)
    assert not page.other.isVisible()
    page.same.click()
    assert page.other.isVisible()
    type_in(qtbot, page, "passphrase", demo.passphrase.get_secret_value())
    line = type_in(qtbot, page, "identity_passphrase", "another passphrase")
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        qtbot.keyClick(line, Qt.Key.Key_Return)
    assert "does not open this identity" in error(page).text()
    assert line.text() == page.passphrase.text() == "" and not session.is_unlocked


def test_what_is_missing_is_told(qtbot, page, session, demo):
    click(qtbot, page, "unlock")
    assert "No passphrase was typed" in error(page).text() and page.panel.job is None
    type_in(qtbot, page, "passphrase", "some words or other")
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        click(qtbot, page, "unlock")
    assert "Nothing was opened" in error(page).text() and page.form.isVisible()


def test_notes_are_shown_while_something_is_open(qtbot, page, session, demo):
    session.use(home=demo.home)
    demo.key_file.chmod(0o644)
    unlock(qtbot, page, demo, demo.passphrase.get_secret_value())
    assert "other users of this computer" in page.notes.text() and page.notes.isVisible()
    click(qtbot, page, "lock")
    assert not page.notes.isVisible()


def test_a_partner_is_added_after_its_words_were_compared(qtbot, page, session, tmp_path):
    card = Identity.generate("server").card
    card.save(tmp_path / "server.ppcmicard")
    panel = expanded(qtbot, page)
    panel._ask_file = lambda: str(tmp_path / "server.ppcmicard")
    click(qtbot, panel, "add_contact")
    qtbot.waitUntil(lambda: panel.dialog is not None and panel.dialog.isVisible(), timeout=10_000)
    assert panel.dialog.findChild(QLabel, "card_words").text() == card.words
    assert not panel.dialog.add.isEnabled()
    panel.dialog.findChild(QCheckBox, "same_words").click()
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        click(qtbot, panel.dialog, "add_partner")
    assert shown(panel) == [("server", "valid")]
    panel.table.selectRow(0)
    asked: list[str] = []
    panel._sure = lambda question: bool(asked.append(question)) or len(asked) > 1
    click(qtbot, panel, "revoke_contact")  # not sure
    assert page.panel.job is None
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        click(qtbot, panel, "revoke_contact")
    assert shown(panel) == [("server", "revoked")] and "cannot be undone" in asked[0]
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        click(qtbot, panel, "remove_contact")
    assert shown(panel) == [] and Home(session.home).contacts.all() == []
    click(qtbot, panel, "remove_contact")
    assert "No partner is chosen" in error(page).text()


def expanded(qtbot, page) -> ContactsPanel:
    """Unfold everything, and wait until it can be clicked."""
    panel = page.findChild(ContactsPanel)
    for section in page.findChildren(QCollapsible):
        section.expand(animate=False)
    for name in ("new_identity", "add_contact"):
        button = page.findChild(QPushButton, name)
        qtbot.waitUntil(lambda shown=button: shown.visibleRegion().contains(shown.rect().center()))
    return panel


def shown(panel: ContactsPanel) -> list[tuple[str, ...]]:
    table = panel.table
    return [tuple(table.item(row, at).text() for at in (0, 1)) for row in range(table.rowCount())]


def test_an_identity_is_made_and_its_card_exported(qtbot, page, session, tmp_path):
    expanded(qtbot, page)
    click(qtbot, page, "new_identity")
    dialog = page.findChild(NewIdentityDialog)
    closed: list[str] = []
    dialog.destroyed.connect(lambda: closed.append("closed"))
    for name, text in (("name", "north"), ("passphrase", PHRASE), ("again", "something else")):
        type_in(qtbot, dialog, name, text)
    dialog.buttons.accepted.emit()
    assert "differ" in dialog.panel.error.text()
    for name in ("passphrase", "again"):  # what was typed was forgotten
        type_in(qtbot, dialog, name, PHRASE)
    dialog.buttons.accepted.emit()
    qtbot.waitUntil(lambda: bool(closed), timeout=JOB_MS)
    assert Home(session.home).card().name == "north"
    page._ask_card_file = lambda: str(tmp_path / "north.ppcmicard")
    with qtbot.waitSignal(page.panel.idle, timeout=JOB_MS):
        click(qtbot, page, "export_card")
    exported = ContactCard.load(Path(tmp_path / "north.ppcmicard"))
    assert exported.fingerprint == Home(session.home).card().fingerprint


def test_it_fits_a_narrow_dock_and_says_what_everything_is(qtbot, page, session):
    page.same.click()
    expanded(qtbot, page)
    assert page.minimumSizeHint().width() <= WIDTH
    for kind in (QPushButton, QLineEdit, QCheckBox):
        for widget in page.findChildren(kind):
            if (
                widget.isVisible()
                and widget.objectName()
                and not isinstance(widget.parent(), QCollapsible)
            ):
                assert widget.toolTip(), widget.objectName()
    buddies = {label.buddy() for label in page.findChildren(QLabel) if label.buddy()}
    assert len(buddies) == 3
