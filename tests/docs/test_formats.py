"""What another implementation takes from docs/formats.md is what the program does."""

from __future__ import annotations

import hashlib
import json
import re
import struct
from pathlib import Path

from ppcmi_sf.audit.result import Attack, AttackResult, AuditReport, Measurement
from ppcmi_sf.models.store import HEADER_KEY, ModelHeader
from ppcmi_sf.study import StudySpec
from ppcmi_sf.workflows.folders import SiteFolder


def page(repository: Path) -> str:
    return (repository / "docs" / "formats.md").read_text(encoding="utf-8")


def fenced(text: str, language: str) -> str:
    """The one fenced block of a language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return str(block)


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, bytes]]:
    """Metadata, and each tensor's bytes by its name."""
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    metadata, numbers = header.pop("__metadata__"), data[8 + size :]
    spans = {name: told["data_offsets"] for name, told in header.items()}
    return metadata, {name: numbers[begin:end] for name, (begin, end) in spans.items()}


def weights_id(*parts: dict[str, bytes]) -> str:
    """As the page describes it."""
    text = b"".join(name.encode() + part[name] for part in parts for name in sorted(part))
    return hashlib.sha256(text).hexdigest()[:16]


def test_the_example_of_a_fingerprint(repository: Path, tmp_path: Path) -> None:
    text = page(repository)
    study = tmp_path / "study.yaml"
    study.write_text(fenced(text, "yaml"), encoding="utf-8")
    canonical = fenced(text, "json").replace("\n", "").encode()
    fingerprint = StudySpec.load(study).fingerprint
    assert hashlib.sha256(canonical).hexdigest() == fingerprint
    assert f"the fingerprint `{fingerprint}`" in text


def test_the_id_of_weights_and_fields_that_do_not_apply(repository: Path) -> None:
    text = " ".join(page(repository).split())
    assert "A field that does not apply is `null`, and `sites` an empty list." in text
    site = repository / "sample_data" / "site"
    encoders = []
    for role in ("image", "mask"):
        metadata, tensors = read_safetensors(site / f"{role}_autoencoder.safetensors")
        told = json.loads(metadata[HEADER_KEY])
        assert set(told) == set(ModelHeader.model_fields)
        assert told["network"] is told["encoders"] is told["adapters"] is None
        assert told["sites"] == []
        encoders.append(
            {
                name.removeprefix("encoder."): value
                for name, value in tensors.items()
                if name.startswith("encoder.")
            }
        )
    metadata, tensors = read_safetensors(site / "mapping_network.safetensors")
    told = json.loads(metadata[HEADER_KEY])
    assert told["site"] is None
    assert told["sites"][0]["encoders"] == weights_id(*encoders)
    assert SiteFolder(site).study().fingerprint == told["study"]


def test_every_field_of_an_audit_report_is_told(repository: Path) -> None:
    (section,) = re.findall(r"^## Audit report$(.*?)^## ", page(repository), re.DOTALL | re.M)
    attack = Attack("layout", *["text"] * 6)
    result = AttackResult(attack, (Measurement("of what", 0.5, low=float("nan")),))
    report = AuditReport(
        "s", "north", "escrow", "0" * 64, "1" * 16, 1, "2" * 16, "", (), (), {}, 0, False, (result,)
    )
    fields = report.to_json()
    (told,) = fields["results"]
    assert told["measurements"][0]["low"] is None
    for name in (*fields, *told, *told["attack"], *told["measurements"][0]):
        assert f"`{name}`" in section, name
