"""One transform for all items is solved for; a transform of its own for each is not."""

import pytest
import torch

from ppcmi_sf.audit.attacks import known_plaintext
from ppcmi_sf.audit.attacks.known_plaintext import match_positions, relative_errors, solve
from ppcmi_sf.latent_noise import LatentNoise
from ppcmi_sf.progress import run


@pytest.fixture(scope="module")
def result(escrow_subject, quick):
    return run(known_plaintext.run(escrow_subject, quick))


def test_one_transform_for_all_is_solved(result, figure):
    assert figure(result, "skip3", "5 known", "one transform for all").value < 1e-3
    assert figure(result, "bottleneck", "20 known", "one transform for all").value < 1e-2


def test_one_transform_for_each_item_is_not(result):
    worst = result.measurements[0]
    assert worst.name.endswith("as sent")
    assert worst.value >= 0.9
    assert worst.met is True
    assert worst.aim == "at least 0.9"


def test_blind_is_solved_and_the_aim_is_not_met(blind_subject, quick):
    found = run(known_plaintext.run(blind_subject, quick))
    assert found.measurements[0].value < 1e-3
    assert found.measurements[0].met is False


def test_noise_of_the_site_is_in_what_is_attacked(blind_subject, quick):
    """With noise on what is sent, what is solved for no longer gives other items exactly."""
    quiet = run(known_plaintext.run(blind_subject, quick)).measurements[0].value
    blind_subject.site.noise = LatentNoise(0.5)
    try:
        first, again = (run(known_plaintext.run(blind_subject, quick)) for _ in range(2))
    finally:
        blind_subject.site.noise = None
    assert first.measurements[0].value > 100 * quiet
    # that it can succeed is seen beside it, without noise and transform
    planted = [one for one in first.measurements if "planted weakness: no transform" in one.name]
    assert min(one.value for one in planted) < 1e-3
    assert first.measurements == again.measurements  # the same seed, the same noise


@pytest.mark.parametrize("items", [1, 3])
def test_mixing_bias_and_order_are_found(items):
    draw = torch.Generator().manual_seed(items)
    before = torch.randn(items, 8, 6, 6, generator=draw, dtype=torch.float64)
    mixing = torch.linalg.qr(torch.randn(8, 8, generator=draw, dtype=torch.float64))[0]
    bias, order = torch.randn(8, 1, generator=draw), torch.randperm(36, generator=draw)
    mixed = torch.matmul(mixing.T, before.flatten(2)) + bias
    after = mixed[:, :, order].reshape(before.shape)
    assert torch.equal(match_positions(before, after), order.argsort())
    for solution in solve(before, after, ordered=False):
        found = solution.recover(after)
        assert relative_errors(before, found, solution.mean_before).max() < 1e-6


def test_a_few_positions_that_look_alike_do_not_stop_it():
    draw = torch.Generator().manual_seed(4)
    before = torch.randn(4, 8, 6, 6, generator=draw)
    before[:, :, 0, :3] = before[:, :, 5, 3:]
    order = torch.randperm(36, generator=draw)
    after = before.flatten(2)[:, :, order].reshape(before.shape)
    found = match_positions(before, after)
    assert sorted(found.tolist()) == list(range(36))
    assert torch.allclose(after.flatten(2)[:, :, found], before.flatten(2), atol=1e-5)


def test_the_mean_has_an_error_of_one():
    truth = torch.randn(5, 4, 3, 3)
    mean = truth.double().flatten(2).mean(dim=(0, 2))
    guess = mean[:, None, None].expand(4, 3, 3).expand(5, 4, 3, 3)
    assert torch.allclose(relative_errors(truth, guess, mean), torch.ones(5).double())
