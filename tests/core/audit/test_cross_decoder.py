"""A partner's decoder: nothing to see of what is sent, much of what is not protected."""

import pytest

from ppcmi_sf.audit.attacks import cross_decoder
from ppcmi_sf.progress import run


@pytest.fixture(scope="module")
def result(escrow_subject, quick):
    return run(cross_decoder.run(escrow_subject, quick))


def test_without_a_transform_the_number_jumps(result, figure):
    sent = figure(result, "SSIM with the original", "as sent")
    none = figure(result, "SSIM with", "no transform")
    own = figure(result, "own decoder")
    assert none.low > sent.high + 0.05
    assert own.value > none.value
    assert sent.low < sent.value < sent.high
    assert sent.n == 16


def test_what_is_sent_gives_no_more_than_the_mean_image(result, figure):
    above = figure(result, "above that of the mean image")
    assert above.value < 0.05
    assert above.aim == "at most 0"
    assert above.met is (above.value <= 0)
    assert 0 < figure(result, "SSIM with the original", "as sent").chance < 1


def test_nothing_of_the_very_item_is_seen(result, figure):
    assert abs(figure(result, "own original").value) < 0.03


def test_pictures_are_of_the_grid_and_in_range(result):
    assert [picture.pixels.shape for picture in result.pictures] == [(64, 64)] * 5
    assert all(p.pixels.min() >= 0 and p.pixels.max() <= 1 for p in result.pictures)


def test_the_same_seed_gives_the_same_numbers(escrow_subject, quick, result):
    assert run(cross_decoder.run(escrow_subject, quick)).measurements == result.measurements


def test_surrogates_are_trained_where_no_partner_is_given(escrow_subject, quick, fresh):
    from dataclasses import replace

    alone = replace(fresh(escrow_subject), partners=())
    tiny = replace(quick, train_steps=2, items=6)
    found = run(cross_decoder.run(alone, tiny))
    assert found.measurements[0].n == 6
    assert len(alone.surrogates) == 2


def test_blind_has_two_settings(blind_subject, quick, figure):
    found = run(cross_decoder.run(blind_subject, quick))
    assert not any("one transform for all" in m.name for m in found.measurements)
    assert (
        figure(found, "no transform").low > figure(found, "SSIM with the original", "as sent").high
    )
    mean, worst = (figure(found, "2 other keys", words) for words in ("mean", "worst"))
    assert mean.value <= worst.value < figure(found, "no transform").value
    assert "It depends on the key: 2 others gave" in found.reading


def test_escrow_asks_no_other_keys(result):
    assert not any("other keys" in m.name for m in result.measurements)
