"""Sites and server in memory: what the server gets to see, and what comes back to the site."""

import numpy as np
import pytest
import torch

from harness.exchange import (
    FRESH,
    Answering,
    Copies,
    alignment_pairs,
    make_server,
    make_site,
    training_pairs,
)
from ppcmi_sf.models.autoencoder import Autoencoder, one_hot
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.study import StudySpec, make_classes
from ppcmi_sf.training.dataset import GridSlices, SiteData

COUNT = 6


def study_of(arrangement: str) -> StudySpec:
    return StudySpec(
        name="exchange",
        modality="MR",
        classes=make_classes(["structure"]),
        image_size=(64, 64),
        autoencoder="small",
        arrangement=arrangement,
    )


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    centres = rng.uniform(16, 48, (COUNT, 2, 1, 1))
    distance = np.hypot(rows - centres[:, 0], columns - centres[:, 1])
    masks = (distance < 14).astype(np.uint8)
    images = (0.2 + 0.6 * masks[:, None]).astype(np.float16)
    names = tuple("abcdef")
    return SiteData(
        GridSlices(images[:4], masks[:4], names[:4]), GridSlices(images[4:], masks[4:], names[4:])
    )


@pytest.fixture(scope="module")
def models(data):
    """Untrained, but with batch norms that know their inputs: latents are as large as trained ones.

    The transform's bias is about 1, and would swallow the latents of fresh networks in float16.
    """
    torch.manual_seed(0)
    study = study_of("escrow")
    image, mask = Autoencoder(study, "image"), Autoencoder(study, "mask")
    pictures = torch.from_numpy(data.training.images.astype(np.float32))
    classes = one_hot(torch.from_numpy(data.training.masks), 2)
    with torch.no_grad():
        for _ in range(30):
            image.train()(pictures)
            mask.train()(classes)
    return image, mask


def roles(arrangement, models, *, keyed=True, network=None):
    study = study_of(arrangement)
    site = make_site(study, "north", *models, 0, keyed=keyed)
    return study, site, make_server(study, ["north"], 0, network, keyed=keyed)


def pairs_of(arrangement, models, data, *, keyed=True, copies=1):
    study, site, server = roles(arrangement, models, keyed=keyed)
    return training_pairs(site, server, "north", Copies(study, data, 0, copies, seed=0))


def close(one, other) -> bool:
    """Whether they differ by less than a twentieth of what varies in them."""
    for name in one:
        first, second = one[name].float(), other[name].float()
        varies = (first - first.mean(dim=(0, 2, 3), keepdim=True)).norm()
        if (first - second).norm() > 0.05 * varies:
            return False
    return True


def test_in_escrow_the_server_sees_latents_and_in_blind_it_does_not(models, data):
    plain = pairs_of("escrow", models, data, keyed=False)
    escrow, blind = (pairs_of(name, models, data) for name in ("escrow", "blind"))
    assert close(escrow.inputs, plain.inputs)
    assert close(escrow.targets, plain.targets)
    assert not close(blind.inputs, plain.inputs)
    assert not close(blind.targets, plain.targets)
    assert escrow.validation.tolist() == [False] * 4 + [True] * 2


@pytest.mark.parametrize("keyed", [True, False])
def test_a_site_with_noise_sends_noise_and_the_same_for_the_same_seed(models, data, keyed):
    # With the paper's mapping pairs go in float16: fresh pseudonyms then round almost alike.
    study = study_of("escrow").model_copy(update={"mapping": "paper"})
    server = make_server(study, ["north"], 0, None, keyed=keyed)
    copies = Copies(study, data, 0, 1, seed=0)
    clean, first, again = (
        training_pairs(
            make_site(study, "north", *models, 0, keyed=keyed, noise=level), server, "north", copies
        )
        for level in (0.0, 0.5, 0.5)
    )
    for name in clean.inputs:
        added = first.inputs[name].float() - clean.inputs[name].float()
        assert float(added.std()) == pytest.approx(0.5, rel=0.1)
        assert torch.allclose(first.inputs[name], again.inputs[name], atol=2e-2)


def test_copies_are_augmented_but_the_first_and_the_validation_part(models, data):
    once, twice = (pairs_of("escrow", models, data, copies=n) for n in (1, 2))
    assert len(twice.validation) == 2 * 4 + 2
    first = twice.inputs.items_at(slice(0, 4))
    assert close(first, once.inputs.items_at(slice(0, 4)))
    assert not close(twice.inputs.items_at(slice(4, 8)), first)
    assert close(twice.inputs.items_at(slice(8, 10)), once.inputs.items_at(slice(4, 6)))


@pytest.mark.parametrize("arrangement", ["escrow", "blind"])
def test_alignment_pairs_are_what_the_server_answers(arrangement, models, data):
    study = study_of(arrangement)
    torch.manual_seed(0)
    network = UnifiedMappingNetwork(study, ["north"]).eval()
    study, site, server = roles(arrangement, models, network=network)
    found = alignment_pairs(site, server, "north", Copies(study, data, 0, 1, seed=0))
    assert np.array_equal(found.masks[:4], data.training.masks)
    planes = np.concatenate([data.training.images, data.validation.images]).astype(np.float32)
    answered = Answering({"north": site}, {"north": server}).predict("north", planes)
    with torch.inference_mode():
        decoded = models[1].eval().decode(found.mapped.to(torch.float32)).numpy()
    assert answered.shape == (COUNT, 2, 64, 64)
    assert np.allclose(answered, decoded, atol=2e-2)


def test_fresh_copies_are_not_those_of_the_training(models, data):
    study, site, server = roles("escrow", models)
    seen = training_pairs(site, server, "north", Copies(study, data, 0, 2, seed=0))
    fresh = training_pairs(site, server, "north", Copies(study, data, FRESH, 1, seed=0))
    assert not close(fresh.inputs.items_at(slice(0, 4)), seen.inputs.items_at(slice(0, 4)))
    assert not close(fresh.inputs.items_at(slice(0, 4)), seen.inputs.items_at(slice(4, 8)))


@pytest.mark.parametrize("keyed", [True, False])
def test_a_query_goes_to_the_device_of_the_network(keyed, models, data):
    study, site, _ = roles("blind", models, keyed=keyed)
    network = UnifiedMappingNetwork(study, ["north"]).eval().to("meta")  # as it would be on a GPU
    server = make_server(study, ["north"], 0, network, keyed=keyed)
    images = torch.from_numpy(data.training.images.astype(np.float32))
    query = site.protect_images(images, tuple(f"{n:032x}" for n in range(len(images))))
    mapped = server.map("north", query, tuple("abcd"))
    assert {value.device.type for value in mapped.values()} == {"meta"}
