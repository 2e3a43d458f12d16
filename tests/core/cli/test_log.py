"""The disclosure log: what left and what came; whoever changes it is noticed."""

from __future__ import annotations

import csv
import re
import sqlite3
from contextlib import closing

import pytest

NAMES = ("server", "north", "south", "west")
FIELDS = [
    "seq", "at", "event", "kind", "bundle_id", "study", "peers", "key_id", "epoch", "model",
    "items", "file_bytes", "digest", "previous", "hash",
]  # fmt: skip


def entries(chain, name):
    return chain.ppcmi("log", *chain.at_home(name), "--json").json["entries"]


def verify(chain, name, *more, code=0):
    return chain.ppcmi("log", "verify", *chain.at_home(name), *more, code=code)


def test_a_site_and_a_server_know_what_went_and_came(chain):
    site, server = entries(chain, "north"), entries(chain, "server")
    shares = ["share sent"] if chain.arrangement == "escrow" else []
    events = [entry["event"] for entry in site]
    assert sorted(events[:2]) + events[2:] == [
        "contact added", "membership accepted", "key made", "sent", *shares,
        *["sent"] * 3, *["received"] * 3,
    ]  # fmt: skip
    sent = {entry["bundle_id"] for entry in site if entry["kind"] in ("training", "query")}
    came = {e["bundle_id"] for e in server if e["event"] == "received" and len(e["peers"]) == 1
            and e["peers"][0] == chain.fingerprint("north")}  # fmt: skip
    assert sent == came and len(sent) == 4
    digests = {e["bundle_id"]: e["digest"] for e in server}
    for entry in site:
        if entry["kind"]:
            assert entry["digest"] == digests[entry["bundle_id"]]
            assert entry["peers"] == [chain.fingerprint("server")]
            (file,) = chain.root.glob(f"*/north/{entry['bundle_id']}.ppcmi")
            assert entry["file_bytes"] == file.stat().st_size and entry["items"] >= 1
            assert entry["study"] and entry["epoch"] == 1
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", entry["at"])
        assert list(entry) == FIELDS
    received = [entry for entry in server if entry["event"] == "share received"]
    assert len(received) == (3 if shares else 0)


def test_people_can_read_it(escrow_chain, ppcmi, tmp_path):
    chain = escrow_chain
    lines = ppcmi("log", *chain.at_home("server")).out.splitlines()
    assert len(lines) == len(entries(chain, "server"))
    assert any("received, training" in line and "from north" in line for line in lines)
    assert any("sent, reply" in line and "for south" in line for line in lines)
    query = next(e for e in entries(chain, "north") if e["kind"] == "query")
    words = ("log", "items", query["bundle_id"], *chain.at_home("north"))
    told = ppcmi(*words, "--json").json["items"]
    assert len(told) == query["items"]
    assert {"item", "source", "slice"} == set(told[0]) and len(told[0]["item"]) == 16
    assert told[0]["source"].startswith(str(chain.at("new", "north")))
    assert told[0]["source"] in ppcmi(*words).out
    for unknown in ("0" * 32, "nothing"):
        words = ("log", "items", unknown, *chain.at_home("north"))
        ppcmi.fails(*words, code=5, saying="No bundle with that id was sent from here")
    words = ("log", "items", query["bundle_id"], *chain.at_home("server"))
    ppcmi.fails(*words, code=5, saying="No bundle with that id")  # it came, and was not sent
    ppcmi("identity", "new", "--name", "new", "--home", tmp_path / "new", *chain.known)
    assert ppcmi("log", "--home", tmp_path / "new").out == "Nothing yet.\n"
    assert ppcmi("log", "verify", "--home", tmp_path / "new", "--json").json["entries"] == 0


def test_export(chain, ppcmi, tmp_path):
    for name in NAMES:
        file = tmp_path / f"{name}.csv"
        told = ppcmi("log", "export", file, *chain.at_home(name), "--json").json
        known = entries(chain, name)
        assert told == {"file": str(file), "entries": len(known)}
        with file.open(newline="", encoding="utf-8") as handle:
            table = csv.DictReader(handle)
            rows = list(table)
        assert table.fieldnames == FIELDS and len(rows) == len(known)
        for row, entry in zip(rows, known, strict=True):
            shown = entry | {"peers": " ".join(entry["peers"])}
            assert row == {field: str(value) for field, value in shown.items()}
        assert str(chain.root) not in file.read_text() and "Doe" not in file.read_text()


def test_unbroken(chain):
    for name in NAMES:
        known = entries(chain, name)
        told = verify(chain, name, "--json").json
        assert told == {"entries": len(known), "head": known[-1]["hash"]}
        for earlier in (known[0], known[-1]):
            verify(chain, name, "--head", earlier["hash"])
        plain = verify(chain, name).out
        assert "unbroken" in plain and known[-1]["hash"] in plain


