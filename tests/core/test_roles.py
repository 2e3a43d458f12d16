"""Site and server: the protocol in tensors."""

import pytest
import torch

from ppcmi_sf.errors import KeyFileError, ModelFileError, StudyError
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latent_noise import LatentNoise
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.autoencoder import Autoencoder, one_hot
from ppcmi_sf.models.mapping import UnifiedMappingNetwork
from ppcmi_sf.roles import MappingServer, Site
from ppcmi_sf.transform import KeyedLatentTransform

SITES = ("north", "south")


def settled(model):
    """An untrained network whose norms know their inputs: its latents are of size 1."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
    channels = model.encoder.stages[0][0][0][0].in_channels
    with torch.no_grad():
        model.train()(torch.rand(8, channels, 64, 64))
    return model


def make_site(study, name="north", seed=0, **key):
    torch.manual_seed(seed)
    autoencoders = [settled(Autoencoder(study, role)) for role in ("image", "mask")]
    made = {"secret": bytes([seed + 1]) * 32, "epoch": 1} | key
    return Site(
        study,
        *autoencoders,
        ClientKey(name, study.fingerprint, **made),
    )


def share_of(study, seed=0, name="north"):
    return ClientKey(name, study.fingerprint, 1, bytes([seed + 1]) * 32).transform_share()


@pytest.fixture(params=["escrow", "blind"])
def study(request, make_study):
    return make_study(arrangement=request.param)


def ids(count):
    return [f"{index:016x}" for index in range(count)]


def close(one: LatentPyramid, other: LatentPyramid) -> bool:
    return all(torch.allclose(one[name], other[name], atol=1e-4) for name in one)


def test_what_the_server_reads(study):
    """Latents in escrow, protected latents in blind, and nothing else in between."""
    site = make_site(study)
    images, labels = torch.rand(3, 1, 64, 64), torch.randint(0, 2, (3, 64, 64))
    with torch.inference_mode():
        latents = site.image_autoencoder.encode(images)
        mask_latents = site.mask_autoencoder.encode(one_hot(labels, 2))
    items = ids(3)
    protected = site.protect_images(images, items)
    protected_masks = site.protect_masks(labels, items)
    assert not close(protected, latents)
    shares = {"north": share_of(study)} if study.arrangement == "escrow" else {}
    server = MappingServer(study, shares)
    read = [
        server.read("north", role, one, items)
        for role, one in (("image", protected), ("mask", protected_masks))
    ]
    if study.arrangement == "escrow":
        assert close(read[0], latents)
        assert close(read[1], mask_latents)
        assert not close(server.read("north", "mask", protected, items), latents)
        assert not close(server.read("north", "image", protected, items[::-1]), latents)
    else:
        assert close(read[0], protected)
        assert close(read[1], protected_masks)


def test_map_is_the_network_between_the_transforms(study):
    site = make_site(study)
    torch.manual_seed(3)
    network = UnifiedMappingNetwork(study, SITES)
    shares = {"north": share_of(study)} if study.arrangement == "escrow" else {}
    server = MappingServer(study, shares, network)
    images = torch.rand(2, 1, 64, 64)
    items = ids(2)
    protected = site.protect_images(images, items)
    reply = server.map("north", protected, items)
    assert reply.matches(study.scales)
    if study.arrangement == "escrow":
        with torch.inference_mode():
            latents = site.image_autoencoder.encode(images)
            expected = site.mask_autoencoder.decode(network({"north": latents})["north"])
        torch.testing.assert_close(site.reveal_masks(reply, items), expected, atol=1e-4, rtol=1e-3)
    else:
        with torch.inference_mode():
            assert close(reply, network({"north": protected})["north"])


def test_revealing_undoes_protecting(study):
    site, labels = make_site(study), torch.randint(0, 2, (2, 64, 64))
    with torch.inference_mode():
        expected = site.mask_autoencoder(one_hot(labels, 2)).softmax(1)
    items = ids(2)
    revealed = site.reveal_masks(site.protect_masks(labels, items), items)
    torch.testing.assert_close(revealed, expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(revealed.sum(1), torch.ones(2, 64, 64))
    half = site.protect_masks(labels, items).to(torch.float16)
    torch.testing.assert_close(site.reveal_masks(half, items), expected, atol=0.02, rtol=0.02)


def test_another_key_reveals_something_else(study):
    labels = torch.randint(0, 2, (2, 64, 64))
    site = make_site(study)
    items = ids(2)
    protected = site.protect_masks(labels, items)
    right = site.reveal_masks(protected, items)
    for changes in ({"secret": b"x" * 32}, {"epoch": 2}):
        other = make_site(study, **changes)
        assert (other.reveal_masks(protected, items) - right).abs().max() > 0.1


def test_networks_are_in_evaluation_mode(study):
    site = make_site(study)
    images = torch.rand(4, 1, 64, 64)
    items = ids(4)
    whole = site.protect_images(images, items)
    for index in range(4):
        alone = site.protect_images(images[index : index + 1], items[index : index + 1])
        assert close(alone, whole.items_at(slice(index, index + 1)))


def test_a_key_of_another_study_is_refused(study, make_study):
    other = make_study(name="other")
    with pytest.raises(StudyError):
        Site(
            study,
            Autoencoder(study, "image"),
            Autoencoder(study, "mask"),
            ClientKey("north", other.fingerprint, 1, b"x" * 32),
        )


def test_a_missing_share_and_an_unknown_site_are_refused(make_study):
    study = make_study(arrangement="escrow")
    server = MappingServer(study, {}, UnifiedMappingNetwork(study, ["north"]))
    protected = make_site(study).protect_images(torch.rand(1, 1, 64, 64), ids(1))
    with pytest.raises(KeyFileError, match="no transform share of site 'north'") as caught:
        server.map("north", protected, ids(1))
    assert "--share" in caught.value.hint
    blind = make_study(arrangement="blind")
    server = MappingServer(blind, {}, UnifiedMappingNetwork(blind, ["north"]))
    with pytest.raises(ModelFileError, match="not trained with site 'south'"):
        server.map("south", protected, ids(1))


def test_a_share_of_another_study_is_refused(make_study):
    study, other = make_study(arrangement="escrow"), make_study(name="other")
    server = MappingServer(study, {"north": share_of(other)})
    protected = make_site(study).protect_images(torch.rand(1, 1, 64, 64), ids(1))
    with pytest.raises(StudyError, match="transform share of site 'north'"):
        server.read("north", "image", protected, ids(1))


def test_noise_is_added_before_the_transform_and_to_nothing_that_comes_back(study):
    site, quiet = make_site(study), make_site(study)
    site.noise = LatentNoise(0.5, seed=1)
    images, labels = torch.rand(3, 1, 64, 64), torch.randint(0, 2, (3, 64, 64))
    for role, protect, of in (
        ("image", "protect_images", images),
        ("mask", "protect_masks", labels),
    ):
        transform = KeyedLatentTransform(share_of(study), study, role)
        noisy, clean = (
            transform.recover(getattr(one, protect)(of, ids(3)), ids(3)) for one in (site, quiet)
        )
        for name in clean:
            assert float((noisy[name] - clean[name]).std()) == pytest.approx(0.5, rel=0.1)
    reply = quiet.protect_masks(labels, ids(3))
    assert torch.equal(site.reveal_masks(reply, ids(3)), quiet.reveal_masks(reply, ids(3)))
