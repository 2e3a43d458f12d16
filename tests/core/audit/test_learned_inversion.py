"""A decoder learns one transform for all items, and not one that is new for each."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ppcmi_sf.audit.attacks import learned_inversion
from ppcmi_sf.audit.inversion import train_inversion
from ppcmi_sf.errors import PPCMIError, TrainingError
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import run


@pytest.fixture(scope="module")
def options():
    from ppcmi_sf.audit.options import AuditOptions

    return AuditOptions(seed=1, quick=True, items=16, train_steps=200)


@pytest.fixture(scope="module")
def result(escrow_subject, options):
    return run(learned_inversion.run(escrow_subject, options))


def test_with_one_transform_for_all_the_number_jumps(result, figure):
    for method, jump in (("original, 20 known pairs", 0.02), ("regression on 20 known pairs", 0)):
        sent = figure(result, method, "as sent")
        fixed = figure(result, method, "one transform for all")
        assert fixed.value > sent.value + jump
    decoder = figure(result, "original, 20 known pairs", "one transform for all")
    assert decoder.value > decoder.chance


def test_what_is_sent_gives_no_more_than_the_mean_image(result, figure):
    assert figure(result, "above that of the mean image").value < 0.05


def test_distances_and_spectra_are_the_same_with_one_transform_for_all_and_with_none(
    result, figure
):
    for method in ("regression on 20 known pairs", "nearest known image"):
        fixed = figure(result, method, "one transform for all")
        none = figure(result, method, "no transform")
        assert fixed.value == pytest.approx(none.value, abs=1e-3)


def test_more_pairs_are_more(result, figure):
    one = figure(result, "regression on 1 known", "one transform for all")
    twenty = figure(result, "regression on 20 known", "one transform for all")
    assert twenty.value > one.value


def test_what_an_attacker_trains_on_is_not_attacked(escrow_subject, options):
    for own in (True, False):
        subject = replace(escrow_subject, public_is_own=own)
        if own:
            subject = replace(subject, public=subject.others)
        pool, targets = learned_inversion._pool_and_targets(subject, options)
        assert not set(pool.groups) & set(targets.groups)
        assert not set(subject.public.groups) & set(targets.groups)
        assert not set(subject.public.groups) & set(subject.unknown.groups)
        # Few known pairs are of many patients, as a leak would be, and not all of one.
        assert len(set(pool.groups[:5])) == 5


def test_the_same_seed_gives_the_same_numbers(escrow_subject, fresh):
    from ppcmi_sf.audit.options import AuditOptions

    tiny = AuditOptions(seed=2, quick=True, items=4, train_steps=3)
    first, again = (run(learned_inversion.run(fresh(escrow_subject), tiny)) for _ in range(2))
    assert first.measurements == again.measurements


def test_a_site_of_one_member_is_told_so(escrow_subject, options):
    """Of one slice that the attacker has not got, none is left to attack: an audit fell over."""
    few = replace(
        escrow_subject,
        members=escrow_subject.members.take(np.arange(1)),
        public=escrow_subject.others,
        public_is_own=True,
    )
    with pytest.raises(PPCMIError, match="one slice alone"):
        run(learned_inversion.run(few, options))


def test_one_pair_of_the_smallest_images_is_not_trained_on(escrow_subject, make_study):
    """Its coarsest latent is one pixel, of which batch norm makes nothing but an error."""
    from ppcmi_sf.audit.options import AuditOptions

    small = replace(escrow_subject, study=make_study(size=(32, 32)))
    numbers = {number for _, number in learned_inversion._plans(small, AuditOptions(), 30)}
    assert numbers == {5, 20, 30}
    usual = learned_inversion._plans(escrow_subject, AuditOptions(), 30)
    assert {number for _, number in usual} == {1, 5, 20, 30}
    one = LatentPyramid({at.name: torch.zeros(1, *at.shape) for at in small.study.scales})
    with pytest.raises(TrainingError, match="too little"):
        run(train_inversion(small, one, torch.zeros(1, 1, 32, 32), 2, 0))
