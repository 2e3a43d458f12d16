"""Latent bundles: round trip, and files made to do harm."""

import json
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import save_file

from ppcmi_sf.bundle import (
    MAX_ITEMS,
    BundleHeader,
    LatentBundle,
    new_bundle_id,
    new_item_id,
    read_bundle,
    read_header,
)
from ppcmi_sf.bundle.io import HEADER_KEY, MAX_HEADER_BYTES
from ppcmi_sf.errors import BundleError, InputFileError, PPCMIError, ResourceError, StudyError
from ppcmi_sf.latents import LatentPyramid

ITEMS = 3


@pytest.fixture(scope="module")
def study(make_study):
    return make_study(size=(32, 32))


def header_for(study, kind="query", **fields):
    plain = {
        "kind": kind,
        "bundle_id": new_bundle_id(),
        "in_reply_to": new_bundle_id() if kind == "reply" else None,
        "study": study.fingerprint,
        "site": "north",
        "epoch": 2,
        "transform": "12" * 8,
        "encoders": "ab" * 8,
        "items": tuple(new_item_id() for _ in range(ITEMS)),
    }
    return BundleHeader(**(plain | fields))


def bundle_for(study, kind="query", **fields):
    header = header_for(study, kind, **fields)
    generator = torch.Generator().manual_seed(4)
    latents = {
        role: LatentPyramid(
            {
                s.name: torch.randn(len(header.items), *s.shape, generator=generator)
                for s in study.scales
            }
        )
        for role in header.roles
    }
    return LatentBundle(header, latents)


@pytest.fixture(scope="module")
def good(study, tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "b.safetensors"
    bundle_for(study).save(path)
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["query", "training", "reply"])
@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_round_trip(kind, precision, study, tmp_path):
    validation = (0, 2) if kind == "training" else ()
    bundle = bundle_for(study, kind, validation=validation)
    path = tmp_path / "deep" / bundle.file_name
    bundle.save(path, precision=precision)
    assert read_header(path) == bundle.header
    again = read_bundle(path, study)
    assert again.header == bundle.header
    roles = {"query": ["image"], "training": ["image", "mask"], "reply": ["mask"]}[kind]
    assert sorted(again.latents) == roles
    for role in roles:
        assert again.latents[role].matches(study.scales)
        for name, value in bundle.latents[role].items():
            found = again.latents[role][name]
            assert found.dtype == getattr(torch, precision)
            if precision == "float32":
                assert torch.equal(found, value)
            else:
                torch.testing.assert_close(found.float(), value, rtol=1e-3, atol=1e-3)
    assert [item.name for item in path.parent.iterdir()] == [bundle.file_name]


def test_file_names_tell_kind_and_id_alone(study):
    bundle = bundle_for(study)
    assert bundle.file_name == f"query-{bundle.header.bundle_id}.safetensors"


def test_ids_are_random():
    assert len({new_bundle_id() for _ in range(100)} | {new_item_id() for _ in range(100)}) == 200


def test_the_header_s_fields_are_a_closed_list():
    assert set(BundleHeader.model_fields) == {
        "format",
        "version",
        "kind",
        "bundle_id",
        "in_reply_to",
        "study",
        "site",
        "epoch",
        "transform",
        "encoders",
        "items",
        "validation",
    }


BAD_FIELDS = [
    {"patient": "Jane Doe"},
    {"format": "zip"},
    {"version": 2},
    {"version": "1"},
    {"kind": "model"},
    {"kind": "reply"},
    {"in_reply_to": "0" * 32},
    {"bundle_id": "Jane-Doe"},
    {"bundle_id": "0" * 31},
    {"bundle_id": "../" + "0" * 29},
    {"study": "x"},
    {"site": "../../etc/passwd"},
    {"site": "a/b"},
    {"site": "north\n"},
    {"site": ""},
    {"epoch": 0},
    {"epoch": 10**9},
    {"epoch": 1.0},
    {"epoch": True},
    {"encoders": "zz" * 8},
    {"items": ()},
    {"items": ("0" * 16, "0" * 16, "1" * 16)},
    {"items": ("patient-0000001a",) * 3},
    {"items": tuple(f"{n:016x}" for n in range(MAX_ITEMS + 1))},
    {"validation": (3,)},
    {"validation": (-1,)},
    {"validation": ("0",)},
    {"validation": tuple([0] * (MAX_ITEMS + 1))},
]


