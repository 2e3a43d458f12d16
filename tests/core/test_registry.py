"""What a party remembers of keys, bundles and cases, and how it stays whole."""

import sqlite3
from pathlib import Path

import pytest

from ppcmi_sf.bundle.header import BundleHeader, TensorLayout, new_bundle_id
from ppcmi_sf.bundle.latents import new_item_id
from ppcmi_sf.errors import BundleError, ReplayError, ResourceError
from ppcmi_sf.imaging import fit_to_grid, read_image
from ppcmi_sf.registry import (
    Database,
    DisclosureLog,
    Registry,
    SentBundle,
    SentCase,
    SentItem,
    source_stamp,
)

KEY_ID, STUDY = "ab" * 8, "cd" * 32
US, THEM = "1a" * 32, "2b" * 32
REPLY = Path("reply.ppcmi")


@pytest.fixture
def registry(tmp_path):
    return Registry(Database(tmp_path / "home" / "registry.sqlite"))


@pytest.fixture
def case(make_cases, ellipses, make_study, tmp_path):
    found = make_cases(tmp_path / "data", *ellipses(0, 1, size=(48, 64)))[0]
    geometry = read_image(found.image).geometry
    fit = fit_to_grid(geometry, make_study())
    return SentCase(found.name, str(found.image), source_stamp([found.image]), geometry, fit)


def header(kind="query", items=3, **fields):
    plain = {
        "kind": kind,
        "bundle_id": new_bundle_id(),
        "study": STUDY,
        "sender": US,
        "recipients": (THEM,),
        "key_id": "12" * 8,
        "epoch": 1,
        "model": "ef" * 8,
        "items": items,
        "layout": (TensorLayout(name="item", dtype="U8", shape=(8,)),),
        "record_items": 8,
        "size": 100,
    }
    return BundleHeader(**(plain | fields))


def new_items(count=3, case=0):
    return [SentItem(new_item_id(), case, number) for number in range(count)]


def send(registry, case, folder, items=None, **fields):
    """Note a bundle that lies in a folder; header, file and items."""
    items = new_items() if items is None else items
    made = header(items=max(1, len(items)), **fields)
    file = folder / f"{made.bundle_id}.ppcmi"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")
    cases = [] if case is None else [case]
    registry.record_sent(SentBundle(made, file, "0d" * 32, 1), KEY_ID, cases, items)
    return made, file, items


def rows(registry, sql):
    with sqlite3.connect(registry.path) as connection:
        return connection.execute(sql).fetchall()


def log_of(registry):
    return DisclosureLog(Database(registry.path)).entries()


# -- replies and their queries ----------------------------------------------------------


def test_any_item_finds_its_query(registry, case, tmp_path):
    _, _, items = send(registry, case, tmp_path / "out")
    send(registry, case, tmp_path / "out")
    for item in items:
        found = Registry(Database(registry.path)).answered_query(item.item_id, REPLY)
        assert found.case == case
        assert found.slices == {one.item_id: one.slice for one in items}
        assert (found.key_id, found.model, found.recipients) == (KEY_ID, "ef" * 8, (THEM,))


def test_every_recipient_of_a_query_may_answer_it(registry, case, tmp_path):
    _, _, items = send(registry, case, tmp_path, recipients=(US, THEM))
    assert registry.answered_query(items[0].item_id, REPLY).recipients == (US, THEM)


def test_an_item_of_nothing_is_refused(registry, case, tmp_path):
    send(registry, case, tmp_path)
    with pytest.raises(BundleError, match=r"reply\.ppcmi: answers no query of this site") as caught:
        registry.answered_query(new_item_id(), REPLY)
    assert "--home" in caught.value.hint


@pytest.mark.parametrize("kind", ["training", "reply", "model"])
def test_an_item_of_another_kind_of_bundle_is_no_query_s(kind, registry, case, tmp_path):
    fields = {"items": 1, "record_items": 1} if kind == "model" else {}
    made = header(kind, **fields)
    items = new_items(1)
    sent = SentBundle(made, tmp_path / "x.ppcmi", "0d" * 32, 1)
    registry.record_sent(sent, KEY_ID, [case], items)
    with pytest.raises(BundleError, match="answers no query"):
        registry.answered_query(items[0].item_id, REPLY)


def test_items_of_a_bundle_are_told_in_their_order(registry, case, tmp_path):
    other = SentCase("other", "/somewhere/else.png", "1-1")
    items = [SentItem(new_item_id(), at, number) for at, number in ((1, 4), (0, 0), (1, 5))]
    made = header("training", items=3)
    sent = SentBundle(made, tmp_path / "x.ppcmi", "0d" * 32, 1)
    registry.record_sent(sent, KEY_ID, [case, other], items)
    sources = [other.source, case.source, other.source]
    numbers = [4, 0, 5]
    ids = [item.item_id for item in items]
    assert registry.items_of(made.bundle_id) == list(zip(ids, sources, numbers, strict=True))
    assert registry.items_of("0" * 32) == []


