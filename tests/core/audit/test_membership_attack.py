"""Membership: a network that knows ten slices by heart gives them away, another one does not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ppcmi_sf.audit.attacks import membership
from ppcmi_sf.audit.item_losses import latent_pairs, mapping_losses, reconstruction_losses
from ppcmi_sf.audit.membership_pool import draw_pool
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.shadow_models import SHADOW_SITE, train_shadow_network
from ppcmi_sf.audit.subject import GroupedSlices, Partner, PartnerNetwork, Subject
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latent_noise import LatentNoise
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.progress import run
from ppcmi_sf.roles import Site
from ppcmi_sf.training.dataset import GridSlices

EACH = 2
OPTIONS = AuditOptions(seed=2, quick=True, items=12, train_steps=16)
CPU = torch.device("cpu")


def slices_of(ellipses, seed, first, count):
    images, masks = ellipses(seed, count)
    grid = GridSlices(
        (images[:, None].astype(np.float32) / 255).astype(np.float16), masks, ("c",) * count
    )
    return GroupedSlices.of(grid, first + np.arange(count) // EACH)


def subject_of(study, ellipses, members=10, others=24):
    torch.manual_seed(4)
    models = Autoencoder(study, "image"), Autoencoder(study, "mask")
    key = ClientKey("north", study.fingerprint, 1, bytes(range(32)))
    inside, outside = slices_of(ellipses, 1, 0, members), slices_of(ellipses, 2, 100, others)
    site = Site(study, *models, key)
    return Subject(study, site, key.transform_share(), inside, outside, outside)


@pytest.fixture(scope="module")
def plain(make_study, ellipses):
    return subject_of(make_study(), ellipses)


@pytest.fixture(scope="module")
def by_heart(plain):
    """A mapping network that was trained on the ten members and nothing else."""
    pairs = run(latent_pairs(plain, plain.members, 0))
    network = run(train_shadow_network(plain.study, pairs, 100, 5, CPU, cut_mix=0.0))
    return replace(plain, network=network, network_site=SHADOW_SITE)


@pytest.fixture(scope="module")
def strangers(make_study, ellipses):
    """A mapping network that was trained on other patients: it has seen no member."""
    plain = subject_of(make_study(), ellipses, members=24)
    pairs = run(latent_pairs(plain, slices_of(ellipses, 7, 500, 10), 0))
    network = run(train_shadow_network(plain.study, pairs, 30, 5, CPU))
    return replace(plain, network=network, network_site=SHADOW_SITE)


@pytest.fixture(scope="module")
def guilty(by_heart):
    return run(membership.run(by_heart, OPTIONS))


@pytest.fixture(scope="module")
def innocent(strangers):
    return run(membership.run(strangers, OPTIONS))


def figures(result, *words):
    return [one for one in result.measurements if all(word in one.name for word in words)]


@pytest.mark.slow
def test_a_network_that_learnt_by_heart_is_found_out(guilty):
    found = guilty
    for how in ("loss threshold", "likelihood ratio, online", "likelihood ratio, offline"):
        (one,) = (one for one in figures(found, "AUC, mapping network", how) if one.aim)
        assert one.value > (0.9 if how == "loss threshold" else 0.75), how
        assert one.low > 0.5, how
        assert one.met is False
    assert "mapping network" in found.measurements[0].name
    assert "better than by guessing" in found.reading
    assert figures(found, "difficulty alone")[0].value < 0.85


@pytest.mark.slow
def test_a_network_that_saw_no_member_gives_nothing_away(innocent):
    for one in figures(innocent, "AUC, mapping network"):
        if "planted" not in one.name and "patient" not in one.name:
            assert one.low <= 0.5 <= one.high, one.name


@pytest.mark.slow
def test_the_planted_weakness_is_found_and_comes_last(guilty, innocent):
    for result in (guilty, innocent):
        last = result.measurements[-1]
        assert "planted weakness: trained on 10 slices by heart" in last.name
        assert last.value > 0.9


@pytest.mark.slow
def test_the_attack_on_autoencoders_can_succeed(plain):
    """In a full audit, which trains the shadow models that it takes."""
    result = run(membership.run(plain, AuditOptions(seed=2, items=12, train_steps=60)))
    planted = figures(result, "autoencoder", "planted weakness")
    assert [one.name.split(",")[1] for one in planted] == [
        " image autoencoder",
        " mask autoencoder",
    ]
    for one in planted:
        assert one.value > 0.9, one
        assert one.low > 0.5, one
    for one in figures(result, "AUC", "autoencoder, likelihood ratio, offline"):
        assert one in planted or one.value < 0.85, one  # these were never trained
    assert "by heart" not in result.reading


@pytest.mark.slow
def test_where_it_does_not_succeed_the_reading_says_so(plain):
    result = run(membership.run(plain, AuditOptions(seed=2, items=12, train_steps=2)))
    assert "known by heart (image autoencoder) the interval reaches 0.5" in result.reading


@pytest.mark.slow
def test_rates_that_cannot_be_resolved_say_so(guilty):
    rates = figures(guilty, "true positives at 1 %")
    assert len(rates) == 3
    for one in rates:
        assert "not resolved: 10 non-members, 100 are needed" in one.name
        assert (one.low, one.high, one.met) == (0, 1, None)
    assert "1000 are needed" in guilty.reading


def asked_by(subject, image, mask):
    """The subject with a partner who has these autoencoders and the subject's network."""
    mapping = PartnerNetwork(subject.network, subject.network_site, mask)
    return replace(subject, partners=(Partner("south", image), Partner("east", image, mapping)))


