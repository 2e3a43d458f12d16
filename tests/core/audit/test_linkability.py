"""Whether two items are of one patient: found where it shows, and not where there is nothing."""

import numpy as np
import pytest
import torch

from ppcmi_sf.audit.attacks import linkability
from ppcmi_sf.audit.keyless import features
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.result import Measurement
from ppcmi_sf.audit.subject import GroupedSlices, Subject
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.progress import run
from ppcmi_sf.roles import Site
from ppcmi_sf.training.dataset import GridSlices

EACH = 3
PATIENTS = 20
OPTIONS = AuditOptions(seed=1, quick=True, items=20)


def patients(ellipses, seed, same=True):
    """Slices of patients: each has an anatomy of its own, seen with noise and a small shift."""
    rng = np.random.default_rng(seed)
    base, masks = ellipses(seed, PATIENTS)
    order = np.repeat(np.arange(PATIENTS), EACH)
    images = base[order].astype(np.float32) / 255
    images = np.stack([np.roll(image, rng.integers(-1, 2, 2), (0, 1)) for image in images])
    images = np.clip(images + rng.normal(0, 0.03, images.shape), 0, 1)
    groups = order if same else rng.permutation(order)
    grid = GridSlices(images[:, None].astype(np.float16), masks[order], ("c",) * len(order))
    return GroupedSlices.of(grid, groups)


@pytest.fixture(scope="module")
def make_subject(make_study, ellipses):
    def made(arrangement, same=True, slices=None):
        study = make_study(arrangement=arrangement)
        torch.manual_seed(3)
        models = Autoencoder(study, "image"), Autoencoder(study, "mask")
        key = ClientKey("north", study.fingerprint, 1, bytes(range(32)))
        every = patients(ellipses, 5, same) if slices is None else slices
        inside = np.flatnonzero(every.groups < PATIENTS - 4)
        outside = np.flatnonzero(every.groups >= PATIENTS - 4)
        members, others = every.take(inside), every.take(outside)
        site = Site(study, *models, key)
        return Subject(study, site, key.transform_share(), members, others, others)

    return made


@pytest.fixture(scope="module")
def results(make_subject):
    return {
        arrangement: run(linkability.run(make_subject(arrangement), OPTIONS))
        for arrangement in ("escrow", "blind")
    }


def figure(result, *words):
    (found,) = (one for one in result.measurements if all(word in one.name for word in words))
    return found


def test_planted_weaknesses_are_found(results):
    """Without a transform, and with one for all items, patients are told apart."""
    for result in results.values():
        assert figure(result, "same patient", "no transform").value > 0.85
    one_for_all = figure(results["escrow"], "same patient", "within an epoch", "one transform")
    assert one_for_all.value > 0.85
    assert one_for_all.low > 0.7
    blind = figure(results["blind"], "same patient", "within an epoch", "as sent")
    assert blind.value > 0.85
    assert blind.met is False


def test_a_transform_of_its_own_for_each_item_is_near_chance(results):
    for where in ("within an epoch", "across a rotation"):
        sent = figure(results["escrow"], "same patient", where, "as sent")
        assert sent.low <= 0.5 <= sent.high
        assert 0.35 < sent.value < 0.65
        again = figure(results["escrow"], "same image", where, "as sent")
        assert again.value < 0.7


def test_a_rotation_leaves_what_a_turn_leaves(results):
    """In blind the spectrum of an item stays what it was: the same image is recognised."""
    again = figure(results["blind"], "same image", "across a rotation", "as sent")
    assert again.value > 0.9


def test_patients_that_mean_nothing_are_not_found(make_subject):
    result = run(linkability.run(make_subject("blind", same=False), OPTIONS))
    sent = figure(result, "same patient", "within an epoch", "as sent")
    assert sent.low <= 0.5 <= sent.high


def test_a_seed_gives_the_same_numbers(make_subject, results):
    again = run(linkability.run(make_subject("escrow"), OPTIONS))
    assert again.measurements == results["escrow"].measurements


def test_the_first_measurement_is_of_what_is_sent_and_planted_ones_are_last(results):
    names = [one.name for one in results["escrow"].measurements]
    assert "as sent" in names[0]
    assert ["planted" in name for name in names] == sorted("planted" in name for name in names)
    assert results["blind"].reading


def test_patients_with_one_slice_each_cannot_be_linked(make_subject, ellipses):
    single = patients(ellipses, 5)
    subject = make_subject("blind", slices=single.take(np.arange(0, len(single), EACH)))
    with pytest.raises(PPCMIError, match="0 patients with two slices") as caught:
        run(linkability.run(subject, OPTIONS))
    assert caught.value.hint


def test_a_low_limit_does_not_make_patients_vanish(ellipses):
    """With --items 2 the report said that there were two such patients, of sixteen."""
    assert linkability._several_each(patients(ellipses, 5), 8, 0).group_count == 4


def test_features_that_are_invariant_stay_under_any_turn_shift_and_order():
    torch.manual_seed(0)
    plain = LatentPyramid({"a": torch.randn(4, 6, 4, 4), "b": torch.randn(4, 3, 2, 2)})

    def changed(value):
        rows = []
        for item in value.flatten(2):
            turn = torch.linalg.qr(torch.randn(len(item), len(item)))[0]
            order = torch.randperm(item.shape[1])
            rows.append((turn @ item + torch.randn(len(item), 1))[:, order])
        return torch.stack(rows).reshape(value.shape)

    first, second = run(features(plain)), run(features(plain.map(changed)))
    kept = {
        name for name in first if torch.allclose(first[name], second[name], atol=2e-3, rtol=1e-3)
    }
    assert kept == {
        "singular values",
        "sorted lengths about the mean",
        "sorted distances between positions",
    }


def test_a_wide_interval_is_not_read_as_an_absence(make_subject):
    """Nor is a low number of an attack that failed where it had to succeed."""

    def reading(sent, planted):
        def of(interval, **aim):
            return Measurement.aimed("AUC, same patient or not", interval, 9, 0.5, **aim)

        aimed = [of(sent, least=0.45, most=0.55)]
        return linkability._reading(make_subject("blind"), aimed, [of(planted)], [])

    found, absent = (0.9, 0.8, 1.0), "nobody could tell"
    assert absent in reading((0.5, 0.46, 0.54), found)
    assert absent not in reading((0.52, 0.4, 0.64), found)
    assert "no proof" in reading((0.52, 0.4, 0.64), found)
    failed = reading((0.5, 0.46, 0.54), (0.5, 0.4, 0.6))
    assert absent not in failed and "says little" in failed
    assert "better than by guessing" in reading((0.8, 0.7, 0.9), found)
