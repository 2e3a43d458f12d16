"""The disclosure log: nothing in it is changed, removed, reordered or put in without notice."""

import csv
import hashlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from ppcmi_sf import strictjson
from ppcmi_sf.errors import ResourceError
from ppcmi_sf.identity import Identity
from ppcmi_sf.membership import MembershipList
from ppcmi_sf.registry import ContactBook, Database, DisclosureLog, LogEntry, Memberships, log
from ppcmi_sf.registry.log import GENESIS

SENT = {
    "kind": "query",
    "bundle_id": "0f" * 16,
    "study": "ab" * 32,
    "peers": ("cd" * 32, "ef" * 32),
    "key_id": "01" * 8,
    "epoch": 2,
    "model": "23" * 32,
    "items": 14,
    "file_bytes": 123_456,
    "digest": "45" * 32,
}


@pytest.fixture
def database(tmp_path):
    """An empty log; or, after :func:`five`, its database."""
    return Database(tmp_path / "registry.sqlite")


@pytest.fixture(scope="module")
def file_of_five(tmp_path_factory):
    """A log with five entries, which tests copy."""
    database = Database(tmp_path_factory.mktemp("log") / "registry.sqlite")
    with database.transaction() as connection:
        for number in range(5):
            log.append(connection, "sent", **SENT | {"items": number})
    return database.path


@pytest.fixture
def five(file_of_five, tmp_path):
    """A log with five entries, of the database that :func:`database` gives."""
    shutil.copy(file_of_five, tmp_path / "registry.sqlite")
    return DisclosureLog(Database(tmp_path / "registry.sqlite"))


def rows(database):
    with database.transaction() as connection:
        return connection.execute("SELECT seq, entry, hash FROM log ORDER BY seq").fetchall()


def tamper(database, *statements) -> None:
    """Change the log as somebody can who has the file: the triggers are dropped first."""
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute("DROP TRIGGER log_is_not_changed")
        connection.execute("DROP TRIGGER log_is_not_shortened")
        for statement in statements:
            statement = statement if isinstance(statement, tuple) else (statement,)
            connection.execute(*statement)


def forged(entry: str, **changes) -> tuple[str, str]:
    """An entry's text with changes, and the hash that goes with it."""
    text = strictjson.dumps(json.loads(entry) | changes)
    return text.decode(), hashlib.sha256(text).hexdigest()


def broken_at(database, place: int) -> str:
    with pytest.raises(ResourceError, match=f"is broken at entry {place}: ") as caught:
        DisclosureLog(Database(database.path)).verify()
    assert str(database.path) in caught.value.message
    assert "Keep a copy" in caught.value.hint
    return caught.value.message


def test_an_empty_log_is_whole(database):
    assert DisclosureLog(database).entries() == []
    assert DisclosureLog(database).verify() == GENESIS == "0" * 64
    assert DisclosureLog(database).verify(GENESIS) == GENESIS


def test_every_entry_holds_the_hash_of_the_one_before(five, database):
    entries = five.entries()
    assert [entry.seq for entry in entries] == [1, 2, 3, 4, 5]
    previous = GENESIS
    for entry, (_, text, stored) in zip(entries, rows(database), strict=True):
        assert entry.previous == previous
        # Computed apart from the product's code, from the very text in the file.
        previous = hashlib.sha256(text.encode()).hexdigest()
        assert previous == stored == entry.hash
        assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    assert five.verify() == previous


