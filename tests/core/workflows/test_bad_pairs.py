"""What a site sends is checked before the server trains on it: refused, or reported."""

import dataclasses

import pytest
import torch

from ppcmi_sf.bundle import ItemBatch
from ppcmi_sf.errors import BundleContentError
from ppcmi_sf.progress import run


def forged(north, server, like, path, change):
    """North's bundle with changed image latents, signed by north."""
    latents = like.batch.latents
    changed = {"image": latents["image"].map(change), "mask": latents["mask"]}
    batch = ItemBatch(like.batch.items, changed, like.batch.validation)
    return north.forge(path, like, to=[server.card], batch=batch)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value * 2000, "huge"),
        (torch.zeros_like, "the same at every place"),
    ],
)
def test_unusable_pairs_stop_the_training_and_name_site_and_bundle(
    change, words, server, north, escrow, tmp_path
):
    like = server.read(escrow.bundles[0])
    path = forged(north, server, like, tmp_path / "b.ppcmi", change)
    noted, log = server.noted("received"), len(server.party.home.log.entries())
    with pytest.raises(BundleContentError, match=words) as caught:
        run(server.train(tmp_path / "s", [path, *escrow.bundles[1:]], again=True))
    assert str(path) in caught.value.message
    assert "'north'" in caught.value.message
    assert "'north'" in caught.value.hint
    assert not [item for item in (tmp_path / "s").rglob("*") if item.suffix == ".safetensors"]
    assert server.noted("received") == noted
    assert len(server.party.home.log.entries()) == log


def test_honest_sites_weigh_alike_and_raise_no_suspicion(escrow, blind):
    for one in (escrow, blind):
        found = one.server_report.contributions
        assert found.weights == pytest.approx(dict.fromkeys(escrow.keys, 1 / 3))
        assert not found.suspicions, one.study.arrangement


def test_what_is_sent_twice_is_reported_and_does_not_count_more(server, north, escrow, tmp_path):
    like = server.read(escrow.bundles[0])
    more = [north.forge(tmp_path / f"{n}.ppcmi", like, to=[server.card]) for n in range(3)]
    report = run(server.train(tmp_path / "s", [*escrow.bundles, *more], again=True))
    found = {(one.site, one.kind): one for one in report.contributions.suspicions}
    assert found["north", "duplicates"].items >= 3 * 44
    assert "of all training pairs" in found["north", "size"].message
    assert report.contributions.weights["north"] == pytest.approx(0.5)
    assert set(found) == {("north", "duplicates"), ("north", "size")}
    assert dataclasses.asdict(found["north", "size"])["site"] == "north"