# -- what was made already --------------------------------------------------------------


def test_what_was_sent_is_found_by_digest_and_by_id(registry, case, tmp_path):
    made, _, _ = send(registry, case, tmp_path / "out")
    for name, digest in ((made.bundle_id, "ff" * 32), ("renamed", "0d" * 32)):
        note = registry.find_sent(name, digest)
        assert (note.bundle_id, note.kind, note.items) == (made.bundle_id, "query", 3)
        assert (note.recipients, note.digest) == ((THEM,), "0d" * 32)
    assert registry.find_sent("renamed", "ff" * 32) is None


def test_find_query_wants_everything_the_same(registry, case, tmp_path):
    made, file, _ = send(registry, case, tmp_path / "out")
    wanted = [case.source, case.stamp, KEY_ID, made.model]
    assert registry.find_query(*wanted) == file.resolve()
    assert registry.find_query(*wanted, folder=tmp_path / "out") == file.resolve()
    assert registry.find_query(*wanted, folder=tmp_path / "elsewhere") is None
    for place in range(4):
        changed = [*wanted[:place], "other", *wanted[place + 1 :]]
        assert registry.find_query(*changed) is None
    file.unlink()
    assert registry.find_query(*wanted) is None


def test_find_query_sees_every_folder(registry, case, tmp_path):
    made, first, _ = send(registry, case, tmp_path / "a")
    _, second, _ = send(registry, case, tmp_path / "b")
    wanted = (case.source, case.stamp, KEY_ID, made.model)
    assert registry.find_query(*wanted, folder=tmp_path / "a") == first
    assert registry.find_query(*wanted, folder=tmp_path / "b") == second


def test_training_bundles_of_a_study(registry, case, tmp_path):
    _, first, _ = send(registry, case, tmp_path, kind="training")
    _, second, _ = send(registry, case, tmp_path, kind="training")
    send(registry, case, tmp_path, kind="training", study="00" * 32)
    send(registry, case, tmp_path)
    assert sorted(registry.training_bundles(STUDY)) == sorted([first, second])
    first.unlink()
    assert registry.training_bundles(STUDY) == [second]


def test_find_reply_wants_query_network_and_folder(registry, tmp_path):
    made = header("reply", items=1)
    file = tmp_path / "out" / f"{made.bundle_id}.ppcmi"
    file.parent.mkdir()
    file.write_bytes(b"x")
    registry.record_sent(SentBundle(made, file, "0d" * 32, 1), answers="77" * 16)
    assert registry.find_reply("77" * 16, made.model, tmp_path / "out") == file
    assert registry.find_reply("78" * 16, made.model, tmp_path / "out") is None
    assert registry.find_reply("77" * 16, "00" * 8, tmp_path / "out") is None
    assert registry.find_reply("77" * 16, made.model, tmp_path) is None
    file.unlink()
    assert registry.find_reply("77" * 16, made.model, tmp_path / "out") is None


# -- taken back -------------------------------------------------------------------------


def test_what_was_withdrawn_is_gone_but_for_the_log(registry, case, tmp_path):
    made, _, items = send(registry, case, tmp_path)
    kept, _, _ = send(registry, case, tmp_path)
    registry.withdraw(made.bundle_id)
    with pytest.raises(BundleError, match="answers no query"):
        registry.answered_query(items[0].item_id, REPLY)
    assert rows(registry, "SELECT bundle_id FROM bundles") == [(kept.bundle_id,)]
    assert rows(registry, "SELECT COUNT(*) FROM cases") == [(1,)]
    assert rows(registry, "SELECT COUNT(*) FROM items") == [(3,)]
    entries = log_of(registry)
    assert [entry.event for entry in entries] == ["sent", "sent", "withdrawn"]
    assert (entries[2].bundle_id, entries[2].digest) == (made.bundle_id, entries[0].digest)


def test_to_withdraw_what_was_never_noted_says_nothing(registry, case, tmp_path):
    send(registry, case, tmp_path)
    registry.withdraw("0" * 32)
    received = header("query", sender=THEM, recipients=(US,))
    registry.record_received(received, tmp_path / "r", "0e" * 32, 5)
    registry.withdraw(received.bundle_id)  # it came; it did not go
    assert [entry.event for entry in log_of(registry)] == ["sent", "received"]
    assert rows(registry, "SELECT COUNT(*) FROM bundles") == [(2,)]