@pytest.mark.parametrize("fields", BAD_FIELDS, ids=lambda fields: str(fields)[:40])
def test_bad_header_fields_are_refused(fields, study, tmp_path):
    with pytest.raises(ValidationError):
        BundleHeader(**(header_for(study).model_dump() | fields))
    header = json.loads(header_for(study).model_dump_json()) | fields
    path = tmp_path / "b"
    write_raw(path, study, {HEADER_KEY: json.dumps(header)})
    for read in (lambda: read_header(path), lambda: read_bundle(path, study)):
        with pytest.raises(BundleError) as caught:
            read()
        assert str(path) in caught.value.message
        assert caught.value.hint


def write_raw(path, study, metadata, **changes):
    tensors = {f"image.{s.name}": torch.zeros(ITEMS, *s.shape) for s in study.scales}
    for name, value in changes.items():
        tensors[name.replace("__", ".")] = value
    kept = {name: value for name, value in tensors.items() if value is not None}
    save_file(kept, path, metadata=metadata)


def raw_header(study, **fields):
    return {HEADER_KEY: header_for(study, **fields).model_dump_json()}


@pytest.mark.parametrize(
    "metadata",
    [{}, {HEADER_KEY: ""}, {HEADER_KEY: "null"}, {HEADER_KEY: "[" * 5000}, {"other": "{}"}],
)
def test_a_file_without_a_header_is_refused(metadata, study, tmp_path):
    write_raw(tmp_path / "b", study, metadata)
    with pytest.raises(BundleError, match="not a readable latent bundle"):
        read_header(tmp_path / "b")


def test_metadata_beside_the_header_is_refused(study, tmp_path):
    write_raw(tmp_path / "b", study, raw_header(study) | {"patient": "Jane Doe"})
    with pytest.raises(BundleError, match="not a readable latent bundle"):
        read_bundle(tmp_path / "b", study)


BOTTLENECK = "image__bottleneck"


@pytest.mark.parametrize(
    "changes",
    [
        {BOTTLENECK: torch.zeros(ITEMS, 64, 1, 2)},
        {BOTTLENECK: torch.zeros(ITEMS, 64, 1)},
        {BOTTLENECK: torch.zeros(ITEMS + 1, 64, 1, 1)},
        {BOTTLENECK: torch.zeros(ITEMS, 65, 1, 1)},
        {BOTTLENECK: torch.zeros(ITEMS, 64, 1, 1, dtype=torch.int8)},
        {BOTTLENECK: torch.zeros(ITEMS, 64, 1, 1, dtype=torch.float64)},
        {BOTTLENECK: torch.zeros(ITEMS, 64, 1, 1, dtype=torch.bfloat16)},
        {BOTTLENECK: torch.full((ITEMS, 64, 1, 1), float("nan"))},
        {BOTTLENECK: torch.full((ITEMS, 64, 1, 1), float("inf"))},
        {BOTTLENECK: torch.full((ITEMS, 64, 1, 1), float("-inf"), dtype=torch.float16)},
        {BOTTLENECK: None},
        {"image__extra": torch.zeros(1)},
        {"mask__bottleneck": torch.zeros(ITEMS, 64, 1, 1)},
    ],
)
def test_latents_that_are_not_the_study_s_are_refused(changes, study, tmp_path):
    write_raw(tmp_path / "b", study, raw_header(study), **changes)
    with pytest.raises(BundleError) as caught:
        read_bundle(tmp_path / "b", study)
    assert str(tmp_path / "b") in caught.value.message
    assert caught.value.hint


def test_the_untampered_raw_file_is_accepted(study, tmp_path):
    """Or the tests above would show nothing."""
    write_raw(tmp_path / "b", study, raw_header(study))
    assert read_bundle(tmp_path / "b", study).latents["image"].batch_size == ITEMS


def test_another_study_s_bundle_is_refused(study, make_study, tmp_path):
    other = make_study(size=(32, 32), name="other")
    bundle_for(other).save(tmp_path / "b")
    with pytest.raises(StudyError, match="belongs to another study"):
        read_bundle(tmp_path / "b", study)