def test_an_entry_holds_what_was_given_and_the_time_to_the_second(database):
    entry = DisclosureLog(database).append("sent", **SENT)
    assert DisclosureLog(database).entries() == [entry]
    assert entry.model_dump(include=set(SENT)) == SENT
    age = datetime.now(UTC) - datetime.fromisoformat(entry.at)
    assert timedelta(0) <= age < timedelta(minutes=1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", entry.at)


@pytest.mark.parametrize(
    "fields", [{"path": "/home/jane/case.nii"}, {"patient": "Jane"}, {"items": "3"}, {"seq": 0}]
)
def test_what_an_entry_may_not_hold_is_not_written(fields, five):
    with pytest.raises(ValidationError):
        five.append("sent", **fields)
    with pytest.raises(ValidationError):
        five.append("looked at")
    assert len(five.entries()) == 5


def test_no_entry_names_a_path_a_site_or_a_user(tmp_path):
    database = Database(tmp_path / "Jane-Doe" / "registry.sqlite")
    north, server = Identity.generate("Northern-Clinic"), Identity.generate("Mapping-Server")
    book = ContactBook(database)
    book.add(north.card)
    book.add(server.card)
    book.revoke("Northern-Clinic")
    book.remove("Northern-Clinic")
    listed = MembershipList.make(server, "ab" * 32, [north.card], 1)
    Memberships(database).keep(listed, issued=False)
    DisclosureLog(database).export_csv(tmp_path / "log.csv")
    texts = [text for _, text, _ in rows(database)] + [(tmp_path / "log.csv").read_text()]
    assert len(texts) == 6
    for text in texts:
        assert not re.search(r"jane|doe|clinic|mapping|[/\\]|\.sqlite|root", text, re.I)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE log SET entry = '{}'",
        "UPDATE log SET hash = '' WHERE seq = 5",
        "UPDATE log SET seq = 9 WHERE seq = 5",
        "DELETE FROM log",
        "DELETE FROM log WHERE seq = 5",
    ],
)
def test_changing_or_removing_an_entry_is_refused_by_the_database(statement, five, database):
    before = rows(database)
    with (
        closing(sqlite3.connect(database.path)) as connection,
        pytest.raises(sqlite3.IntegrityError, match="the disclosure log is append-only"),
    ):
        connection.execute(statement)
    with pytest.raises(ResourceError, match="append-only"), database.transaction() as connection:
        connection.execute(statement)
    assert rows(database) == before


@pytest.mark.parametrize("place", [3, 5])
def test_replacing_an_entry_is_refused_by_the_database_too(place, five, database):
    text, digest = forged(rows(database)[place - 1][1], items=99)
    with (
        closing(sqlite3.connect(database.path)) as connection,
        pytest.raises(sqlite3.IntegrityError),
    ):
        connection.execute("INSERT OR REPLACE INTO log VALUES (?, ?, ?)", (place, text, digest))


@pytest.mark.parametrize("place", [1, 3, 5])
def test_a_changed_entry_is_found(place, five, database):
    text, _ = forged(rows(database)[place - 1][1], items=99)
    tamper(database, ("UPDATE log SET entry = ? WHERE seq = ?", (text, place)))
    assert "it was changed" in broken_at(database, place)


@pytest.mark.parametrize("place", [1, 3])
def test_a_changed_entry_with_its_hash_is_found_at_the_next(place, five, database):
    text, digest = forged(rows(database)[place - 1][1], items=99)
    tamper(database, ("UPDATE log SET entry = ?, hash = ? WHERE seq = ?", (text, digest, place)))
    broken_at(database, place + 1)


def test_the_last_entry_changed_with_its_hash_is_found_by_the_noted_one(five, database):
    head = five.verify()
    text, digest = forged(rows(database)[4][1], items=99)
    tamper(database, ("UPDATE log SET entry = ?, hash = ? WHERE seq = 5", (text, digest)))
    assert five.verify() == digest
    with pytest.raises(ResourceError, match="not in the disclosure log any more"):
        five.verify(head)


@pytest.mark.parametrize("place", [1, 2, 4])
def test_a_removed_entry_is_found(place, five, database):
    tamper(database, f"DELETE FROM log WHERE seq = {place}")
    broken_at(database, place)


@pytest.mark.parametrize("place", [1, 2, 4])
def test_a_removed_entry_is_found_though_the_others_move_up(place, five, database):
    moved = f"UPDATE log SET seq = seq - 1 WHERE seq > {place}"
    tamper(database, f"DELETE FROM log WHERE seq = {place}", moved)
    broken_at(database, place)


def test_entries_in_another_order_are_found(five, database):
    tamper(
        database,
        "UPDATE log SET seq = 100 WHERE seq = 2",
        "UPDATE log SET seq = 2 WHERE seq = 3",
        "UPDATE log SET seq = 3 WHERE seq = 100",
    )
    broken_at(database, 2)


@pytest.mark.parametrize("place", [1, 3])
def test_an_entry_that_was_put_in_is_found(place, five, database):
    every = rows(database)
    before = every[place - 2][2] if place > 1 else GENESIS
    text, digest = forged(every[0][1], seq=place, previous=before, items=99)
    tamper(
        database,
        f"UPDATE log SET seq = -seq WHERE seq >= {place}",
        f"UPDATE log SET seq = 1 - seq WHERE seq <= -{place}",
        ("INSERT INTO log VALUES (?, ?, ?)", (place, text, digest)),
    )
    broken_at(database, place + 1)


