"""Data of a run: no group on both sides, sites of the sizes that were asked for, scanners."""

import numpy as np
import pytest
import torch

from harness.cache import StageCache
from harness.data import BenchmarkData, cases_of, divide_slices, load_data, seen_by
from harness.installed import speed_study
from harness.latent_rows import LatentRun
from harness.plan import Plan, Scanner
from harness.unet import UNetTask
from ppcmi_sf.errors import TrainingError
from ppcmi_sf.training.dataset import GridSlices, SiteData
from ppcmi_sf.training.fit_options import FitOptions


def make_plan(**changes) -> Plan:
    fields = {
        "name": "data",
        "image_size": [64, 64],
        "autoencoder": "small",
        "budget_cpu_seconds": 1,
        "datasets": [
            {
                "name": "phantoms",
                "phantoms": {"per_style": 20, "size": 64},
                "modality": "US",
                "classes": ["head", "cavity"],
            }
        ],
        "rows": ["paper"],
    }
    return Plan.model_validate(fields | changes)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    where = tmp_path_factory.mktemp("data")
    return cases_of(make_plan().datasets[0], where, where)[0]


def groups_of(data, cases):
    known = {case.name: case.group for case in cases}
    parts = {"test": {image.group for image in data.test}}
    for name, site in data.sites.items():
        parts[f"{name} training"] = {known[case] for case in site.training.cases}
        parts[f"{name} validation"] = {known[case] for case in site.validation.cases}
    return parts


def test_no_group_is_in_two_parts(cases):
    plan = make_plan()
    parts = groups_of(load_data(plan, plan.datasets[0], cases, None), cases)
    assert len(parts) == 7
    assert sum(len(part) for part in parts.values()) == len(set().union(*parts.values())) == 30


def test_the_test_part_does_not_depend_on_the_sites(cases):
    plan = make_plan()
    several = [load_data(plan, plan.datasets[0], cases, count) for count in (1, 3, 5)]
    names = [[image.name for image in data.test] for data in several]
    assert names[0] == names[1] == names[2]
    assert [len(data.sites) for data in several] == [1, 3, 5]
    assert len({data.digest for data in several}) == 3


def test_unequal_sites_and_another_scanner(cases):
    scanner = {"gamma": 1.8, "gain": 0.75, "offset": 0.15, "resolution": 0.5}
    sites = [
        {"name": "large"},
        {"name": "small", "weight": 0.125},
        {"name": "other", "scanner": scanner},
    ]
    plan = make_plan(sites=sites)
    data = load_data(plan, plan.datasets[0], cases, None)
    sizes = {n: len(s.training) + len(s.validation) for n, s in data.sites.items()}
    assert sizes["small"] <= 0.2 * sizes["large"]
    plain = make_plan(sites=[site | {"scanner": None} for site in sites])
    before = load_data(plain, plain.datasets[0], cases, None)
    for name in sites:
        same = np.array_equal(
            data.sites[name["name"]].training.images, before.sites[name["name"]].training.images
        )
        assert same == (name["name"] != "other")


def test_development_never_sees_the_test_part(cases):
    plan = make_plan()
    tested, developed = (
        load_data(one, one.datasets[0], cases, None)
        for one in (plan, plan.model_copy(update={"development": True}))
    )
    test = {image.name for image in tested.test}
    seen = {image.name for image in developed.test}
    for site in developed.sites.values():
        seen |= set(site.training.cases) | set(site.validation.cases)
    assert test and not test & seen
    assert len(test) + len(seen) == len(cases)


def test_a_scanner_is_deterministic_and_loses_detail():
    images = np.random.default_rng(0).random((2, 1, 32, 32), dtype=np.float32)
    coarse = Scanner(resolution=0.5)
    first, second = seen_by(coarse, images), seen_by(coarse, images)
    assert np.array_equal(first, second)
    assert first.shape == images.shape
    assert first.std() < 0.8 * images.std()
    assert np.array_equal(seen_by(None, images), images)
    darker = seen_by(Scanner(gamma=2.0, gain=0.5), images)
    assert np.allclose(darker, 0.5 * images**2, atol=1e-6)


def test_dividing_slices(cases):
    plan = make_plan()
    site = load_data(plan, plan.datasets[0], cases, None).sites["north"]
    five, rest = divide_slices(site, 5)
    ten, _ = divide_slices(site, 10)
    assert len(five.training) == 5
    assert set(five.training.cases) <= set(ten.training.cases)
    assert not set(five.training.cases) & set(rest.training.cases)
    assert len(five.training) + len(rest.training) == len(site.training)


def latent_run(slices, cache, **changes):
    images, masks = np.zeros((slices, 1, 64, 64), np.float16), np.zeros((slices, 64, 64), np.uint8)
    whole = GridSlices(images, masks, ("x",) * slices)
    entry = {"base": "fused-blind-aligned", "name": "held", "alignment": "held-back"}
    plan = make_plan(rows=[entry], max_epochs=1, **changes)
    data = BenchmarkData({"north": SiteData(whole, whole)}, {"north": None}, [], "", [])
    cpu = torch.device("cpu")
    return LatentRun(plan, plan.datasets[0], plan.rows[0], data, 0, StageCache(cache), cpu)


def held_and_kept(slices, cache):
    return [len(part["north"].training) for part in latent_run(slices, cache)._parts()]


def test_a_site_keeps_some_of_its_slices_for_the_pairs_however_few_it_has(tmp_path):
    parts = [held_and_kept(slices, tmp_path) for slices in (2, 3, 4, 12)]
    assert parts == [[1, 1], [1, 2], [2, 2], [3, 9]]
    with pytest.raises(TrainingError, match="north"):
        held_and_kept(1, tmp_path)


def test_studies_of_other_classes_share_no_training(tmp_path):
    for classes in (["a"], ["a", "b"]):
        dataset = {"name": "d", "path": "d", "modality": "US", "classes": classes}
        run = latent_run(2, tmp_path, datasets=[dataset])
        mask = run._autoencoder("north", "mask", 0.01)
        assert mask.decoder.head[1].out_channels == len(classes) + 1


def test_a_volume_goes_through_the_unet_in_batches():
    study = speed_study(image_size=(32, 32))
    slices = GridSlices(np.zeros((2, 1, 32, 32)), np.zeros((2, 32, 32), np.uint8), ("a", "b"))
    task = UNetTask(study, [slices], [slices], FitOptions(), torch.device("cpu"))
    sizes = []
    task.model.register_forward_hook(lambda _model, images, _out: sizes.append(len(images[0])))
    planes = np.random.default_rng(0).random((19, 1, 32, 32)).astype(np.float32)
    found = task.predict(planes)
    assert sizes == [8, 8, 3]
    np.testing.assert_allclose(found[17:], task.predict(planes[17:]), atol=1e-6)