def test_a_hash_that_was_noted_must_still_be_there(escrow_chain):
    chain = escrow_chain
    noted = verify(chain, "north", "--json").json["head"]
    chain.ppcmi("contact", "revoke", "server", *chain.at_home("north"))
    later = verify(chain, "north", "--head", noted, "--json").json["head"]
    assert later != noted
    change(chain, "north", "DELETE FROM log WHERE seq = (SELECT MAX(seq) FROM log)")
    verify(chain, "north")  # an end that was cut off shows only ...
    ran = verify(chain, "north", "--head", later, code=7)  # ... to whoever noted it
    assert "the entry that you noted is not in the disclosure log" in ran.err
    verify(chain, "north", "--head", noted)


def change(chain, name, statement, *values, drop=True):
    """What somebody with access to the file can do."""
    with closing(sqlite3.connect(chain.home(name) / "registry.sqlite")) as base, base:
        if drop:
            base.execute("DROP TRIGGER log_is_not_changed")
            base.execute("DROP TRIGGER log_is_not_shortened")
        base.execute(statement, values)


def test_it_can_only_be_added_to(escrow_chain):
    for statement in ("UPDATE log SET entry = ''", "DELETE FROM log"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            change(escrow_chain, "north", statement, drop=False)
    verify(escrow_chain, "north")


CHANGES = {
    "an entry": "UPDATE log SET entry = replace(entry, '\"items\":2', '\"items\":1') WHERE seq = 4",
    "whom it was for": "UPDATE log SET entry = replace(entry, '[\"', '[\"0') WHERE seq = 5",
    "a day": 'UPDATE log SET entry = replace(entry, \'"at":"2\', \'"at":"1\') WHERE seq = 3',
    "its hash": "UPDATE log SET hash = substr(hash, 2) || 'x' WHERE seq = 5",
    "one gone": "DELETE FROM log WHERE seq = 4",
    "the first gone": "DELETE FROM log WHERE seq = 1",
    "renumbered": "UPDATE log SET seq = 99 WHERE seq = 4",
    "no JSON": "UPDATE log SET entry = 'never happened' WHERE seq = 4",
    "another spelling": "UPDATE log SET entry = replace(entry, ':', ': ') WHERE seq = 4",
    "one put in": "INSERT INTO log SELECT 99, entry, hash FROM log WHERE seq = 4",
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_noticed(escrow_chain, ppcmi, what):
    chain, file = escrow_chain, escrow_chain.home("server") / "registry.sqlite"
    before = [(entry["seq"], entry["hash"]) for entry in entries(chain, "server")]
    change(chain, "server", CHANGES[what])
    words = ("log", "verify", *chain.at_home("server"))
    ran = ppcmi.fails(
        *words, code=7, saying="the disclosure log is broken at entry", naming=str(file)
    )
    assert "Keep a copy of the file and ask who had access" in ran.err
    assert len(before) > 8


def test_hashes_that_were_made_anew_are_noticed_by_the_entry_behind(escrow_chain, ppcmi):
    """Whoever changes an entry and its own hash, too, breaks the chain behind it."""
    chain = escrow_chain
    home = chain.party("server").home
    entry = home.log.entries()[3]
    forged = entry.model_copy(update={"items": entry.items + 1})
    statement = "UPDATE log SET entry = ?, hash = ? WHERE seq = ?"
    change(chain, "server", statement, forged.to_bytes().decode(), forged.hash, entry.seq)
    words = ("log", "verify", *chain.at_home("server"))
    ppcmi.fails(*words, code=7, saying="broken at entry 5: an entry before it is missing or was")


def test_an_entry_that_is_no_text_stops_every_view(escrow_chain, ppcmi, tmp_path):
    chain = escrow_chain
    change(chain, "north", "UPDATE log SET entry = '{}' WHERE seq = 2")
    for words in ((), ("export", tmp_path / "x.csv"), ("verify",)):
        ppcmi.fails("log", *words, *chain.at_home("north"), code=7, saying="broken at entry 2")
    assert not (tmp_path / "x.csv").exists()


def test_a_registry_that_is_none(escrow_chain, ppcmi):
    chain, file = escrow_chain, escrow_chain.home("north") / "registry.sqlite"
    file.write_bytes(b"\x89PNG\r\n\x1a\n" * 999)
    for words in (("log",), ("log", "verify"), ("contact", "list")):
        ran = ppcmi.fails(*words, *chain.at_home("north"), code=7, saying="cannot be used")
        assert str(file) in ran.err
