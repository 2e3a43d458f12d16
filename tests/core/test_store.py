"""Files of weights: round trip, and everything that can be wrong with one."""

import json
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from ppcmi_sf.errors import ModelFileError, PPCMIError
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.models.store import (
    HEADER_KEY,
    ModelHeader,
    SiteLink,
    load_model,
    read_header,
    save_model,
    weights_id,
)


@pytest.fixture(scope="module")
def study(make_study):
    return make_study(size=(32, 32))


def header_for(study, **fields):
    plain = {"kind": "image-autoencoder", "study": study.fingerprint, "site": "north"}
    return ModelHeader(**(plain | fields))


@pytest.fixture(scope="module")
def good(study, tmp_path_factory):
    """A good file's bytes, and the model in it."""
    torch.manual_seed(1)
    model = Autoencoder(study, "image")
    path = tmp_path_factory.mktemp("good") / "m.safetensors"
    save_model(path, model, header_for(study))
    return path.read_bytes(), model


def state(model):
    return {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}


def load(path, study):
    model = Autoencoder(study, "image")
    before = weights_id(model)
    try:
        assert read_header(path).kind == "image-autoencoder"
        load_model(path, model)
    except ModelFileError:
        assert weights_id(model) == before
        raise
    return model


def test_round_trip(study, good, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(good[0])
    assert read_header(path) == header_for(study)
    again = load(path, study)
    for name, value in state(good[1]).items():
        assert torch.equal(again.state_dict()[name], value)
    assert weights_id(again) == weights_id(good[1])


def test_mapping_network_round_trip(study, tmp_path):
    links = tuple(
        SiteLink(name=name, fingerprint="cd" * 32, epoch=3, transform="12" * 8, encoders="ab" * 8)
        for name in ("a", "b.c")
    )
    model = UnifiedMappingNetwork(study, [link.name for link in links])
    header = ModelHeader(
        kind="mapping-network", study=study.fingerprint, sites=links, adapters=True
    )
    save_model(tmp_path / "m", model, header)
    assert read_header(tmp_path / "m") == header
    other = UnifiedMappingNetwork(study, ["a", "b.c"])
    assert weights_id(other) != weights_id(model)
    load_model(tmp_path / "m", other)
    assert weights_id(other) == weights_id(model)


def test_weights_id_changes_with_any_weight(study):
    model = Autoencoder(study, "image")
    before = weights_id(model)
    assert before == weights_id(model)
    with torch.no_grad():
        model.decoder.head[1].bias[0] += 1e-4
    assert weights_id(model) != before
    assert weights_id(model.encoder) != weights_id(model.decoder)


def rewritten(path, study, model, metadata=None, **changes):
    """A file whose tensors were tampered with; ``None`` leaves one out."""
    tensors = {name: value.clone() for name, value in state(model).items()}
    for name, value in changes.items():
        if value is None:
            del tensors[name.replace("__", ".")]
        else:
            tensors[name.replace("__", ".")] = value
    if metadata is None:
        metadata = {HEADER_KEY: header_for(study).model_dump_json()}
    save_file(tensors, path, metadata=metadata)


BIAS = "decoder__head__1__bias"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({BIAS: torch.zeros(5)}, "shape"),
        ({BIAS: torch.zeros(1, 1)}, "shape"),
        ({BIAS: torch.zeros(1, dtype=torch.float64)}, "number type"),
        ({BIAS: torch.zeros(1, dtype=torch.int8)}, "number type"),
        ({BIAS: torch.zeros(1, dtype=torch.bfloat16)}, "number type"),
        ({BIAS: torch.tensor([float("nan")])}, "not numbers"),
        ({BIAS: torch.tensor([float("inf")])}, "not numbers"),
        ({BIAS: None}, "layers"),
        ({"extra": torch.zeros(1)}, "layers"),
    ],
)
def test_tampered_tensors_are_refused(changes, words, study, good, tmp_path):
    path = tmp_path / "m.safetensors"
    rewritten(path, study, good[1], **changes)
    with pytest.raises(ModelFileError, match=words) as caught:
        load(path, study)
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {HEADER_KEY: ""},
        {HEADER_KEY: "[]"},
        {HEADER_KEY: "{"},
        {HEADER_KEY: json.dumps({"kind": "image-autoencoder"})},
        {HEADER_KEY: json.dumps({"kind": "unet", "study": "ab" * 32})},
        {
            HEADER_KEY: json.dumps(
                {"kind": "image-autoencoder", "study": "ab" * 32, "patient": "Jane Doe"}
            )
        },
        {
            HEADER_KEY: json.dumps(
                {"kind": "image-autoencoder", "study": "ab" * 32, "site": "../../etc"}
            )
        },
    ],
)
def test_bad_headers_are_refused(metadata, study, good, tmp_path):
    rewritten(tmp_path / "m", study, good[1], metadata=metadata)
    with pytest.raises(ModelFileError, match="not a readable file of weights"):
        read_header(tmp_path / "m")


def test_missing_empty_and_foreign_files_are_refused(study, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_bytes(b"hello, this is no file of weights at all")
    (tmp_path / "long").write_bytes(struct.pack("<Q", 2**62) + b"{}")
    for name in ("none", "empty", "text", "long", "."):
        with pytest.raises(ModelFileError):
            read_header(tmp_path / name)
        if name != "none":
            with pytest.raises(ModelFileError):
                load_model(tmp_path / name, Autoencoder(study, "image"))


def test_truncated_files_are_refused(study, good, tmp_path):
    data = good[0]
    path = tmp_path / "m.safetensors"
    cuts = [*range(0, 200, 7), *range(200, len(data), max(1, len(data) // 40)), len(data) - 1]
    for cut in cuts:
        path.write_bytes(data[:cut])
        with pytest.raises(ModelFileError):
            load(path, study)


def test_another_study_s_network_does_not_load(study, good, make_study, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(good[0])
    with pytest.raises(ModelFileError):
        load_model(path, Autoencoder(make_study(autoencoder="ppcmi-sf"), "image"))
    with pytest.raises(ModelFileError):
        load_model(path, Autoencoder(make_study(use_skips=False), "image"))


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_flipped_bytes_never_crash(data, study, good, tmp_path):
    original = good[0]
    length = struct.unpack("<Q", original[:8])[0]
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(original), length + 64) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path / "m.safetensors"
    path.write_bytes(damaged)
    try:
        loaded = load(path, study)
    except PPCMIError:
        return
    assert all(torch.isfinite(value).all() for value in state(loaded).values())
