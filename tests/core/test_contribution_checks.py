"""What the server refuses and reports, on latents of images and masks that belong together."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ppcmi_sf.bundle.payload import decode, encode
from ppcmi_sf.errors import BundleContentError
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.autoencoder import Autoencoder, one_hot
from ppcmi_sf.progress import run
from ppcmi_sf.training.contribution_checks import check_contributions, refuse_faults
from ppcmi_sf.training.mapping import SitePairs
from ppcmi_sf.training.pair_relation import relate
from ppcmi_sf.transform import KeyedLatentTransform

COUNT = 40


@pytest.fixture(scope="module")
def study(make_study):
    return make_study()


@pytest.fixture(scope="module")
def honest(study, ellipses):
    """Three sites, each with autoencoders of its own; latents as the server holds them."""
    found = {}
    for number, name in enumerate(("north", "south", "west")):
        images, masks = ellipses(number, COUNT)
        pyramids = []
        for role, values in (
            ("image", torch.from_numpy(images).float()[:, None] / 255),
            ("mask", one_hot(torch.from_numpy(masks), 2)),
        ):
            torch.manual_seed(10 * number)
            model = Autoencoder(study, role)
            with torch.no_grad():  # in training mode: normalised by the batch
                pyramids.append(model.encode(values).to(torch.float16))
        found[name] = SitePairs(*pyramids, np.arange(COUNT) >= COUNT - 6)
    return found


def suspicions(pairs, cap=0.5):
    report = run(check_contributions(pairs, cap))
    return {(one.site, one.kind) for one in report.suspicions}, report


def picked(pairs, index):
    index = torch.as_tensor(index)
    return SitePairs(
        pairs.inputs.items_at(index), pairs.targets.items_at(index), np.zeros(len(index), bool)
    )


def test_honest_pairs_raise_no_suspicion(honest):
    for name, pairs in honest.items():
        refuse_faults(pairs, name, "bundle")
    found, report = suspicions(honest)
    assert found == set()
    assert report.weights == pytest.approx(dict.fromkeys(honest, 1 / 3))


def test_progress_never_goes_back(honest):
    shares = [step.fraction for step in check_contributions(honest, 0.5)]
    assert shares == sorted(shares)


def spoiled(pyramid, change):
    """One item of the coarsest scale changed; the rest as it was."""
    name = list(pyramid)[-1]
    values = {key: value.clone() for key, value in pyramid.items()}
    values[name][7] = change(values[name][7].float()).to(values[name])
    return LatentPyramid(values)


@pytest.mark.parametrize("role", ["inputs", "targets"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value * float("nan"), "not finite"),
        (lambda value: value * float("inf"), "not finite"),
        (lambda value: value * 1e9, "not finite or beyond 65504"),  # too large for float16
        (lambda value: value * 1000, "huge"),
    ],
)
def test_one_bad_item_is_refused(role, change, words, honest):
    pairs = honest["north"]
    bad = replace(pairs, **{role: spoiled(getattr(pairs, role), change)})
    with pytest.raises(BundleContentError, match=words) as caught:
        refuse_faults(bad, "north", "inbox/b.ppcmi")
    assert "inbox/b.ppcmi" in caught.value.message
    assert "'north'" in caught.value.message
    assert ("image" if role == "inputs" else "mask") in caught.value.message
    assert "north" in caught.value.hint


def test_constant_images_are_refused_and_constant_masks_are_not(honest):
    """An empty mask may have the same latents at every place; an image never has."""
    pairs = honest["north"]
    flat = {
        role: getattr(pairs, role).map(lambda value: value[:, :, :1, :1].expand_as(value))
        for role in ("inputs", "targets")
    }
    with pytest.raises(BundleContentError, match=f"same at every place in {COUNT} items"):
        refuse_faults(replace(pairs, inputs=flat["inputs"]), "north", "b")
    refuse_faults(replace(pairs, targets=flat["targets"]), "north", "b")


def test_repeated_items_are_reported(honest):
    bad = honest | {"west": picked(honest["west"], np.arange(COUNT) % 10)}
    found, report = suspicions(bad)
    assert ("west", "duplicates") in found
    (one,) = (one for one in report.suspicions if one.kind == "duplicates")
    assert one.items == COUNT - 10
    assert "30 of 40" in one.message


def travelled(study, share, pyramid, seed):
    """Latents after a way through a bundle of the default precision, as an escrow server has them.

    Each item has a transform of its own, so that int8 rounds the same latents otherwise each time.
    """
    transform = KeyedLatentTransform(share, study, "image")
    items = [f"{seed:08x}{number:08x}" for number in range(pyramid.batch_size)]
    sent = transform.protect(pyramid.to(torch.float32), items)
    read = {}
    for scale, value in sent.items():
        read[scale] = torch.from_numpy(decode(scale, encode(scale, value.numpy(), "int8")))
    return transform.recover(LatentPyramid(read), items).to(torch.float16)


def test_items_repeated_in_another_bundle_of_the_default_precision_are_reported(
    make_study, ellipses
):
    study = make_study((128, 128))
    share = ClientKey.generate("west", study.fingerprint).transform_share()
    images = torch.from_numpy(ellipses(0, COUNT, (128, 128))[0]).float()[:, None] / 255
    with torch.no_grad():
        latents = Autoencoder(study, "image").encode(images)
    once, twice = (travelled(study, share, latents, seed) for seed in (1, 2))
    for inputs, repeated in ((once, 0), (LatentPyramid.concatenate([once, twice]), COUNT)):
        pairs = SitePairs(inputs, inputs, np.zeros(inputs.batch_size, bool))
        _, report = suspicions({"west": pairs})
        assert sum(one.items for one in report.suspicions) == repeated, report.suspicions


def test_masks_of_other_images_are_reported(honest):
    pairs = honest["south"]
    order = torch.from_numpy(np.random.default_rng(0).permutation(COUNT))
    bad = replace(pairs, targets=pairs.targets.items_at(order))
    found, _ = suspicions(honest | {"south": bad})
    assert found == {("south", "unrelated")}


def test_a_relation_needs_items(honest):
    assert relate(picked(honest["north"], range(10)).inputs, honest["north"].targets) is None
    good = relate(honest["north"].inputs, honest["north"].targets)
    assert good.deviations > 5
    assert good == relate(honest["north"].inputs, honest["north"].targets)


def test_a_turn_of_the_latents_changes_nothing(honest, study):
    """So a blind server sees the same."""
    pairs = honest["north"]

    def turned(pyramid, seed):
        torch.manual_seed(seed)
        return LatentPyramid(
            {
                name: torch.einsum(
                    "ij,bjhw->bihw",
                    torch.linalg.qr(torch.randn(value.shape[1], value.shape[1]))[0],
                    value.float(),
                )
                + torch.randn(value.shape[1])[:, None, None]
                for name, value in pyramid.items()
            }
        )

    plain = relate(pairs.inputs, pairs.targets)
    blind = relate(turned(pairs.inputs, 1), turned(pairs.targets, 2))
    assert blind.deviations == pytest.approx(plain.deviations, abs=0.05)
    turned_pairs = replace(pairs, inputs=turned(pairs.inputs, 1), targets=turned(pairs.targets, 2))
    refuse_faults(turned_pairs, "north", "b")
    assert suspicions(honest | {"north": turned_pairs})[0] == set()


def test_a_site_on_another_scale_is_reported(honest):
    pairs = honest["west"]
    bad = replace(pairs, inputs=pairs.inputs.map(lambda value: value * 8))
    found, _ = suspicions(honest | {"west": bad})
    assert found == {("west", "scale")}


def test_items_unlike_the_others_are_reported(honest):
    pairs = honest["north"]
    factors = torch.ones(COUNT, 1, 1, 1)
    factors[:4] = 20
    bad = replace(pairs, inputs=pairs.inputs.map(lambda value: value * factors))
    found, report = suspicions(honest | {"north": bad})
    assert ("north", "outliers") in found
    (one,) = (one for one in report.suspicions if one.kind == "outliers")
    assert one.items == 4


def test_a_site_with_most_pairs_is_reported_and_capped(honest):
    few = {name: picked(pairs, range(5)) for name, pairs in honest.items() if name != "west"}
    found, report = suspicions(few | {"west": honest["west"]})
    assert ("west", "size") in found
    assert report.weights["west"] == 0.5
    assert suspicions(few | {"west": honest["west"]}, cap=1.0)[1].weights["west"] > 0.7
