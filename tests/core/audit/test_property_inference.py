"""What the server can tell from latents: found without a transform, less with one for each item."""

import numpy as np
import pytest
import torch

from ppcmi_sf.audit.attacks import property_inference
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.audit.subject import GroupedSlices, Partner, Subject
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.models.autoencoder import Autoencoder
from ppcmi_sf.progress import run
from ppcmi_sf.roles import Site
from ppcmi_sf.training.autoencoders import AutoencoderOptions, train_autoencoder
from ppcmi_sf.training.dataset import GridSlices, SiteData
from ppcmi_sf.training.fit_options import FitOptions

COUNT = 48
OPTIONS = AuditOptions(seed=3, items=COUNT // 2)


def trained(study, every):
    """A mask autoencoder that knows large from small; one that was not trained hardly does."""
    fit = FitOptions(epochs=4, batch_size=8, learning_rate=8e-3, seed=3)
    data = SiteData(every.grid, every.take(np.arange(0)).grid)
    options = AutoencoderOptions(fit=fit, augment=False)
    model, _ = run(train_autoencoder(study, "mask", data, options, device=torch.device("cpu")))
    return model


@pytest.fixture(scope="module")
def subject(make_study, ellipses):
    study = make_study()
    images, masks = ellipses(11, COUNT)
    values = (images[:, None].astype(np.float32) / 255).astype(np.float16)
    grid = GridSlices(values, masks, ("c",) * COUNT)
    every = GroupedSlices.of(grid, np.arange(COUNT) // 2)
    torch.manual_seed(8)
    models = Autoencoder(study, "image"), trained(study, every)
    partner = Partner("south", Autoencoder(study, "image").eval())
    key = ClientKey("north", study.fingerprint, 1, bytes(range(32)))
    members, others = every.take(np.arange(36)), every.take(np.arange(36, COUNT))
    return Subject(
        study,
        Site(study, *models, key),
        key.transform_share(),
        members,
        others,
        others,
        partners=(partner,),
    )


@pytest.fixture(scope="module")
def result(subject):
    return run(property_inference.run(subject, OPTIONS))


def figure(result, *words):
    (found,) = (one for one in result.measurements if all(word in one.name for word in words))
    return found


@pytest.mark.parametrize(
    ("property_name", "least"),
    [
        ("scanner", 0.85),
        ("class mix, from image", 0.75),
        ("class mix, from mask", 0.85),
        ("whose autoencoder", 0.9),
    ],
)
def test_without_a_transform_it_is_told(property_name, least, result):
    found = figure(result, property_name, "no transform")
    assert found.value >= least
    assert found.low > found.chance


@pytest.mark.parametrize("property_name", ["scanner", "class mix, from image", "class mix, from m"])
def test_with_a_transform_for_each_item_it_is_near_chance(property_name, result):
    found = figure(result, property_name, "as sent")
    assert found.low <= found.chance <= found.high or found.value < found.chance
    assert found.value < 0.72


def test_order_words_and_numbers(result, subject):
    names = [one.name for one in result.measurements]
    assert "as sent" in names[0]
    assert ["planted" in name for name in names] == sorted("planted" in name for name in names)
    assert all(one.n == COUNT for one in result.measurements)
    assert "written in it" in result.reading
    assert not any("no partner" in text for text in result.not_tested)


def test_a_seed_gives_the_same_numbers(subject):
    few = AuditOptions(seed=3, items=8)
    first, second = (run(property_inference.run(subject, few)) for _ in range(2))
    assert first.measurements == second.measurements


def test_a_low_limit_does_not_make_patients_vanish(subject):
    found = run(property_inference.run(subject, AuditOptions(items=2, quick=True)))
    assert found.measurements[0].n == property_inference.MIN_PATIENTS


def test_too_few_patients_are_an_error(subject):
    from dataclasses import replace

    few = replace(
        subject,
        members=subject.members.take(np.arange(4)),
        others=subject.others.take(np.arange(4)),
    )
    with pytest.raises(PPCMIError, match="There are 4 patients; 6 are needed") as caught:
        run(property_inference.run(few, OPTIONS))
    assert caught.value.hint
