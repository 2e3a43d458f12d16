"""SPEC.md: a reader and a writer made from it alone agree with the product's."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

from ppcmi_sf import bundle
from ppcmi_sf.bundle import format as bytes_format
from ppcmi_sf.bundle import header as header_rules
from ppcmi_sf.bundle import item_layout, open_bundle, payload, peek, read_bundle

HERE = Path(__file__).parent
SPEC = Path(bundle.__file__).with_name("SPEC.md")
VECTORS = HERE.parent / "vectors" / "bundles"
INDEX = json.loads((VECTORS / "index.json").read_text())
KINDS = ("query", "training", "reply")
PRECISIONS = ("float16", "float32", "int8")


@pytest.fixture(scope="module")
def read(helpers, people):
    """The reference reader, as somebody who trusts north."""
    north = people["north"].card

    def run(path, name="server", senders=None):
        who = people[name]
        return helpers.reference_reader.read(
            path.read_bytes(),
            who.fingerprint,
            who.encrypt_secret,
            senders or {north.fingerprint: bytes.fromhex(north.sign_key)},
        )

    return run


@pytest.mark.parametrize("name", ["reference_reader", "reference_writer"])
def test_the_references_owe_the_product_nothing(name):
    tree = ast.parse((HERE / f"{name}.py").read_text())
    imported = {
        alias.name if isinstance(node, ast.Import) else node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert not [module for module in imported if module.startswith(("ppcmi", "safetensors"))]
    assert not [module for module in imported if "hpke" in module or "hkdf" in module]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_reads_what_the_product_writes(
    kind, precision, read, helpers, batch_for, write, people, study
):
    batch = batch_for(study, kind)
    path = write(batch, kind, to=("server", "second"), precision=precision)
    header, records = read(path)
    assert read(path, "second")[0] == header
    assert header == peek(path, people["server"]).model_dump(mode="json")
    assert len(records) == 1
    assert [row.tobytes().hex() for row in records[0]["item"]] == list(batch.items)
    if kind == "training":
        assert [bool(flag) for flag in records[0]["validation"][:, 0]] == list(batch.validation)
    for role, pyramid in batch.latents.items():
        for scale, value in pyramid.items():
            found = helpers.reference_reader.values_of(f"{role}.{scale}", records[0])
            most = {"float32": 0, "float16": 2e-2, "int8": 0.1}[precision]
            assert np.abs(found - value.numpy()).max() <= most


def test_the_reference_reads_several_records_and_chunks(read, helpers, people, sender_of, tmp_path):
    children = helpers.children
    path = tmp_path / "b.ppcmi"
    children.write(path, 7, 20, people["north"], people["server"].card, portion=3)
    header, records = read(path)
    assert header["size"] > 2 * bytes_format.CHUNK_BYTES
    assert [len(record["item"]) for record in records] == [18, 2]
    with open_bundle(path, people["server"], sender_of) as reader:
        for record, expected in zip(records, reader.records(), strict=True):
            assert set(record) == set(expected)
            assert all((record[name] == expected[name]).all() for name in record)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_product_reads_what_the_reference_writes(
    kind, precision, helpers, forger, people, sender_of, study, tmp_path
):
    layout = [entry.model_dump(mode="json") for entry in item_layout(study, kind, precision)]
    parts = [helpers.faults.random_tensors(layout, count) for count in (2, 2, 1)]
    content = b"".join(forger.ref.record(forger.ref.blob(part)) for part in parts)
    header = forger.header(
        content, ("server", "second"), kind=kind, layout=layout, items=5, record_items=2
    )
    path = tmp_path / "b.ppcmi"
    path.write_bytes(forger.bundle(header, content, to=("server", "second")).join())
    for name in ("server", "second"):
        found = read_bundle(path, study, people[name], sender_of)
        assert found.header.model_dump(mode="json") == header
        tensors = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        assert found.batch.items == tuple(row.tobytes().hex() for row in tensors["item"])
        for role, pyramid in found.latents.items():
            for scale, value in pyramid.items():
                expected = helpers.reference_reader.values_of(f"{role}.{scale}", tensors)
                np.testing.assert_array_equal(value.numpy(), expected)


def test_the_product_reads_three_chunks_and_a_model_of_the_reference(
    forger, people, sender_of, tmp_path
):
    path = tmp_path / "b.ppcmi"
    path.write_bytes(forger.three_chunks().join())
    with open_bundle(path, people["server"], sender_of) as reader:
        assert sum(len(record["item"]) for record in reader.records()) == 85
    tensors = {"a.weight": np.ones((3, 2), np.float32), "b": np.array(2, np.float32)}
    records = [forger.ref.record(forger.ref.blob({k: v})) for k, v in tensors.items()]
    layout = [{"dtype": "F32", "name": k, "shape": list(v.shape)} for k, v in tensors.items()]
    content = b"".join(records)
    header = forger.header(content, kind="model", layout=layout)
    path.write_bytes(forger.bundle(header, content).join())
    with open_bundle(path, people["server"], sender_of) as reader:
        for record, (name, value) in zip(reader.records(), tensors.items(), strict=True):
            np.testing.assert_array_equal(record[name], value, strict=True)


@pytest.mark.parametrize("name", [name for name in INDEX if name.endswith(".ppcmi")])
def test_the_reference_refuses_the_same_vectors(name, helpers):
    """Or SPEC.md would not say all that the product checks."""
    people = helpers.children.vector_people()
    server = people["server"]
    senders = {
        people[who].fingerprint: bytes.fromhex(people[who].card.sign_key)
        for who in ("north", "south", "second")
    }
    arguments = (VECTORS / name).read_bytes(), server.fingerprint, server.encrypt_secret, senders
    if INDEX[name]["error"] is None:
        _, records = helpers.reference_reader.read(*arguments)
        assert records
    else:
        with pytest.raises(ValueError):
            helpers.reference_reader.read(*arguments)


# -- the text -------------------------------------------------------------------------

LIMITS = {
    "bytes of the envelope": bytes_format.MAX_ENVELOPE_BYTES,
    "bytes of the header": header_rules.MAX_HEADER_BYTES,
    "recipients": header_rules.MAX_RECIPIENTS,
    "items": header_rules.MAX_ITEMS,
    "tensors in the layout": header_rules.MAX_TENSORS,
    "length of an axis": header_rules.MAX_SIDE,
    "bytes of a record's numbers": header_rules.MAX_RECORD_BYTES,
    "bytes of a record's numbers, of several items": header_rules.MAX_JOINT_RECORD_BYTES,
    "bytes of a record's own header": payload.MAX_BLOB_HEADER_BYTES,
}


def table(heading: str) -> dict[str, str]:
    """First and second column of the table below a heading."""
    text = SPEC.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [row.strip("| ").split(" | ") for row in text.splitlines() if row.startswith("| ")]
    return {row[0].strip(): row[1].strip() for row in rows[1:]}


def test_the_limits_of_the_text_are_the_program_s():
    found = {name: int(value.replace(" ", "")) for name, value in table("Limits").items()}
    assert LIMITS.items() <= found.items()


def test_the_header_s_fields_of_the_text_are_the_program_s():
    found = {name.strip("`") for name in table("Header")}
    assert found == set(header_rules.BundleHeader.model_fields)


def test_the_algorithms_of_the_text_are_the_program_s():
    text = SPEC.read_text(encoding="utf-8")
    for name, value in bytes_format.Algorithms().model_dump().items():
        assert f"`{name}`" in text
        assert f"`{value}`" in text


def test_every_error_is_in_the_text():
    text = SPEC.read_text(encoding="utf-8")
    for error in {entry["error"] for entry in INDEX.values()} - {None}:
        assert f"`{error}`" in text


def test_links_lead_somewhere():
    """docs/security.md has a test of its own."""
    for target in re.findall(r"\]\(([^)#]+)\)", SPEC.read_text(encoding="utf-8")):
        if not target.startswith("https:") and not target.endswith("docs/security.md"):
            assert (SPEC.parent / target).exists(), target