def test_an_end_that_was_cut_off_is_found_with_a_noted_hash(five, database):
    noted = [entry.hash for entry in five.entries()]
    tamper(database, "DELETE FROM log WHERE seq > 3")
    assert five.verify() == noted[2]
    for head in noted[:3]:
        assert five.verify(head) == noted[2]
    for head in (*noted[3:], "f" * 64, ""):
        with pytest.raises(ResourceError, match="not in the disclosure log any more") as caught:
            five.verify(head)
        assert "Entries at its end were removed" in caught.value.hint


def test_a_noted_hash_stays_good_when_the_log_grows(five):
    head = five.verify()
    five.append("received", **SENT)
    assert five.verify(head) != head


def other_spellings(text: str, digest: str) -> list[tuple[object, object]]:
    return [
        (text.replace(":", ": "), digest),
        (text.replace('"items":', '"items":99,"items":'), digest),
        (text[:-1] + ',"patient":"Jane"}', digest),
        (text.replace('"event":"sent"', '"event":"looked at"'), digest),
        (text, digest.upper()),
        (text, ""),
        (text[:-10], digest),
        ("", digest),
        ("{}", digest),
        ("[" * 9000, digest),
        (text.encode(), digest),
        (b"\xff\xfe", digest),
        (5, digest),
        (text, digest.encode()),
    ]


@pytest.mark.parametrize("number", range(14))
def test_an_entry_of_another_spelling_is_found(number, five, database):
    _, text, digest = rows(database)[1]
    changed = other_spellings(text, digest)[number]
    tamper(database, ("UPDATE log SET entry = ?, hash = ? WHERE seq = 2", changed))
    assert "Jane" not in broken_at(database, 2)


def test_an_entry_that_is_not_utf_8_is_told(five, database):
    tamper(database, "UPDATE log SET entry = CAST(x'FFFE' AS TEXT) WHERE seq = 2")
    with pytest.raises(ResourceError):
        five.verify()
    with pytest.raises(ResourceError):
        five.entries()


def test_the_export_parses_back_to_the_same_entries(five, tmp_path):
    five.append("contact added", peers=("cd" * 32,))
    assert five.export_csv(tmp_path / "deep" / "log.csv") == 6
    with (tmp_path / "deep" / "log.csv").open(newline="", encoding="utf-8") as handle:
        table = list(csv.DictReader(handle))
    assert list(table[0]) == [*LogEntry.model_fields, "hash"]
    numbers = {"seq", "epoch", "items", "file_bytes"}
    found = []
    for row in table:
        fields = {name: int(text) if name in numbers else text for name, text in row.items()}
        digest = fields.pop("hash")
        fields["peers"] = tuple(fields["peers"].split())
        found.append(LogEntry(**fields))
        assert found[-1].hash == digest
    assert found == five.entries()


def test_an_empty_log_is_exported_as_its_heads_alone(database, tmp_path):
    assert DisclosureLog(database).export_csv(tmp_path / "log.csv") == 0
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 1


def test_an_entry_waits_for_another_processes_entry(five, database):
    with closing(sqlite3.connect(database.path, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        log.append(other, "received", **SENT)
        end = threading.Timer(0.5, other.commit)
        end.start()
        try:
            assert five.append("sent", **SENT).seq == 7
        finally:
            end.join()
    five.verify()


APPEND = """
import sys
from pathlib import Path
from ppcmi_sf.registry import Database, DisclosureLog
log = DisclosureLog(Database(Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.readline()
for number in range(60):
    log.append("key made", key_id=sys.argv[2], items=number)
"""


def test_two_processes_at_once_make_one_unbroken_chain(database):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPEND, str(database.path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    assert [process.communicate(timeout=120)[1] for process in processes] == ["", ""]
    entries = DisclosureLog(database).entries()
    for name in "01":
        assert [entry.items for entry in entries if entry.key_id == name] == list(range(60))
    assert DisclosureLog(database).verify() == entries[-1].hash


def test_a_process_that_dies_within_a_transaction_leaves_the_log_as_it_was(five, database):
    code = APPEND.split("print")[0] + (
        "import os, sqlite3\n"
        "from ppcmi_sf.registry import log as entries\n"
        "connection = sqlite3.connect(sys.argv[1])\n"
        "connection.execute('BEGIN IMMEDIATE')\n"
        "entries.append(connection, 'key made')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    head = five.verify()
    finished = subprocess.run([sys.executable, "-c", code, str(database.path)], check=False)
    assert finished.returncode == -9
    before = time.perf_counter()
    assert five.verify(head) == head
    assert five.append("sent", **SENT).seq == 6
    assert time.perf_counter() - before < 5
