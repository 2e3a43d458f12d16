"""The part of the keyed transform that is fresh for each item."""

import numpy as np
import pytest
import scipy.fft
import torch

from ppcmi_sf.item_transform import ItemTransform, cosine_basis
from ppcmi_sf.keys import TransformShare
from ppcmi_sf.study import ScaleSpec

SCALE = ScaleSpec("skip3", 12, 8, 5)
SHARE = TransformShare("north", "ab" * 32, 1, bytes(range(32)))


def make(share=SHARE, role="image", scale=SCALE) -> ItemTransform:
    return ItemTransform(share, role, scale)


def ids(count: int, start: int = 0) -> list[str]:
    return [f"{start + index:016x}" for index in range(count)]


def matrix_of(item: str, **how) -> torch.Tensor:
    """The whole map of one item, column by column, in float64."""
    size = int(np.prod(SCALE.shape))
    every = torch.eye(size, dtype=torch.float64).reshape(size, *SCALE.shape)
    return make(**how).protect(every, [item] * size).flatten(1).T


@pytest.mark.parametrize("size", [1, 2, 5, 48, 256])
def test_cosine_basis_is_scipy_s(size):
    expected = scipy.fft.dct(np.eye(size), norm="ortho", axis=0)
    np.testing.assert_allclose(cosine_basis(size).numpy(), expected, atol=1e-7)


def test_each_item_s_map_is_a_gain_times_an_orthogonal_matrix():
    gains = []
    for item in ids(20):
        matrix = matrix_of(item)
        square = matrix.T @ matrix
        gains.append(float(square.diagonal().mean().sqrt()))
        expected = gains[-1] ** 2 * torch.eye(len(matrix), dtype=torch.float64)
        torch.testing.assert_close(square, expected, atol=1e-5, rtol=0)
    assert 0.5 < min(gains) < 0.8
    assert 1.25 < max(gains) < 2


def test_gains_are_even_on_a_logarithmic_scale():
    one = torch.ones(1, *SCALE.shape)
    norms = [float(make().protect(one, [item]).norm()) for item in ids(500)]
    exponents = np.log2(np.array(norms) / float(one.norm()))
    assert np.abs(exponents).max() < 1
    assert np.histogram(exponents, bins=4, range=(-1, 1))[0].min() > 80  # 125 ± 10


def test_every_value_comes_to_depend_on_every_other():
    matrix = matrix_of("00" * 8)
    size = len(matrix)
    # A single value of 1 is spread over all places, none with a large share.
    shares = matrix.square() / matrix.square().sum(0)
    assert shares.max() < 30 / size
    assert (shares > 0.01 / size).double().mean() > 0.85


def test_different_items_roles_scales_and_shares_have_unrelated_maps():
    other = TransformShare("north", "ab" * 32, 2, bytes(range(1, 33)))
    every = [
        matrix_of("00" * 8),
        matrix_of("01" * 8),
        matrix_of("00" * 8, role="mask"),
        matrix_of("00" * 8, share=other),
        matrix_of("00" * 8, scale=ScaleSpec("skip4", *SCALE.shape)),
    ]
    size = len(every[0])
    for index, one in enumerate(every):
        for another in every[:index]:
            product = one.T @ another / (one.norm() * another.norm() / size)
            # Of two independent orthogonal matrices it is one itself: no entry is near 1.
            assert product.abs().max() < 0.6
            assert product.diagonal().square().mean() < 4 / size


def test_it_is_the_same_on_every_call_and_undone_by_recover():
    latents = torch.randn(3, *SCALE.shape)
    protected = make().protect(latents, ids(3))
    assert torch.equal(protected, make().protect(latents, ids(3)))
    torch.testing.assert_close(make().recover(protected, ids(3)), latents, atol=1e-5, rtol=1e-5)
    wrong = make().recover(protected, ids(3, start=1))
    assert (wrong - latents).norm() > 0.9 * latents.norm()


def test_items_do_not_influence_each_other():
    latents, items = torch.randn(3, *SCALE.shape), ids(3)
    whole = make().protect(latents, items)
    for index, item in enumerate(items):
        alone = make().protect(latents[index : index + 1], [item])
        torch.testing.assert_close(alone[0], whole[index])


def test_the_same_image_twice_is_not_seen_to_be_the_same():
    """Under other pseudonyms neither values nor distances between places nor lengths remain."""
    generator = torch.Generator().manual_seed(1)
    smooth = torch.randn(1, *SCALE.shape, generator=generator).cumsum(2).cumsum(3)
    first = make().protect(smooth.expand(40, -1, -1, -1), ids(40)).flatten(1)
    cosines = torch.nn.functional.normalize(first) @ torch.nn.functional.normalize(first).T
    apart = cosines[~torch.eye(40, dtype=torch.bool)]
    assert apart.abs().max() < 5 / np.sqrt(first.shape[1])
    assert first.norm(dim=1).std() > 0.2 * first.norm(dim=1).mean()


def test_a_gradient_goes_through_it():
    latents = torch.randn(2, *SCALE.shape, dtype=torch.float64, requires_grad=True)
    items = ids(2)
    one = make()
    assert torch.autograd.gradcheck(lambda z: one.protect(z, items), latents, fast_mode=True)
    assert torch.autograd.gradcheck(lambda z: one.recover(z, items), latents, fast_mode=True)


def test_no_items_and_too_few_pseudonyms():
    assert make().protect(torch.empty(0, *SCALE.shape), []).shape == (0, *SCALE.shape)
    with pytest.raises(ValueError, match="2 items have 1"):
        make().protect(torch.randn(2, *SCALE.shape), ["00" * 8])
