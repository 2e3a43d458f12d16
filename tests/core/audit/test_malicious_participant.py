"""A site that sends bad pairs: what it costs the others, and what the checks catch."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from ppcmi_sf.audit.attacks import malicious_participant
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.poison import POISON_WORDS, flip_classes
from ppcmi_sf.audit.report_html import interval
from ppcmi_sf.audit.subject import GroupedSlices, Subject
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.progress import run
from ppcmi_sf.roles import Site
from ppcmi_sf.training.autoencoders import AutoencoderOptions, train_autoencoder
from ppcmi_sf.training.dataset import GridSlices, SiteData
from ppcmi_sf.training.fit_options import FitOptions

COUNT = 112
OPTIONS = AuditOptions(seed=1, items=COUNT // 4, train_steps=60)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def subject(make_study, ellipses):
    study = make_study(size=(32, 32))
    images, masks = ellipses(21, COUNT, (32, 32))
    values = (images[:, None].astype(np.float32) / 255).astype(np.float16)
    every = GroupedSlices.of(GridSlices(values, masks, ("c",) * COUNT), np.arange(COUNT) // 2)
    data = SiteData(every.grid, every.take(np.arange(0)).grid)
    fit = FitOptions(epochs=6, batch_size=8, learning_rate=8e-3, seed=3)
    options = AutoencoderOptions(fit=fit, augment=False)
    models = [
        run(train_autoencoder(study, role, data, options, device=CPU))[0]
        for role in ("image", "mask")
    ]
    key = ClientKey("north", study.fingerprint, 1, bytes(range(32)))
    members, others = every.take(np.arange(88)), every.take(np.arange(88, COUNT))
    return Subject(study, Site(study, *models, key), key.transform_share(), members, others, others)


@pytest.fixture(scope="module")
def result(subject):
    return run(malicious_participant.run(subject, OPTIONS))


def figure(result, *words):
    (found,) = (
        one
        for one in result.measurements
        if all(word in one.name for word in words) and not one.name.startswith("worst")
    )
    return found


@pytest.mark.slow
def test_the_bar_moves_on_with_every_kind(subject):
    steps = []
    options = AuditOptions(seed=1, items=COUNT // 4, train_steps=2)
    run(malicious_participant.run(subject, options), steps.append)
    starts = [
        min(step.fraction for step in steps if step.message.startswith(words))
        for words in ("without the bad site", *POISON_WORDS.values())
    ]
    assert starts == sorted(set(starts))
    assert starts[0] < 0.2


@pytest.mark.slow
def test_without_checks_bad_pairs_do_harm(result):
    usual = figure(result, "Dice without the bad site").value
    assert usual > 0.6
    nan = figure(result, "without the checks", "numbers that are none")
    assert "no network for anybody" in nan.name
    assert nan.value == pytest.approx(usual)
    flood = figure(result, "without the checks", "four times as often")
    assert flood.value > 0.05


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["not-a-number", "huge", "constant"])
def test_with_checks_the_certain_ones_cost_nothing(kind, result):
    assert figure(result, "with the checks", POISON_WORDS[kind]).value == 0
    sentence = f"{POISON_WORDS[kind].capitalize()}: refused"
    assert sentence in result.reading


@pytest.mark.slow
def test_a_flood_is_reported_and_capped(result):
    words = POISON_WORDS["duplicated"]
    without, with_checks = (
        figure(result, f"{how} the checks", words).value for how in ("without", "with")
    )
    assert with_checks < without
    assert "duplicates" in result.reading
    assert "weight capped from 80% to 50%" in result.reading


@pytest.mark.slow
def test_masks_of_other_images_are_reported_and_flipped_ones_are_not_noticed(result):
    """The second is a limit of the checks, and is told as it is."""
    assert f"{POISON_WORDS['exchanged'].capitalize()}: reported (unrelated" in result.reading
    assert f"{POISON_WORDS['flipped'].capitalize()}: not noticed" in result.reading


@pytest.mark.slow
def test_a_quick_audit_tries_fewer_and_a_seed_gives_the_same(subject):
    options = AuditOptions(seed=1, quick=True, items=12, train_steps=4)
    first, second = (run(malicious_participant.run(subject, options)) for _ in range(2))
    assert first.measurements == second.measurements
    assert len(first.measurements) == 2 + 2 * len(malicious_participant.QUICK_KINDS)


def test_too_few_patients_are_an_error(subject):
    from dataclasses import replace

    few = replace(
        subject,
        members=subject.members.take(np.arange(2)),
        others=subject.others.take(np.arange(4)),
    )
    with pytest.raises(PPCMIError, match="There are 3 patients; 4 are needed") as caught:
        run(malicious_participant.run(few, OPTIONS))
    assert caught.value.hint


def test_flipping_reverses_the_classes():
    assert flip_classes(torch.tensor([[0, 1], [2, 0]]), 3).tolist() == [[2, 1], [0, 2]]


def test_one_patient_in_the_test_part_gives_no_interval():
    """Not one of none to none."""
    scene = SimpleNamespace(groups=np.zeros(3, np.int64), options=OPTIONS)
    dice = np.array([0.5, 0.6, 0.7])
    outcomes = {"huge": malicious_participant._Outcome(dice, dice, "")}
    found = malicious_participant._measurements(scene, dice, outcomes)
    assert {interval(one) for one in found} == {"no interval"}


def test_no_interval_reaches_beyond_what_dice_can_be():
    """Of two patients Student's t alone gave a Dice of up to 2.3."""
    scene = SimpleNamespace(groups=np.array([0, 0, 1, 1]), options=OPTIONS)
    dice = np.array([1.0, 1.0, 0.7, 0.7])
    outcomes = {"huge": malicious_participant._Outcome(None, dice[::-1], "")}
    found = malicious_participant._measurements(scene, dice, outcomes)
    assert max(one.high for one in found) == 1
    assert min(one.low for one in found) == -1
    (own,) = (one for one in found if one.name == "Dice without the bad site")
    assert (own.low, own.high) == (0, 1)
