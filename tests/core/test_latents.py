"""Latent pyramids."""

import pytest
import torch

from ppcmi_sf.latents import LatentPyramid


def pyramid(batch=2, start=0.0):
    return LatentPyramid(
        {
            "fine": start + torch.arange(batch * 8.0).reshape(batch, 2, 2, 2),
            "coarse": start + torch.arange(batch * 3.0).reshape(batch, 3, 1, 1),
        }
    )


def test_it_is_a_mapping_in_order():
    one = pyramid()
    assert list(one) == ["fine", "coarse"]
    assert len(one) == 2
    assert one.batch_size == 2
    assert one["coarse"].shape == (2, 3, 1, 1)


def test_empty_and_uneven_pyramids_are_refused():
    with pytest.raises(ValueError, match="at least one scale"):
        LatentPyramid({})
    with pytest.raises(ValueError, match="same batch size"):
        LatentPyramid({"a": torch.zeros(2, 1, 1, 1), "b": torch.zeros(3, 1, 1, 1)})


def test_its_repr_has_shapes_but_no_values():
    text = repr(pyramid(start=1234.5))
    assert text == "LatentPyramid(fine=(2, 2, 2, 2), coarse=(2, 3, 1, 1))"


def test_map_items_and_concatenate():
    one = pyramid()
    doubled = one.map(lambda value: 2 * value)
    torch.testing.assert_close(doubled["fine"], 2 * one["fine"])
    parts = [one.items_at(slice(0, 1)), one.items_at(torch.tensor([1, 0]))]
    joined = LatentPyramid.concatenate(parts)
    assert joined.batch_size == 3
    for name in one:
        torch.testing.assert_close(joined[name], one[name][[0, 1, 0]])
    assert one.to(torch.float16)["fine"].dtype == torch.float16


def test_matches_wants_names_order_and_shapes(make_study):
    study = make_study(size=(32, 64))
    right = {scale.name: torch.zeros(1, *scale.shape) for scale in study.scales}
    assert LatentPyramid(right).matches(study.scales)
    assert not LatentPyramid(dict(reversed(right.items()))).matches(study.scales)
    assert not LatentPyramid(right | {"skip3": torch.zeros(1, 1, 1, 1)}).matches(study.scales)
    assert not LatentPyramid({"skip3": right["skip3"]}).matches(study.scales)
