"""The contact book: who is added, renewed, revoked, removed; and the notes about expiry."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from datetime import date, timedelta

import pytest

from ppcmi_sf.dates import Validity, utc_today
from ppcmi_sf.errors import ContactError, ResourceError, UntrustedSenderError
from ppcmi_sf.identity import Identity
from ppcmi_sf.registry import ContactBook, Database, DisclosureLog

NORTH, SOUTH, SERVER = (Identity.generate(name) for name in ("north", "south", "server"))
TODAY = utc_today()
PAST = Validity(date(2020, 1, 1), date(2021, 1, 1))


@pytest.fixture
def database(tmp_path):
    return Database(tmp_path / "registry.sqlite")


@pytest.fixture
def book(database):
    return ContactBook(database)


def events(database):
    return [(entry.event, *entry.peers) for entry in DisclosureLog(database).entries()]


def test_an_added_card_is_there_by_name_and_by_fingerprint(book, database):
    assert book.all() == []
    for identity in (SOUTH, NORTH):
        book.add(identity.card)
    assert [contact.name for contact in book.all()] == ["north", "south"]
    contact = book.get("south")
    assert (contact.card, contact.state, contact.revoked) == (SOUTH.card, "valid", None)
    assert contact.added.startswith(str(TODAY)[:4])
    assert book.recipient("south") == book.sender(SOUTH.fingerprint) == SOUTH.card
    assert ContactBook(Database(database.path)).all() == book.all()
    assert events(database) == [
        ("contact added", SOUTH.fingerprint),
        ("contact added", NORTH.fingerprint),
    ]


def test_who_is_not_there_is_told_with_those_who_are(book):
    with pytest.raises(ContactError, match="There is no contact 'west'\\.") as caught:
        book.get("west")
    assert "ppcmi contact add" in caught.value.hint
    book.add(NORTH.card)
    book.add(SOUTH.card)
    for action in (book.get, book.recipient, book.remove, book.revoke):
        with pytest.raises(ContactError, match="no contact 'west'; there are north, south"):
            action("west")
    with pytest.raises(UntrustedSenderError, match=SERVER.fingerprint[:16]) as caught:
        book.sender(SERVER.fingerprint)
    assert "compare the fingerprint" in caught.value.hint


def test_a_renewed_card_takes_the_place_of_the_old_one(book):
    first = NORTH.renew(Validity(TODAY - timedelta(400), TODAY + timedelta(5)))
    book.add(first.card)
    book.add(first.card)
    book.add(NORTH.card)
    assert [contact.card for contact in book.all()] == [NORTH.card]
    with pytest.raises(ContactError, match="A newer card of 'north' is there already") as caught:
        book.add(first.card)
    assert "current card" in caught.value.hint
    assert book.get("north").card == NORTH.card


@pytest.mark.parametrize("way", ["add", "meet"])
@pytest.mark.parametrize("name", ["north-west", "south"])
def test_a_renewed_card_keeps_its_name(book, way, name):
    book.add(NORTH.card)
    book.add(SOUTH.card)
    keys = NORTH.sign_secret, NORTH.encrypt_secret
    renamed = Identity._make(name, *keys, NORTH.card.validity)
    assert renamed.fingerprint == NORTH.fingerprint
    with pytest.raises(ContactError, match=f"calls itself '{name}'.* contact 'north'") as caught:
        getattr(book, way)(renamed.card)
    assert "ppcmi contact remove north" in caught.value.hint
    assert [contact.name for contact in book.all()] == ["north", "south"]


def test_another_key_under_a_known_name_is_refused_until_the_old_is_removed(book, database):
    book.add(NORTH.card)
    other = Identity.generate("north")
    with pytest.raises(ContactError, match="'north' with another fingerprint already") as caught:
        book.add(other.card)
    assert "ppcmi contact remove north" in caught.value.hint
    assert book.recipient("north") == NORTH.card
    book.remove("north")
    book.add(other.card)
    assert book.recipient("north") == other.card
    with pytest.raises(UntrustedSenderError, match="unknown"):
        book.sender(NORTH.fingerprint)
    assert [event for event, _ in events(database)] == [
        "contact added",
        "contact removed",
        "contact added",
    ]


def test_from_a_revoked_contact_nothing_comes_and_to_it_nothing_goes(book, database):
    book.add(NORTH.card)
    book.revoke("north")
    contact = book.get("north")
    assert contact.state == "revoked"
    assert contact.revoked[:4] == str(TODAY)[:4]
    with pytest.raises(UntrustedSenderError, match="'north' was revoked"):
        book.sender(NORTH.fingerprint)
    with pytest.raises(ContactError, match="The contact 'north' is revoked"):
        book.recipient("north")
    assert events(database)[-1] == ("contact revoked", NORTH.fingerprint)


def test_a_revoked_contact_does_not_come_back_by_a_renewed_card(book):
    book.add(NORTH.card)
    book.revoke("north")
    later = NORTH.renew(Validity(TODAY + timedelta(1), TODAY + timedelta(900)))
    for card in (NORTH.card, later.card):
        with pytest.raises(ContactError, match=f"'north' was revoked on {str(TODAY)[:4]}"):
            book.add(card)
    with pytest.raises(ContactError, match="another fingerprint"):
        book.add(Identity.generate("north").card)
    book.remove("north")
    book.add(NORTH.card)
    assert book.get("north").state == "valid"


@pytest.mark.parametrize(
    ("first", "last", "state"),
    [
        (TODAY - timedelta(9), TODAY, "valid"),
        (TODAY - timedelta(9), TODAY - timedelta(2), "expired"),
        (TODAY + timedelta(1), TODAY + timedelta(9), "valid"),  # elsewhere it is tomorrow
        (TODAY + timedelta(3), TODAY + timedelta(9), "not valid yet"),
        (date(2020, 1, 1), date(2021, 1, 1), "expired"),
    ],
)
def test_a_card_counts_between_its_days_alone(first, last, state, book):
    card = NORTH.renew(Validity(first, last)).card
    book.add(card)
    assert book.get("north").state == state
    if state == "valid":
        assert book.recipient("north") == book.sender(NORTH.fingerprint) == card
        return
    with pytest.raises(ContactError, match=f"The contact 'north' is {state}"):
        book.recipient("north")
    with pytest.raises(UntrustedSenderError, match="the card of the sender 'north'") as caught:
        book.sender(NORTH.fingerprint)
    assert str(last if last < TODAY else first) in caught.value.message


def test_an_older_card_that_comes_along_changes_nothing(book):
    old, new = NORTH.renew(Validity(TODAY - timedelta(9), TODAY + timedelta(90))).card, NORTH.card
    book.meet(old)
    book.meet(new)
    assert book.get("north").card == new
    book.meet(old)
    assert book.get("north").card == new
    with pytest.raises(ContactError, match="A newer card of 'north' is there"):
        book.add(old)
    book.revoke("north")
    for card in (old, new):
        with pytest.raises(ContactError, match="'north' was revoked"):
            book.meet(card)


@pytest.mark.parametrize(
    ("days", "note"),
    [
        (31, None),
        (30, "expires in 30 days"),
        (2, "expires in 2 days"),
        (1, "expires in 1 day,"),
        (0, "expires today"),
        (-1, "expired on"),
        (-500, "expired on"),
    ],
)
def test_thirty_days_before_the_end_there_is_a_note(days, note, book):
    last = TODAY + timedelta(days)
    book.add(NORTH.renew(Validity(last - timedelta(100), last)).card)
    book.add(SOUTH.card)
    notes = book.expiry_notes()
    if note is None:
        assert notes == []
        return
    assert len(notes) == 1
    assert notes[0].startswith(f"The card of 'north' {note}")
    assert notes[0].endswith(f"on {last}.")


def test_of_a_revoked_contact_there_is_no_note(book):
    book.add(NORTH.renew(PAST).card)
    book.revoke("north")
    assert book.expiry_notes() == []


def test_a_card_that_was_changed_in_the_registry_is_told(book, database):
    for change in ("replace(card, 'north', 'nOrth')", "'{}'", "''", "substr(card, 1, 200)"):
        book.add(NORTH.card)
        with database.transaction() as connection:
            connection.execute(f"UPDATE contacts SET card = {change}")
        with pytest.raises(ResourceError, match="a contact in the registry is damaged") as caught:
            book.sender(NORTH.fingerprint)
        assert caught.value.hint
        with database.transaction() as connection:
            connection.execute("DELETE FROM contacts")


DAMAGE = {
    "text": b"this is no database, and never was one. " * 100,
    "zeros": bytes(100_000),
    "a header alone": b"SQLite format 3\x00" + bytes(range(84)),
    "pickle": b"\x80\x04\x95" + bytes(4096),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_file_that_is_no_database_is_told_and_left_as_it_is(name, tmp_path):
    path = tmp_path / "registry.sqlite"
    path.write_bytes(DAMAGE[name])
    with pytest.raises(ResourceError, match="the registry cannot be used") as caught:
        Database(path)
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert path.read_bytes() == DAMAGE[name]


def test_a_database_that_was_damaged_in_its_middle_is_told(book, database):
    book.add(NORTH.card)
    with closing(sqlite3.connect(database.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    whole = bytearray(database.path.read_bytes())
    whole[4096:] = b"\xa5" * (len(whole) - 4096)
    database.path.write_bytes(whole)
    with pytest.raises(ResourceError, match="the registry cannot be used"):
        ContactBook(database).all()


def test_a_folder_in_its_place_and_a_file_in_its_folders_place_are_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for path in (tmp_path, tmp_path / "file" / "registry.sqlite"):
        with pytest.raises(ResourceError, match="the registry cannot be used"):
            Database(path)


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_the_database_is_its_owners_alone(book, database):
    book.add(NORTH.card)
    assert stat.S_IMODE(database.path.stat().st_mode) == 0o600


def test_what_fails_half_way_leaves_neither_contact_nor_entry(book, database):
    with pytest.raises(ResourceError), database.transaction() as connection:
        connection.execute(
            "INSERT INTO contacts VALUES ('f', 'n', ?, 'a', NULL)", (NORTH.card.to_bytes(),)
        )
        connection.execute("INSERT INTO nowhere VALUES (1)")
    assert book.all() == []
    assert events(database) == []


def test_a_database_that_another_process_is_making_is_waited_for(tmp_path):
    path = tmp_path / "registry.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE made (a)")
        other.execute("BEGIN IMMEDIATE")
        end = threading.Timer(0.5, other.execute, ["COMMIT"])
        end.start()
        try:
            Database(path)
        finally:
            end.join()


OPEN = """
import sys
from pathlib import Path
from ppcmi_sf.registry import Database
print("ready", flush=True)
sys.stdin.readline()
Database(Path(sys.argv[1]))
"""


def test_two_processes_may_make_the_database_at_once(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, str(tmp_path / f"{number // 2}.sqlite")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(6)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[1] for process in processes] == [""] * 6
