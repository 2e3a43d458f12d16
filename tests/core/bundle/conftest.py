"""The helpers beside this file, and who exchanges bundles."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ppcmi_sf.bundle import ItemBatch, item_layout, new_item_id, write_bundle
from ppcmi_sf.cards import ContactCard
from ppcmi_sf.errors import UntrustedSenderError
from ppcmi_sf.identity import Identity
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.study import StudySpec, make_classes

HERE = Path(__file__).parent


def load(name: str):
    """A helper by its path, once."""
    known = f"ppcmi_bundle_tests_{name}"
    if known not in sys.modules:
        spec = importlib.util.spec_from_file_location(known, HERE / f"{name}.py")
        sys.modules[known] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[known])
    return sys.modules[known]


@pytest.fixture(scope="session")
def helpers() -> SimpleNamespace:
    names = ("children", "content_faults", "faults", "reference_reader", "reference_writer")
    return SimpleNamespace(**{name: load(name) for name in names})


@pytest.fixture(scope="session")
def child():
    """Run a task of children.py in a process of its own, and give what it prints."""

    def run(task: str, *arguments: object) -> dict:
        result = subprocess.run(
            [sys.executable, HERE / "children.py", task, *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            timeout=120,
        )
        assert result.returncode == 0, result.stderr
        outcome = json.loads(result.stdout)
        assert not outcome["torch"]
        return outcome

    return run


@pytest.fixture(scope="session")
def study() -> StudySpec:
    return StudySpec(
        name="tiny",
        modality="US",
        classes=make_classes(["a"]),
        image_size=(32, 32),
        autoencoder="small",
    )


@pytest.fixture(scope="session")
def people() -> dict[str, Identity]:
    """north sends, server and second receive, stranger does neither."""
    return {name: Identity.generate(name) for name in ("north", "server", "second", "stranger")}


@pytest.fixture(scope="session")
def sender_of(people):
    """Trusts north alone."""

    def look(fingerprint: str) -> ContactCard:
        if fingerprint != people["north"].fingerprint:
            raise UntrustedSenderError("The sender is unknown.", hint="Add its card.")
        return people["north"].card

    return look


@pytest.fixture(scope="session")
def forger(helpers, people, study):
    """Writes what nobody should, in the name of these people."""
    ref = helpers.reference_writer
    parties = {name: ref.Party(one.sign_secret, one.encrypt_secret) for name, one in people.items()}
    layouts = {
        precision: [e.model_dump(mode="json") for e in item_layout(study, "query", precision)]
        for precision in ("float16", "float32", "int8")
    }
    return helpers.faults.Forger(ref, parties, study.fingerprint, layouts)


ROLES = {"query": ("image",), "training": ("image", "mask"), "reply": ("mask",)}
PROTECTED_BY = {"key_id": "5e" * 8, "epoch": 3, "model": "a7" * 8}


def make_batch(study, kind="query", items=3, seed=4) -> ItemBatch:
    generator = torch.Generator().manual_seed(seed)
    latents = {
        role: LatentPyramid(
            {s.name: 3 * torch.randn(items, *s.shape, generator=generator) for s in study.scales}
        )
        for role in ROLES[kind]
    }
    flags = tuple(index % 2 == 0 for index in range(items)) if kind == "training" else ()
    return ItemBatch(tuple(new_item_id() for _ in range(items)), latents, flags)


@pytest.fixture(scope="session")
def batch_for():
    """Latents of some items in memory."""
    return make_batch


@pytest.fixture
def write(people, study, tmp_path):
    """Write a bundle from north to the server; give its path."""

    def run(batch=None, kind="query", to=("server",), **options):
        path = tmp_path / "b.ppcmi"
        options = {"sender": people["north"], "study": study} | PROTECTED_BY | options
        recipients = options.pop("recipients", [people[name].card for name in to])
        batch = batch or make_batch(options["study"], kind)
        write_bundle(path, kind, batch, recipients=recipients, **options)
        return path

    return run
