"""The layout shows in features without a new order; order is found where it is one for all."""

import numpy as np
import pytest
import torch

from ppcmi_sf.audit.attacks import layout
from ppcmi_sf.audit.exposure import encode, item_ids, protect, true_places
from ppcmi_sf.audit.matching import match_layout
from ppcmi_sf.audit.neighbours import (
    chance_precision,
    correlation,
    laid_out,
    lay_out,
    likeness_over_items,
    neighbour_precision,
    symmetries,
)
from ppcmi_sf.audit.options import AuditOptions
from ppcmi_sf.errors import PPCMIError
from ppcmi_sf.progress import run

SHAPE = (12, 12)


def smooth_fields(seed: int, items: int, channels: int = 6, brighter: bool = True):
    """Random fields in which neighbours are alike, with more contrast to one side."""
    draw = torch.Generator().manual_seed(seed)
    noise = torch.randn(items, channels, 20, 20, generator=draw)
    smooth = torch.nn.functional.avg_pool2d(noise, 9, stride=1) * 9
    side = torch.linspace(0.3, 2, 12)[:, None] * torch.linspace(0.5, 1.5, 12)[None]
    return smooth * side if brighter else smooth


@pytest.fixture(scope="module")
def result(escrow_subject, quick):
    return run(layout.run(escrow_subject, quick))


def test_without_a_transform_the_layout_shows(result, figure):
    none = figure(result, "first component, positions as they lie", "no transform")
    sent = figure(result, "first component, positions as they lie", "as sent")
    assert none.value > sent.value + 0.2


def test_what_is_laid_out_one_by_one_is_of_as_many_patients(escrow_subject, monkeypatch):
    """Not of the first few patients alone, whose interval would stand for all."""
    asked = []

    def stop(study, setting):
        asked.append(study.targets.groups[: study.laid_out_items])
        raise PPCMIError("enough", hint="none")

    monkeypatch.setattr(layout, "_look", stop)
    with pytest.raises(PPCMIError, match="enough"):
        run(layout.run(escrow_subject, AuditOptions(seed=1, items=40, train_steps=2)))
    assert len(asked[0]) == len(set(asked[0]))


def test_no_interval_of_a_correlation_is_negative(result):
    """Three items that are laid out one by one had |r| of -0.2 and more."""
    for one in result.measurements:
        if "above" not in one.name and one.low is not None:
            assert 0 <= one.low <= one.value <= one.high <= 1, one


def test_one_order_for_all_shows_its_neighbours_and_a_new_one_does_not(result, figure):
    fixed = figure(result, "precision", "over all items", "one transform for all")
    sent = figure(result, "precision", "over all items", "as sent")
    assert fixed.value > 2 * fixed.chance
    assert sent.value < 1.8 * sent.chance


def test_blind_shows_it_as_well_as_no_transform_does(blind_subject, quick, figure):
    found = run(layout.run(blind_subject, quick))
    for method in ("first component", "map of lengths"):
        sent = figure(found, f"image, {method}, positions as they lie", "as sent")
        none = figure(found, f"image, {method}, positions as they lie", "no transform")
        assert sent.value == pytest.approx(none.value, abs=1e-3)


def test_true_places_undo_the_order(escrow_subject, quick):
    latents = run(encode(escrow_subject, escrow_subject.others))
    ids = item_ids(0, len(escrow_subject.others))
    scale = escrow_subject.study.scales[0]
    places = true_places(escrow_subject, scale)
    assert sorted(places) == list(range(scale.rows * scale.columns))
    protected = protect(escrow_subject, latents, ids, "fixed")[scale.name]
    ordered = torch.empty_like(protected.flatten(2))
    ordered[:, :, places] = protected.flatten(2)
    before = latents[scale.name].flatten(2)
    assert torch.allclose(
        (ordered - ordered.mean(dim=2, keepdim=True)).norm(dim=1),
        (before - before.mean(dim=2, keepdim=True)).norm(dim=1),
        atol=1e-3,
    )


def test_neighbours_and_a_layout_are_found_over_many_items():
    fields = smooth_fields(1, 80, brighter=False)
    order = np.random.default_rng(0).permutation(144)
    alike = likeness_over_items(fields.flatten(2)[:, :, order])
    assert neighbour_precision(alike, order, SHAPE) > 0.95
    assert neighbour_precision(alike, np.random.default_rng(1).permutation(144), SHAPE) < 0.15
    places = lay_out(alike, SHAPE)
    assert sorted(places) == list(range(144))
    rows = order // 12
    picture = laid_out(rows.astype(float), places).reshape(SHAPE)
    truth = np.repeat(np.arange(12.0), 12).reshape(SHAPE)
    assert max(correlation(way, truth) for way in symmetries(picture)) > 0.8


def test_an_order_is_matched_with_public_features():
    fields, public = smooth_fields(1, 60), smooth_fields(2, 60)
    order = np.random.default_rng(0).permutation(144)
    scrambled = fields.flatten(2)[:, :, order].reshape(fields.shape)
    places = run(match_layout(scrambled, public, 20))
    apart = np.abs(np.stack(np.divmod(places, 12)) - np.stack(np.divmod(order, 12))).max(axis=0)
    assert (apart <= 2).mean() > 0.6


def test_guessing_neighbours():
    alike = torch.rand(144, 144, generator=torch.Generator().manual_seed(0))
    values = [
        neighbour_precision(alike, np.random.default_rng(n).permutation(144), SHAPE)
        for n in range(20)
    ]
    assert np.mean(values) == pytest.approx(chance_precision(SHAPE), rel=0.2)
