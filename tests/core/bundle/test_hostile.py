"""Files made to do harm: the vectors, and any change to a good file."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppcmi_sf import errors
from ppcmi_sf.bundle import BundleHeader, open_bundle, peek, read_bundle, read_envelope
from ppcmi_sf.errors import (
    BundleContentError,
    BundleDamagedError,
    InputFileError,
    PPCMIError,
    ReplayError,
)
from ppcmi_sf.study import StudySpec

VECTORS = Path(__file__).parents[1] / "vectors" / "bundles"
INDEX = json.loads((VECTORS / "index.json").read_text())
MAX_SECONDS = 1
MAX_BYTES = 200_000_000


@pytest.fixture(scope="module")
def receiver(helpers, tmp_path_factory):
    """The server of the vectors, and whom it trusts."""
    people = helpers.children.vector_people()
    home = helpers.children.contact_book(tmp_path_factory.mktemp("home"), people)
    return people["server"], home


def test_every_vector_is_listed_and_the_folder_is_small():
    there = {path.name for path in VECTORS.iterdir() if path.suffix in (".ppcmi", ".ppcmicard")}
    assert there == set(INDEX)
    assert sum(path.stat().st_size for path in VECTORS.iterdir()) < 2_500_000
    kinds = {entry["error"] for entry in INDEX.values()}
    assert kinds == {
        None,
        "BundleDamagedError",
        "BundleVersionError",
        "BundleContentError",
        "NotRecipientError",
        "UntrustedSenderError",
        "ReaddressedError",
        "ContactError",
    }


def test_the_script_makes_this_very_set(helpers, forger):
    """Names, faults and errors; the bytes are random."""
    faults, content = helpers.faults, helpers.content_faults
    forger = helpers.faults.Forger(
        forger.ref,
        forger.people | dict.fromkeys(("south", "revoked", "expired"), forger.people["stranger"]),
        forger.study,
        forger.layouts,
    )
    made = [
        *faults.bit_flips(forger),
        *faults.cuts(forger),
        *faults.shuffles(forger),
        *faults.forgeries(forger),
        *faults.envelopes(forger),
        *content.headers(forger, faults.JSON_FAULTS | faults.SPELLINGS),
        *content.records(forger, faults.JSON_FAULTS),
        *content.numbers(forger),
    ]
    for name, fault, error, _ in made:
        assert INDEX[f"{name}.ppcmi"] == {"fault": fault, "error": error}
    others = {name for name in INDEX if not name.startswith(("good-", "renamed-", "card-"))}
    assert others == {f"{name}.ppcmi" for name, *_ in made}


@pytest.mark.parametrize("name", INDEX)
def test_vector(name, helpers, receiver, tmp_path, monkeypatch):
    identity, home = receiver
    path = tmp_path / name
    path.write_bytes((VECTORS / name).read_bytes())
    monkeypatch.chdir(tmp_path)
    expected = INDEX[name]["error"]
    start = time.perf_counter()
    try:
        records = helpers.children.open_vector(path, identity, home.contacts.sender)
    except PPCMIError as error:
        assert expected is not None, str(error)
        assert type(error) is getattr(errors, expected)
        assert str(path) in error.message
        assert error.hint
        assert "Doe" not in str(error)
    else:
        assert expected is None
        assert records >= 1
    assert time.perf_counter() - start < MAX_SECONDS
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == (VECTORS / name).read_bytes()


def test_all_vectors_in_a_process_of_its_own(child, tmp_path):
    outcome = child("hostile", tmp_path)
    found = outcome["found"]
    assert {name: error for name, (error, _) in found.items()} == {
        name: entry["error"] for name, entry in INDEX.items()
    }
    slow = {name: seconds for name, (_, seconds) in found.items() if seconds >= MAX_SECONDS}
    assert slow == {}
    assert outcome["peak"] < MAX_BYTES


@pytest.mark.parametrize("name", [name for name in INDEX if name.startswith("good-")])
def test_good_vectors_are_those_of_their_study(name, receiver):
    study = StudySpec.load(VECTORS / "study.yaml")
    identity, home = receiver
    if "model" in name:
        assert peek(VECTORS / name, identity).kind == "model"
        return
    bundle = read_bundle(VECTORS / name, study, identity, home.contacts.sender)
    assert len(bundle.batch.items) == bundle.header.items


def test_replay(receiver):
    identity, home = receiver
    path = VECTORS / "good-query-float16.ppcmi"
    with open_bundle(path, identity, home.contacts.sender) as reader:
        home.registry.require_new(reader.header, path)
        home.registry.record_received(reader.header, path, reader.digest, reader.file_bytes)
        with pytest.raises(ReplayError) as caught:
            home.registry.require_new(reader.header, path)
        assert str(path) in caught.value.message
        assert "--again" in caught.value.hint
        home.registry.require_new(reader.header, path, again=True)


def empty_tensors(count: int) -> dict:
    return {f"{n:x}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for n in range(count)}


def test_200_000_empty_tensors(helpers, forger, people, sender_of, tmp_path):
    """Too large for the folder of vectors."""
    payload = forger.payload()
    layout = helpers.content_faults.many(200_000)
    blob = forger.ref.blob(forger.draw("float16", 1), **empty_tensors(200_000))
    for parts, error in (
        (forger.bundle(forger.header(payload, layout=layout), payload), BundleDamagedError),
        (forger.bundle(None, forger.ref.record(blob)), BundleContentError),
    ):
        path = tmp_path / "b.ppcmi"
        path.write_bytes(parts.join())
        start = time.perf_counter()
        with pytest.raises(error), open_bundle(path, people["server"], sender_of) as reader:
            list(reader.records())
        assert time.perf_counter() - start < MAX_SECONDS


# -- what is no file -------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["missing", "folder", "link", "link to nothing", "pipe", "device"])
def test_what_is_no_plain_file(kind, receiver, tmp_path):
    identity, home = receiver
    path = tmp_path / "b.ppcmi"
    good = VECTORS / "good-query-float16.ppcmi"
    if kind == "folder":
        path.mkdir()
    elif kind.startswith("link"):
        path.symlink_to(good if kind == "link" else tmp_path / "nothing")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
        if not path.exists():
            pytest.skip("there is no /dev/zero here")
    before = sorted(tmp_path.iterdir())
    start = time.perf_counter()
    for read in (read_envelope, lambda p: peek(p, identity), lambda p: all_of(p, identity, home)):
        with pytest.raises(InputFileError) as caught:
            read(path)
        assert str(path) in caught.value.message
        assert caught.value.hint
    assert time.perf_counter() - start < MAX_SECONDS
    assert sorted(tmp_path.iterdir()) == before


def all_of(path, identity, home):
    with open_bundle(path, identity, home.contacts.sender) as reader:
        return list(reader.records())


# -- any change ------------------------------------------------------------------------

FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
BASES = ("good-query-float16", "good-several-records", "good-three-chunks")


def refused(path: Path, data: bytes, receiver) -> None:
    """Only PPCMIError leaves the API, and nothing is believed."""
    path.write_bytes(data)
    identity, home = receiver
    for read in (read_envelope, lambda p: peek(p, identity)):
        try:
            read(path)
        except PPCMIError as error:
            assert str(path) in error.message
            assert error.hint
    with pytest.raises(PPCMIError):
        all_of(path, identity, home)


@pytest.mark.parametrize("base", BASES)
class TestAnyChange:
    @FUZZ
    @given(data=st.data())
    def test_any_bit(self, data, base, receiver, tmp_path):
        changed = bytearray((VECTORS / f"{base}.ppcmi").read_bytes())
        place = data.draw(st.integers(0, len(changed) - 1) | st.integers(0, 2000))
        changed[place] ^= 1 << data.draw(st.integers(0, 7))
        refused(tmp_path / "b.ppcmi", bytes(changed), receiver)

    @FUZZ
    @given(data=st.data())
    def test_cut_anywhere(self, data, base, receiver, tmp_path):
        whole = (VECTORS / f"{base}.ppcmi").read_bytes()
        refused(tmp_path / "b.ppcmi", whole[: data.draw(st.integers(0, len(whole) - 1))], receiver)

    @FUZZ
    @given(data=st.data(), more=st.binary(min_size=1, max_size=40))
    def test_inserted_anywhere(self, data, more, base, receiver, tmp_path):
        whole = (VECTORS / f"{base}.ppcmi").read_bytes()
        place = data.draw(st.integers(0, len(whole)) | st.integers(0, 2000))
        refused(tmp_path / "b.ppcmi", whole[:place] + more + whole[place:], receiver)


@FUZZ
@given(junk=st.binary(max_size=300), front=st.booleans())
def test_any_bytes(junk, front, receiver, tmp_path):
    refused(tmp_path / "b.ppcmi", (b"\x89PPCMI\r\n" if front else b"") + junk, receiver)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@FUZZ
@given(data=st.data())
def test_any_header_of_a_known_sender(data, forger, people, sender_of, tmp_path):
    payload = forger.payload()
    fields = forger.header(payload)
    for name in data.draw(st.sets(st.sampled_from([*fields, "new"]), min_size=1, max_size=3)):
        fields[name] = data.draw(JSON)
    if data.draw(st.booleans()):
        fields["layout"] = [
            forger.header(payload)["layout"][0]
            | data.draw(st.dictionaries(st.sampled_from(["name", "dtype", "shape", "new"]), JSON))
        ]
    path = tmp_path / "b.ppcmi"
    path.write_bytes(forger.bundle(fields, payload).join())
    try:
        found = peek(path, people["server"])
        with open_bundle(path, people["server"], sender_of) as reader:
            list(reader.records())
    except PPCMIError:
        return
    # What passes is within the rules.
    assert BundleHeader.from_bytes(found.to_bytes()) == found


@FUZZ
@given(data=st.data())
def test_any_record_of_a_known_sender(data, forger, people, sender_of, tmp_path):
    tensors = forger.draw("float16", 1)
    changes = data.draw(st.dictionaries(st.sampled_from([*tensors, "new"]), JSON, min_size=1))
    path = tmp_path / "b.ppcmi"
    path.write_bytes(
        forger.bundle(None, forger.ref.record(forger.ref.blob(tensors, **changes))).join()
    )
    with pytest.raises(PPCMIError), open_bundle(path, people["server"], sender_of) as reader:
        list(reader.records())
