"""The site's ledger: what it knows, and how it stays whole."""

import sqlite3

import pytest

from ppcmi_sf.bundle import BundleHeader, new_bundle_id, new_item_id
from ppcmi_sf.errors import BundleError, KeyFileError, ResourceError
from ppcmi_sf.imaging import fit_to_grid, read_image
from ppcmi_sf.registry import Registry, SentCase, source_stamp

KEY = "ab" * 8


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "site" / "registry.sqlite")


@pytest.fixture
def case(make_cases, ellipses, make_study, tmp_path):
    found = make_cases(tmp_path / "data", *ellipses(0, 1, size=(48, 64)))[0]
    geometry = read_image(found.image).geometry
    fit = fit_to_grid(geometry, make_study())
    return SentCase(found.name, str(found.image), source_stamp([found.image]), geometry, fit)


def query(items=3, **fields):
    plain = {
        "kind": "query",
        "bundle_id": new_bundle_id(),
        "study": "cd" * 32,
        "site": "north",
        "epoch": 1,
        "transform": "12" * 8,
        "encoders": "ef" * 8,
        "items": tuple(new_item_id() for _ in range(items)),
    }
    return BundleHeader(**(plain | fields))


def reply_to(header, **fields):
    changes = {"kind": "reply", "bundle_id": new_bundle_id(), "in_reply_to": header.bundle_id}
    return header.model_copy(update=changes | fields)


def sent(registry, case, folder, **fields):
    header = query(**fields)
    file = folder / f"{header.bundle_id}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"x")
    registry.record_sent(header, file, KEY, case)
    return header, file


def test_a_reply_finds_its_case_and_slices_in_any_order(registry, case, tmp_path):
    header, _ = sent(registry, case, tmp_path / "out")
    sent(registry, case, tmp_path / "out")
    turned = reply_to(header, items=header.items[::-1])
    found, slices = Registry(registry.path).case_of_reply(turned, KEY)
    assert found == case
    assert slices == [2, 1, 0]


def test_a_reply_to_nothing_is_refused(registry, case, tmp_path):
    sent(registry, case, tmp_path)
    with pytest.raises(BundleError, match="answers no query of this site") as caught:
        registry.case_of_reply(reply_to(query()), KEY)
    assert caught.value.hint


@pytest.mark.parametrize("change", ["missing", "more", "other"])
def test_a_reply_with_other_items_is_refused(change, registry, case, tmp_path):
    header, _ = sent(registry, case, tmp_path)
    new = new_item_id()
    items = {
        "missing": header.items[1:],
        "more": (*header.items, new),
        "other": (new, *header.items[1:]),
    }[change]
    with pytest.raises(BundleError, match="every slice of 'case_000' once"):
        registry.case_of_reply(reply_to(header, items=items), KEY)


def test_a_reply_to_a_query_of_another_key_is_refused(registry, case, tmp_path):
    header, _ = sent(registry, case, tmp_path)
    with pytest.raises(KeyFileError, match="made with another key") as caught:
        registry.case_of_reply(reply_to(header), "00" * 8)
    assert KEY in caught.value.message
    assert caught.value.hint


def test_a_training_bundle_is_no_query(registry):
    header = query(kind="training")
    registry.record_sent(header, registry.path, KEY)
    with pytest.raises(BundleError, match="answers no query"):
        registry.case_of_reply(reply_to(header), KEY)


def test_find_query_wants_everything_the_same(registry, case, tmp_path):
    header, file = sent(registry, case, tmp_path / "out")
    wanted = [case.source, case.stamp, KEY, header.encoders]
    assert registry.find_query(*wanted) == file.resolve()
    assert registry.find_query(*wanted, tmp_path / "out") == file.resolve()
    assert registry.find_query(*wanted, tmp_path / "elsewhere") is None
    for place in range(4):
        changed = [*wanted[:place], "other", *wanted[place + 1 :]]
        assert registry.find_query(*changed) is None
    file.unlink()
    assert registry.find_query(*wanted) is None


def test_find_query_sees_every_folder(registry, case, tmp_path):
    header, first = sent(registry, case, tmp_path / "a")
    _, second = sent(registry, case, tmp_path / "b")
    wanted = (case.source, case.stamp, KEY, header.encoders)
    assert registry.find_query(*wanted, tmp_path / "a") == first
    assert registry.find_query(*wanted, tmp_path / "b") == second


def test_a_forgotten_query_is_gone(registry, case, tmp_path):
    header, _ = sent(registry, case, tmp_path)
    registry.forget(header.bundle_id)
    with pytest.raises(BundleError, match="answers no query"):
        registry.case_of_reply(reply_to(header), KEY)
    assert registry.find_query(case.source, case.stamp, KEY, header.encoders) is None
    with sqlite3.connect(registry.path) as connection:
        for table in ("bundles", "cases", "items"):
            assert connection.execute(f"SELECT COUNT(*) FROM {table}").fetchone() == (0,)


def test_replies_are_noted_once_and_hurt_no_query(registry, case, tmp_path):
    header, _ = sent(registry, case, tmp_path)
    reply = reply_to(header)
    registry.record_received(reply, tmp_path / "r", KEY)
    registry.record_received(reply, tmp_path / "r2", KEY)
    # A hostile server gives its reply the id of the query itself.
    registry.record_received(reply_to(header, bundle_id=header.bundle_id), tmp_path / "x", KEY)
    assert registry.case_of_reply(reply, KEY)[0] == case
    with sqlite3.connect(registry.path) as connection:
        rows = connection.execute("SELECT bundle_id, direction, file FROM bundles").fetchall()
    assert sorted(rows) == sorted(
        [
            (header.bundle_id, "sent", str(tmp_path / f"{header.bundle_id}.safetensors")),
            (reply.bundle_id, "received", str(tmp_path / "r2")),
        ]
    )


def test_a_damaged_ledger_is_refused(tmp_path, case):
    path = tmp_path / "registry.sqlite"
    path.write_bytes(b"this is no database, whatever its name says" * 50)
    with pytest.raises(ResourceError, match="ledger cannot be used") as caught:
        Registry(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_damage_that_comes_later_is_told(registry, case, tmp_path):
    header, _ = sent(registry, case, tmp_path)
    data = bytearray(registry.path.read_bytes())
    data[100:] = b"\xff" * (len(data) - 100)
    registry.path.write_bytes(data)
    with pytest.raises(ResourceError, match="ledger cannot be used"):
        registry.case_of_reply(reply_to(header), KEY)
    with pytest.raises(ResourceError):
        sent(registry, case, tmp_path)


def test_a_damaged_entry_is_told(registry, case, tmp_path):
    header, _ = sent(registry, case, tmp_path)
    with sqlite3.connect(registry.path) as connection:
        connection.execute("UPDATE cases SET geometry = '{}'")
    with pytest.raises(BundleError, match="the entry of 'case_000' is damaged"):
        registry.case_of_reply(reply_to(header), KEY)


def test_a_ledger_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="ledger cannot be used"):
        Registry(tmp_path / "file" / "registry.sqlite")


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