def test_truncated_files_are_refused(study, good, tmp_path):
    path = tmp_path / "b"
    for cut in [*range(0, 700, 3), *range(700, len(good), 97), len(good) - 1]:
        path.write_bytes(good[:cut])
        with pytest.raises(BundleError):
            read_bundle(path, study)


@pytest.mark.parametrize("length", [MAX_HEADER_BYTES + 1, 2**32, 2**63, 2**64 - 1, 0, 1])
def test_absurd_header_lengths_are_refused(length, study, good, tmp_path):
    (tmp_path / "b").write_bytes(struct.pack("<Q", length) + good[8:])
    with pytest.raises(BundleError):
        read_bundle(tmp_path / "b", study)


def with_safetensors_header(data: bytes, change) -> bytes:
    length = struct.unpack("<Q", data[:8])[0]
    header = change(json.loads(data[8 : 8 + length]))
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("data_offsets", [0, 2**62]),
        ("data_offsets", [-1, 5]),
        ("data_offsets", [10, 0]),
        ("shape", [2**40, 2**40]),
        ("shape", [-3, 64, 1, 1]),
        ("shape", []),
        ("dtype", "F8_E4M3"),
        ("dtype", "F4"),
        ("dtype", "OBJECT"),
    ],
)
def test_lying_safetensors_headers_are_refused(entry, value, study, good, tmp_path):
    def lie(header):
        header["image.bottleneck"][entry] = value
        return header

    (tmp_path / "b").write_bytes(with_safetensors_header(good, lie))
    with pytest.raises(BundleError):
        read_bundle(tmp_path / "b", study)


def test_missing_files_and_folders_are_refused(study, tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InputFileError, match="cannot be read"):
            read_bundle(path, study)


def test_a_name_that_is_not_utf_8(study, good, tmp_path):
    import os

    raw = os.fsencode(tmp_path) + b"/\xff.safetensors"
    try:
        with open(raw, "wb") as handle:  # noqa: PTH123
            handle.write(good)
    except OSError:
        pytest.skip("this file system refuses the name")
    path = tmp_path / os.fsdecode(b"\xff.safetensors")
    try:
        assert read_bundle(path, study).header.site == "north"
    except PPCMIError as error:
        assert error.hint


@pytest.mark.parametrize(("value", "precision"), [(1e6, "float16"), (float("nan"), "float32")])
def test_values_that_do_not_fit_are_not_written(value, precision, study, tmp_path):
    bundle = bundle_for(study)
    bundle.latents["image"]["skip3"][0, 0, 0, 0] = value
    with pytest.raises(BundleError, match=f"values that {precision} cannot"):
        bundle.save(tmp_path / "b", precision=precision)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(study, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError):
        bundle_for(study).save(tmp_path / "file" / "b")


FUZZ = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FUZZ
@given(data=st.data())
def test_flipped_bytes_never_crash(data, study, good, tmp_path):
    damaged = bytearray(good)
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(good) - 1) | st.integers(0, 900))
        damaged[place] = data.draw(st.integers(0, 255))
    (tmp_path / "b").write_bytes(damaged)
    try:
        bundle = read_bundle(tmp_path / "b", study)
    except PPCMIError:
        return
    assert bundle.latents["image"].matches(study.scales)
    assert all(torch.isfinite(value).all() for value in bundle.latents["image"].values())


@FUZZ
@given(junk=st.binary(max_size=300))
def test_random_bytes_are_refused(junk, study, tmp_path):
    (tmp_path / "b").write_bytes(junk)
    with pytest.raises(BundleError):
        read_bundle(tmp_path / "b", study)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@FUZZ
@given(data=st.data())
def test_random_header_values_never_crash(data, study, tmp_path):
    header = json.loads(header_for(study).model_dump_json())
    for name in data.draw(st.sets(st.sampled_from([*header, "new"]), min_size=1, max_size=3)):
        header[name] = data.draw(JSON)
    write_raw(tmp_path / "b", study, {HEADER_KEY: json.dumps(header)})
    try:
        found = read_bundle(tmp_path / "b", study).header
    except PPCMIError:
        return
    # What passes is within the rules.
    assert BundleHeader.model_validate_json(found.model_dump_json()) == found
    assert found.site.replace("-", "").replace("_", "").replace(".", "").isalnum()
