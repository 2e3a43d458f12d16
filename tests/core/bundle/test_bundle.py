"""Latent bundles: what is written is what is read, by whom it is for, and nothing else is told."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from ppcmi_sf.bundle import (
    BundleHeader,
    Envelope,
    create_bundle,
    item_layout,
    make_header,
    new_item_id,
    open_bundle,
    peek,
    read_bundle,
    read_envelope,
    write_bundle,
)
from ppcmi_sf.bundle.header import TensorLayout
from ppcmi_sf.bundle.reader import read_digest
from ppcmi_sf.bundle.writer import expected_bytes
from ppcmi_sf.errors import (
    BundleError,
    ResourceError,
)
from ppcmi_sf.study import StudySpec, make_classes

ROLES = {"query": ("image",), "training": ("image", "mask"), "reply": ("mask",)}
NAMES = {"key_id": "5e" * 8, "epoch": 3, "model": "a7" * 8}


@pytest.mark.parametrize("precision", ["float16", "float32", "int8"])
@pytest.mark.parametrize("kind", ROLES)
def test_round_trip(batch_for, kind, precision, write, study, people, sender_of):
    batch = batch_for(study, kind)
    path = write(batch, kind, precision=precision)
    again = read_bundle(path, study, people["server"], sender_of)
    assert again.header == peek(path, people["server"])
    assert (again.header.kind, again.header.items) == (kind, 3)
    assert (again.batch.items, again.batch.validation) == (batch.items, batch.validation)
    assert tuple(again.latents) == again.header.roles == ROLES[kind]
    for role in ROLES[kind]:
        assert again.latents[role].matches(study.scales)
        for name, value in batch.latents[role].items():
            found = again.latents[role][name]
            assert found.dtype == torch.float32
            error = (found - value).abs()
            if precision == "float32":
                assert torch.equal(found, value)
            elif precision == "float16":
                assert (error <= value.abs() * 2**-11 + 2**-25).all()
            else:  # at most half a scale, and what float32 itself rounds
                scale = value.abs().amax(dim=(2, 3), keepdim=True) / 127
                assert (error <= scale * (0.5 + 1e-4)).all()
    assert [one.name for one in path.parent.iterdir()] == ["b.ppcmi"]


@pytest.mark.parametrize("to", [("server",), ("server", "north")])
def test_size_and_digest_without_opening(to, batch_for, write, study, people, sender_of):
    path = write(batch_for(study), to=to)
    with open_bundle(path, people["server"], sender_of) as bundle:
        header, digest = bundle.header, bundle.digest
    assert expected_bytes(header, [people[name].card for name in to]) == path.stat().st_size
    assert read_digest(path) == digest
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    assert read_digest(path) != digest


def test_int8_of_a_channel_that_is_zero(batch_for, write, study, people, sender_of):
    batch = batch_for(study)
    batch.latents["image"]["skip3"][:] = 0
    path = write(batch, precision="int8")
    assert not read_bundle(path, study, people["server"], sender_of).latents["image"]["skip3"].any()


MODEL = {"trunk.0.weight": (4, 3, 3, 3), "trunk.0.bias": (4,), "temperature": ()}


def model_header(people, **changes):
    layout = [TensorLayout(name=name, dtype="F32", shape=MODEL[name]) for name in MODEL]
    names = NAMES | {"study": "ab" * 32, "sender": people["north"]}
    fields = {"items": 1, "layout": layout, "recipients": [people["server"].card]} | names | changes
    return make_header("model", **fields)


def test_a_model(people, sender_of, tmp_path):
    tensors = {
        name: np.random.default_rng(1).normal(size=shape).astype(np.float32)
        if shape
        else np.array(0.5, np.float32)
        for name, shape in MODEL.items()
    }
    path = tmp_path / "m.ppcmi"
    recipients = [people["server"].card]
    with create_bundle(path, model_header(people), people["north"], recipients) as writer:
        for name, value in tensors.items():
            writer.append_tensor(name, value)
        digest = writer.finish()
    with open_bundle(path, people["server"], sender_of) as reader:
        found = list(reader.records())
        assert reader.digest == digest
        assert reader.header.roles == ()
    assert [list(record) for record in found] == [[name] for name in MODEL]
    for record, (name, value) in zip(found, tensors.items(), strict=True):
        np.testing.assert_array_equal(record[name], value, strict=True)


@pytest.mark.parametrize("names", [["temperature"], ["trunk.0.weight"], [*MODEL, "temperature"]])
def test_a_model_whose_tensors_are_others(names, people, tmp_path):
    recipients = [people["server"].card]
    with (
        pytest.raises(BundleError) as caught,
        create_bundle(tmp_path / "m", model_header(people), people["north"], recipients) as writer,
    ):
        for name in names:
            writer.append_tensor(name, np.zeros(MODEL[name], np.float32))
        writer.finish()
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


# -- what is told ----------------------------------------------------------------------


def test_the_header_s_fields_are_a_closed_list():
    assert set(BundleHeader.model_fields) == {
        "version",
        "kind",
        "bundle_id",
        "study",
        "sender",
        "recipients",
        "key_id",
        "epoch",
        "model",
        "items",
        "layout",
        "record_items",
        "size",
    }
    assert set(TensorLayout.model_fields) == {"name", "dtype", "shape"}
    assert set(Envelope.model_fields) == {
        "format",
        "version",
        "algorithms",
        "commitment",
        "recipients",
    }


def test_a_stranger_sees_the_recipients_alone(write, people):
    path = write(to=("server", "second"))
    envelope = read_envelope(path)
    both = sorted(people[name].fingerprint for name in ("server", "second"))
    assert envelope.fingerprints == tuple(both)
    data, header = path.read_bytes(), peek(path, people["server"])
    for hidden in (header.sender, header.bundle_id, header.study, header.model, "query", "north"):
        assert hidden.encode() not in data
        if len(hidden) >= 16:
            assert bytes.fromhex(hidden) not in data


def test_the_same_latents_give_another_file(batch_for, write, study):
    batch = batch_for(study)
    assert write(batch).read_bytes()[1500:] != write(batch).read_bytes()[1500:]
    assert len({new_item_id() for _ in range(100)}) == 100


def test_the_layout_of_an_item(study):
    scales = ["skip3", "skip4", "bottleneck"]
    image, mask = [f"image.{s}" for s in scales], [f"mask.{s}" for s in scales]
    for kind, names in {
        "query": ["item", *image],
        "reply": ["item", *mask],
        "training": ["item", "validation", *image, *mask],
    }.items():
        layout = item_layout(study, kind, "float16")
        assert [entry.name for entry in layout] == names
        assert {entry.dtype for entry in layout if "." in entry.name} == {"F16"}
    small = item_layout(study, "reply", "int8")
    assert [entry.name for entry in small[1:]] == [x for m in mask for x in (m, f"{m}.scale")]
    assert [entry.dtype for entry in small[1:]] == ["I8", "F32"] * 3
    assert [entry.shape for entry in small[1:3]] == [(32, 4, 4), (32,)]


@pytest.mark.parametrize(("precision", "most"), [("float16", 240_000), ("int8", 125_000)])
@pytest.mark.parametrize("preset", ["fine", "ppcmi-sf"])
def test_size_of_a_query(batch_for, precision, most, preset, write):
    study = StudySpec(name="paper", modality="MR", classes=make_classes(["a"]), autoencoder=preset)
    assert study.image_size == (256, 256)
    path = write(batch_for(study, items=1), precision=precision, study=study)
    assert path.stat().st_size <= most


# -- writing ---------------------------------------------------------------------------


@pytest.mark.parametrize(("items", "fits"), [(1, True), (5, True), (6, False)])
def test_a_record_of_several_items_is_small(items, fits, people, study):
    big = TensorLayout(name="image.skip3", dtype="F32", shape=(64, 64, 100))  # 1.6 MB
    layout = [TensorLayout(name="item", dtype="U8", shape=(8,)), big]
    names = NAMES | {"study": study.fingerprint, "sender": people["north"]}
    to = [people["server"].card]
    header = make_header("query", recipients=to, items=9, layout=layout, **names)
    assert header.record_items == 2
    fields = header.model_dump() | {"record_items": items}
    if fits:
        assert BundleHeader.model_validate(fields).record_items == items
        return
    with pytest.raises(ValueError, match="several items is too large"):
        BundleHeader.model_validate(fields)


def stream(path, people, layout, portions, items, each):
    header = make_header(
        "query",
        study="ab" * 32,
        sender=people["north"],
        recipients=[people["server"].card],
        items=items,
        layout=layout,
        **NAMES,
    )
    sizes = [each] * (items // each) + [items % each] * bool(items % each)
    small = header.model_copy(update={"record_items": each})
    lengths = [len_of(small, index) for index in range(len(sizes))]
    small = small.model_copy(update={"size": sum(lengths)})
    with create_bundle(path, small, people["north"], [people["server"].card]) as writer:
        for portion in portions:
            writer.append(portion)
        writer.finish()


def len_of(header, index):
    from ppcmi_sf.bundle.payload import record_length

    return record_length(header.record_layout(index))


def portions_of(tensors, sizes):
    start = 0
    for size in sizes:
        yield {name: value[start : start + size] for name, value in tensors.items()}
        start += size


ITEMS = 23


@pytest.mark.parametrize("sizes", [[23], [1] * 23, [1, 11, 2, 9], [4, 5, 5, 5, 4], [22, 1]])
def test_portions_do_not_matter(sizes, helpers, people, study, sender_of, tmp_path):
    layout = item_layout(study, "query", "float16")
    tensors = helpers.faults.random_tensors([entry.model_dump() for entry in layout], ITEMS)
    path = tmp_path / "b.ppcmi"
    stream(path, people, layout, portions_of(tensors, sizes), ITEMS, 5)
    with open_bundle(path, people["server"], sender_of) as reader:
        records = list(reader.records())
    assert [len(record["item"]) for record in records] == [5, 5, 5, 5, 3]
    for name, value in tensors.items():
        np.testing.assert_array_equal(np.concatenate([r[name] for r in records]), value)


@pytest.mark.parametrize("sizes", [[22], [24], [20, 4], [], [5, 5, 5, 5, 3, 1]])
def test_too_few_or_too_many_items(sizes, helpers, people, study, tmp_path):
    layout = item_layout(study, "query", "float16")
    tensors = helpers.faults.random_tensors([entry.model_dump() for entry in layout], 30)
    with pytest.raises(BundleError, match="other items than its header says"):
        stream(tmp_path / "b", people, layout, portions_of(tensors, sizes), ITEMS, 5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"more": np.zeros((5, 1), np.uint8)},
        {"item": np.zeros((5, 7), np.uint8)},
        {"image.skip3": np.zeros((5, 32, 4, 4), np.float32)},
        {"image.skip3": np.full((5, 32, 4, 4), np.nan, np.float16)},
        {"image.skip3": np.full((5, 32, 4, 4), -np.inf, np.float16)},
    ],
)
def test_tensors_that_are_not_the_layout_s(change, helpers, people, study, tmp_path):
    layout = item_layout(study, "query", "float16")
    tensors = helpers.faults.random_tensors([entry.model_dump() for entry in layout], 5)
    with pytest.raises(BundleError) as caught:
        stream(tmp_path / "b", people, layout, [tensors | change], 5, 5)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "precision"),
    [(1e6, "float16"), (float("nan"), "float32"), (float("inf"), "int8"), (-1e5, "float16")],
)
def test_values_that_do_not_fit_are_not_written(
    batch_for, value, precision, write, study, tmp_path
):
    batch = batch_for(study)
    batch.latents["image"]["skip3"][0, 0, 0, 0] = value
    with pytest.raises(BundleError, match=f"values that {precision} cannot") as caught:
        write(batch, precision=precision)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_what_stands_there_stays_when_the_writing_fails(batch_for, write, study, people, sender_of):
    path = write()
    before = path.read_bytes()
    with pytest.raises(BundleError):
        write(replace(batch_for(study), items=("0" * 16,)))  # three latents, one item
    assert path.read_bytes() == before
    assert read_bundle(path, study, people["server"], sender_of).header.items == 3
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(batch_for, people, study, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError) as caught:
        write_bundle(
            tmp_path / "file" / "b.ppcmi",
            "query",
            batch_for(study),
            study,
            sender=people["north"],
            recipients=[people["server"].card],
            **NAMES,
        )
    assert caught.value.hint


# -- what is loaded --------------------------------------------------------------------


def loads_without(blocked: list[str], code: str) -> None:
    block = "".join(f"sys.modules[{name!r}] = None;" for name in blocked)
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; {block} {code}"], capture_output=True, encoding="utf-8"
    )
    assert result.returncode == 0, result.stderr


def test_the_bytes_are_parsed_without_torch_and_cryptography(write):
    path = write()
    code = (
        "from ppcmi_sf.bundle.format import read_prelude, Envelope; "
        "from ppcmi_sf.bundle.header import BundleHeader; "
        f"print(read_prelude(open({str(path)!r}, 'rb'), 'x').envelope)"
    )
    loads_without(["torch", "cryptography"], code)


def test_reading_and_writing_need_no_torch():
    loads_without(["torch"], "from ppcmi_sf.bundle import open_bundle, create_bundle, item_layout")


def test_every_public_name_is_there():
    import ppcmi_sf.bundle as package

    assert all(getattr(package, name) is not None for name in package.__all__)
    assert set(package.__all__) <= set(dir(package))
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = package.nothing_like_it


def test_a_content_key_shows_nothing():
    from ppcmi_sf.bundle.crypto import ContentKey

    assert repr(ContentKey(b"k" * 32)) == "ContentKey(…)"