def test_a_bundle_is_noted_whole_or_not_at_all(registry, case, tmp_path):
    """A pseudonym that is there already spoils the note: neither rows nor a log entry."""
    _, _, items = send(registry, case, tmp_path)
    with pytest.raises(ResourceError, match="the registry cannot be used"):
        send(registry, case, tmp_path, items=[*new_items(2), items[0]])
    assert rows(registry, "SELECT COUNT(*) FROM bundles") == [(1,)]
    assert rows(registry, "SELECT COUNT(*) FROM cases") == [(1,)]
    assert rows(registry, "SELECT COUNT(*) FROM items") == [(3,)]
    assert len(log_of(registry)) == 1


# -- what came --------------------------------------------------------------------------


def test_a_bundle_that_came_is_refused_the_second_time(registry, tmp_path):
    came = header("reply", sender=THEM, recipients=(US,))
    registry.require_new(came, REPLY)
    registry.record_received(came, tmp_path / "r", "0e" * 32, 5)
    with pytest.raises(ReplayError, match="was accepted before, on 20") as caught:
        registry.require_new(came, REPLY)
    assert str(REPLY) in caught.value.message
    assert "--again" in caught.value.hint
    registry.require_new(came, REPLY, again=True)
    registry.record_received(came, tmp_path / "r2", "0e" * 32, 5)
    assert rows(registry, "SELECT file FROM bundles") == [(str(tmp_path / "r2"),)]
    assert [entry.event for entry in log_of(registry)] == ["received", "received"]


def test_a_bundle_that_went_out_may_come_back(registry, case, tmp_path):
    """And a hostile server that gives its reply the query's own id spoils nothing."""
    made, file, items = send(registry, case, tmp_path)
    reply = header("reply", bundle_id=made.bundle_id, sender=THEM, recipients=(US,))
    registry.require_new(reply, REPLY)
    registry.record_received(reply, tmp_path / "x", "0e" * 32, 5)
    assert registry.answered_query(items[0].item_id, REPLY).case == case
    assert registry.find_query(case.source, case.stamp, KEY_ID, made.model) == file
    directions = rows(registry, "SELECT direction FROM bundles ORDER BY direction")
    assert directions == [("received",), ("sent",)]
    with pytest.raises(ReplayError):
        registry.require_new(reply, REPLY)


def test_the_log_tells_whom_and_how_much(registry, case, tmp_path):
    made, _, _ = send(registry, case, tmp_path)
    came = header("reply", sender=THEM, recipients=(US,), items=2)
    registry.record_received(came, tmp_path / "r", "0e" * 32, 5)
    went, got = log_of(registry)
    assert (went.event, went.peers, went.items, went.file_bytes) == ("sent", (THEM,), 3, 1)
    assert (got.event, got.peers, got.items, got.file_bytes) == ("received", (THEM,), 2, 5)
    assert (went.bundle_id, got.bundle_id) == (made.bundle_id, came.bundle_id)
    assert (went.digest, got.digest) == ("0d" * 32, "0e" * 32)
    text = str([entry.model_dump() for entry in log_of(registry)])
    assert case.name not in text
    assert str(tmp_path) not in text


# -- damage -----------------------------------------------------------------------------


def test_a_damaged_registry_is_refused(tmp_path):
    path = tmp_path / "registry.sqlite"
    path.write_bytes(b"this is no database, whatever its name says" * 50)
    with pytest.raises(ResourceError, match="registry cannot be used") as caught:
        Registry(Database(path))
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_damage_that_comes_later_is_told(registry, case, tmp_path):
    _, _, items = send(registry, case, tmp_path)
    data = bytearray(registry.path.read_bytes())
    data[100:] = b"\xff" * (len(data) - 100)
    registry.path.write_bytes(data)
    with pytest.raises(ResourceError, match="registry cannot be used"):
        registry.answered_query(items[0].item_id, REPLY)
    with pytest.raises(ResourceError):
        send(registry, case, tmp_path)


@pytest.mark.parametrize("value", ["'{}'", "'not JSON'", "NULL"])
@pytest.mark.parametrize("column", ["geometry", "fit"])
def test_a_damaged_entry_is_told(column, value, registry, case, tmp_path):
    _, _, items = send(registry, case, tmp_path)
    rows(registry, f"UPDATE cases SET {column} = {value}")
    with pytest.raises(BundleError, match="the entry of 'case_000' is damaged"):
        registry.answered_query(items[0].item_id, REPLY)


def test_a_registry_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="registry cannot be used"):
        Registry(Database(tmp_path / "file" / "registry.sqlite"))


def test_stamps_change_with_files(tmp_path):
    folder = tmp_path / "series"
    folder.mkdir()
    (folder / "a").write_bytes(b"1")
    before = source_stamp([folder])
    assert source_stamp([folder]) == before
    (folder / "b").write_bytes(b"2")
    assert source_stamp([folder]) != before
    one = source_stamp([folder / "a"])
    (folder / "a").write_bytes(b"12")
    assert source_stamp([folder / "a"]) != one
