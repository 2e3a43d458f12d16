"""A small site with phantoms, in memory, whose transform can be looked at from all sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.subject import GroupedSlices, Partner, Subject
from ppcmi_sf.data.phantom import DEMO_SITES, phantom_2d, site_rng
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.progress import run
from ppcmi_sf.roles import Site
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.training.autoencoders import AutoencoderOptions, train_autoencoder
from ppcmi_sf.training.dataset import GridSlices, SiteData
from ppcmi_sf.training.fit_options import FitOptions

CPU = torch.device("cpu")
SIZE = (64, 64)
QUICK = AuditOptions(seed=1, quick=True, items=16, train_steps=30)


def study_of(arrangement: str) -> StudySpec:
    return StudySpec(
        name="audit",
        modality="US",
        classes=make_classes(["head", "cavity"]),
        image_size=SIZE,
        autoencoder="small",
        arrangement=arrangement,
    )


def phantoms(style: int, count: int, first: int, first_group: int) -> GroupedSlices:
    """Slices of patients with two slices each."""
    drawn = [
        phantom_2d(site_rng(DEMO_SITES[style], 5, first + n), SIZE, DEMO_SITES[style])
        for n in range(count)
    ]
    images = np.stack([image for image, _ in drawn])[:, None].astype(np.float16) / 255
    masks = np.stack([mask for _, mask in drawn])
    grid = GridSlices(images, masks, tuple(f"Doe-{first + n}" for n in range(count)))
    return GroupedSlices.of(grid, [first_group + n // 2 for n in range(count)])


def trained(study: StudySpec, slices: GroupedSlices, role: str, epochs: int, seed: int = 3):
    fit = FitOptions(epochs=epochs, batch_size=6, learning_rate=6e-3, patience=epochs, seed=seed)
    data = SiteData(slices.grid, slices.take(np.arange(0)).grid)
    options = AutoencoderOptions(fit=fit, augment=False, guidance=0.0)
    return run(train_autoencoder(study, role, data, options, device=CPU))[0]


@pytest.fixture(scope="session")
def audit_study() -> StudySpec:
    return study_of("escrow")


@pytest.fixture(scope="session")
def _parts():
    torch.set_num_threads(1)
    study = study_of("escrow")
    members, others = phantoms(1, 24, 0, 0), phantoms(1, 16, 24, 100)
    public = phantoms(1, 24, 60, 200)
    return {
        "members": members,
        "others": others,
        "public": public,
        "image": trained(study, members, "image", 40),
        "mask": trained(study, members, "mask", 3),
        # A partner that began with the same weights, as when all sites take the same seed.
        "partner": trained(study, public, "image", 25),
    }


def make_subject(parts, arrangement: str) -> Subject:
    study = study_of(arrangement)
    key = ClientKey("north", study.fingerprint, 1, bytes(range(32)))
    site = Site(study, parts["image"], parts["mask"], key)
    return Subject(
        study=study,
        site=site,
        share=key.transform_share(),
        members=parts["members"],
        others=parts["others"],
        public=parts["public"],
        public_is_own=False,
        partners=(Partner("south", parts["partner"]),),
    )


@pytest.fixture(scope="session")
def escrow_subject(_parts) -> Subject:
    return make_subject(_parts, "escrow")


@pytest.fixture(scope="session")
def blind_subject(_parts) -> Subject:
    return make_subject(_parts, "blind")


@pytest.fixture
def fresh():
    """The same subject, as if nothing had been trained for it yet."""
    return lambda subject: replace(subject, surrogates={})


@pytest.fixture(scope="session")
def quick() -> AuditOptions:
    return QUICK


@pytest.fixture(scope="session")
def figure():
    """The measurement whose name has all of these words."""

    def find(result, *words: str):
        found = [m for m in result.measurements if all(word in m.name for word in words)]
        assert found, (words, [m.name for m in result.measurements])
        return found[0]

    return find