PARTNER = "mapping network by a partner's own autoencoders"


@pytest.mark.slow
def test_a_partner_asks_through_its_own_autoencoders(by_heart, plain):
    """With autoencoders like the site's it is found out; with others its figure is another."""
    site, tiny = by_heart.site, AuditOptions(seed=2, quick=True, items=12, train_steps=2)
    alike = run(
        membership.run(asked_by(by_heart, site.image_autoencoder, site.mask_autoencoder), tiny)
    )
    (one,) = (m for m in figures(alike, PARTNER, "loss threshold") if m.aim)
    (own,) = (m for m in figures(alike, "AUC, mapping network, loss threshold") if m.aim)
    assert (one.value, one.met) == (own.value, False)
    assert one.value > 0.9
    assert len(figures(alike, PARTNER, "likelihood ratio")) >= 2
    assert "a partner who has" not in str(alike.not_tested)
    torch.manual_seed(11)
    others = Autoencoder(plain.study, "image"), Autoencoder(plain.study, "mask")
    result = run(membership.run(asked_by(by_heart, *others), tiny))
    (other,) = (m for m in figures(result, PARTNER, "loss threshold") if m.aim)
    assert other.value < one.value - 0.1


def test_image_and_mask_latents_get_noise_of_their_own(plain, monkeypatch):
    """A shared one could be predicted from the input, which no site's can."""
    clean = run(latent_pairs(plain, plain.members, 0))
    monkeypatch.setattr(plain.site, "noise", LatentNoise(1.0))
    noisy = run(latent_pairs(plain, plain.members, 0))
    for scale in clean.inputs:
        added = [
            (one[scale] - other[scale]).flatten().numpy()
            for one, other in ((noisy.inputs, clean.inputs), (noisy.targets, clean.targets))
        ]
        assert min(values.std() for values in added) > 0
        assert abs(np.corrcoef(added)[0, 1]) < 0.2


def test_a_hundred_others_are_asked_where_a_full_audit_has_them(make_study, ellipses):
    """AUC needs as many as there are members; a rate at 1 % needs a hundred."""
    subject = subject_of(make_study(), ellipses, members=10, others=130)
    for options, others in (
        (AuditOptions(), 100),
        (AuditOptions(quick=True), 10),
        (AuditOptions(items=4), 8),
    ):
        pool = draw_pool(subject, options)
        members = min(others, 10)
        assert pool.members.tolist() == [True] * members + [False] * others
        assert not set(pool.slices.groups[:members]) & set(pool.slices.groups[members:])


@pytest.mark.slow
def test_a_seed_gives_the_same_numbers(plain):
    """With shadow autoencoders, which a quick audit does without."""
    options = AuditOptions(seed=2, items=4, train_steps=2)
    first, second = (run(membership.run(plain, options)) for _ in range(2))
    assert first.measurements == second.measurements
    assert "no mapping network" in first.reading
    assert not figures(first, "mapping network")
    assert len(figures(first, "AUC", "autoencoder, likelihood ratio, online")) >= 2


@pytest.mark.slow
def test_the_bar_moves_on_with_every_shadow_model(strangers):
    steps = []
    run(membership.run(strangers, AuditOptions(seed=1, items=4, train_steps=2)), steps.append)
    starts = [
        min(step.fraction for step in steps if f"shadow {words}" in step.message)
        for words in (
            *(f"mapping network {number} of 4" for number in (1, 2, 3, 4)),
            *(f"image autoencoder {number} of 2" for number in (1, 2)),
            *(f"mask autoencoder {number} of 2" for number in (1, 2)),
        )
    ]
    assert starts == sorted(set(starts))
    assert starts[0] == 0


def test_too_few_patients_are_an_error(make_study, ellipses):
    subject = subject_of(make_study(), ellipses, others=2)
    with pytest.raises(PPCMIError, match="two that were set apart; there are 5 and 1") as caught:
        run(membership.run(subject, OPTIONS))
    assert caught.value.hint


def test_item_losses_are_those_of_the_training(plain, strangers):
    """Mean over the items of one batch: what the training's own loss gives."""
    from ppcmi_sf.training.losses import image_loss, mapping_loss

    pairs = run(latent_pairs(plain, plain.members, 0))
    losses = run(mapping_losses(strangers.network, SHADOW_SITE, pairs, CPU))
    spreads = {name: value.std() for name, value in pairs.targets.items()}
    with torch.inference_mode():
        mapped = strangers.network({SHADOW_SITE: pairs.inputs})[SHADOW_SITE]
    expected = float(mapping_loss(mapped, pairs.targets, spreads))
    assert losses.mean() == pytest.approx(expected, rel=1e-4)
    model, one = plain.site.image_autoencoder, plain.members.take(np.arange(1))
    with torch.inference_mode():
        expected = float(image_loss()(model(one.images()), one.images()))
    assert run(reconstruction_losses(model, one, 2, CPU))[0] == pytest.approx(expected, rel=1e-5)


def test_in_blind_the_network_is_asked_about_protected_latents(make_study, ellipses):
    one = {}
    for arrangement in ("escrow", "blind"):
        subject = subject_of(make_study(arrangement=arrangement), ellipses)
        one[arrangement] = run(latent_pairs(subject, subject.members, 0))
    for role in ("inputs", "targets"):
        plain, protected = (getattr(one[name], role) for name in ("escrow", "blind"))
        assert not torch.allclose(plain["bottleneck"], protected["bottleneck"], atol=0.1)
