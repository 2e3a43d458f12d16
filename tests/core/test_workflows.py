"""The whole chain through files: three sites, a server, and what can go wrong between them."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from datetime import UTC, datetime
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from PIL import Image

from ppcmi_sf.bundle import LatentBundle, read_bundle, read_header
from ppcmi_sf.data import Case
from ppcmi_sf.errors import (
    BundleError,
    InputFileError,
    KeyFileError,
    ModelFileError,
    PPCMIError,
    ResourceError,
    StudyError,
    TrainingError,
)
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.progress import run
from ppcmi_sf.training.autoencoders import AutoencoderOptions
from ppcmi_sf.training.loop import FitOptions
from ppcmi_sf.training.mapping import MappingOptions
from ppcmi_sf.workflows.folders import SiteFolder
from ppcmi_sf.workflows.map_queries import map_queries
from ppcmi_sf.workflows.protect import protect_queries, protect_training_pairs
from ppcmi_sf.workflows.reveal import reveal_replies
from ppcmi_sf.workflows.train_server import train_server
from ppcmi_sf.workflows.train_site import train_site

CPU = torch.device("cpu")
SITE = "north"
ONE_EPOCH = MappingOptions(fit=FitOptions(epochs=1, batch_size=16))


@pytest.fixture(params=["escrow", "blind"])
def both(request):
    """The finished collaboration of either arrangement."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def site(escrow, tmp_path) -> Path:
    """A copy of a trained site's folder, to change at will."""
    return shutil.copytree(escrow.site(SITE), tmp_path / "site")


@pytest.fixture
def server(escrow, tmp_path) -> Path:
    """A copy of the trained server's folder."""
    return shutil.copytree(escrow.server, tmp_path / "server")


def files(folder: Path) -> list[str]:
    """Every file below, hidden ones too."""
    return sorted(str(item.relative_to(folder)) for item in folder.rglob("*") if item.is_file())


def replies_of(one, name=SITE) -> list[Path]:
    return sorted(one.replies(name).iterdir())


def queries_of(one, name=SITE) -> list[Path]:
    return sorted(one.queries(name).iterdir())


def only_failure(report) -> PPCMIError:
    ((_, error),) = report.failures
    assert error.hint
    return error


# -- what comes out ---------------------------------------------------------------------


def test_masks_are_good(both):
    scores = {name: both.dice(name) for name in both.keys}
    print(f"\n{both.study.arrangement}: Dice {scores}")
    assert min(scores.values()) > 0.75
    assert np.mean(list(scores.values())) > 0.8


def test_masks_have_names_and_sizes_of_the_images(both):
    for name, cases in both.testing.items():
        assert files(both.masks(name)) == sorted(f"{case.name}.png" for case in cases)
        for case in cases:
            with Image.open(both.masks(name) / f"{case.name}.png") as mask:
                assert mask.size == Image.open(case.image).size
                assert set(np.unique(np.asarray(mask))) <= {0, 1}


def test_reports_count(both):
    for name in both.keys:
        trained = both.site_reports[name]
        assert trained.training_slices == 14
        assert trained.validation_slices == 2
        assert trained.failures == []
        pairs = both.pair_reports[name]
        assert pairs.items == 14 * 3 + 2
        assert pairs.bytes == sum(path.stat().st_size for path in pairs.written)
        assert len(both.query_reports[name].written) == 4
        assert len(both.reveal_reports[name].written) == 4
    assert both.server_report.pairs == dict.fromkeys(sorted(both.keys), 44)


def test_folders_hold_what_they_should_and_no_leftovers(both):
    assert files(both.site(SITE)) == [
        "image_autoencoder.safetensors",
        "mask_autoencoder.safetensors",
        "pairs.json",
        "registry.sqlite",
        "study.yaml",
        "training.json",
    ]
    shares = [f"shares/{name}.json" for name in sorted(both.keys)]
    assert files(both.server) == sorted(
        ["mapping_network.safetensors", "study.yaml"]
        + (shares if both.study.arrangement == "escrow" else [])
    )
    assert not [name for name in files(both.root) if ".part." in name or "checkpoint" in name]


def test_validation_items_are_marked_and_not_augmented(both):
    header = read_header(both.pair_reports[SITE].written[0])
    assert len(header.validation) == 2
    assert len(header.items) == 44


def test_the_server_s_folder_holds_no_client_key(both):
    secrets = [key.secret for key in both.keys.values()]
    for name in files(both.server):
        data = (both.server / name).read_bytes()
        assert not any(secret in data for secret in secrets)


def test_bundles_say_nothing_of_case_path_or_date(both):
    """Case names are those of patients here, with the year of their birth."""
    paths = [*both.bundles, *queries_of(both), *replies_of(both)]
    assert len(paths) == 3 + 4 + 4
    random_ids = {"bundle_id", "in_reply_to", "items", "study", "transform", "encoders"}
    this_year = str(datetime.now(UTC).year)
    for path in paths:
        data = path.read_bytes()
        for word in ("Jane-19", str(both.root), both.root.parent.name, "north_", "manifest"):
            assert word.encode() not in data, (word, path.name)
        text = data[8 : 8 + int.from_bytes(data[:8], "little")].decode()
        told = read_header(path).model_dump(exclude=random_ids)
        assert set(json.loads(text)["__metadata__"]) == {"ppcmi"}
        words = ["Doe", "Jane", "png", "images", "sites", "queries", this_year, "1961", os.sep]
        for word in words:
            assert word not in str(told)
            assert word.isdigit() or word not in text + path.name, (word, path.name)


def test_sizes_of_queries_tell_no_case(both):
    sizes = {path.stat().st_size for path in queries_of(both)}
    assert len(sizes) == 1


# -- doing it again ---------------------------------------------------------------------


def test_what_is_done_is_skipped(both):
    key, before = both.keys[SITE], files(both.root)
    queried = run(
        protect_queries(both.site(SITE), key, both.testing[SITE], both.queries(SITE), device=CPU)
    )
    mapped = run(map_queries(both.server, queries_of(both), both.replies(SITE), device=CPU))
    revealed = run(
        reveal_replies(both.site(SITE), key, replies_of(both), both.masks(SITE), device=CPU)
    )
    for report in (queried, mapped, revealed):
        assert (report.written, len(report.skipped), report.failures) == ([], 4, [])
    assert files(both.root) == before


def test_only_what_is_missing_is_done(escrow, site, tmp_path):
    key, cases, out = escrow.keys[SITE], escrow.testing[SITE], tmp_path / "q"
    first = run(protect_queries(site, key, cases[:2], out, device=CPU))
    second = run(protect_queries(site, key, cases, out, device=CPU))
    assert second.skipped == [case.name for case in cases[:2]]
    assert len(second.written) == 2
    second.written[0].unlink()
    third = run(protect_queries(site, key, cases, out, device=CPU))
    assert len(third.written) == 1
    assert first.written[0].is_file()
    # Another folder is another order; so is a changed precision.
    assert len(run(protect_queries(site, key, cases, tmp_path / "r", device=CPU)).written) == 4
    fine = run(protect_queries(site, key, cases, out, device=CPU, precision="float32"))
    assert len(fine.written) == 4
    assert run(protect_queries(site, key, cases, out, device=CPU)).written == []


def test_a_changed_image_is_protected_again(escrow, site, tmp_path):
    case = escrow.testing[SITE][0]
    image = shutil.copy(case.image, tmp_path / "x.png")
    moved = [Case("x", image)]
    key = escrow.keys[SITE]
    run(protect_queries(site, key, moved, tmp_path / "q", device=CPU))
    shutil.copy(escrow.testing[SITE][1].image, image)
    assert len(run(protect_queries(site, key, moved, tmp_path / "q", device=CPU)).written) == 1


def test_masks_are_kept_unless_told(escrow, site, tmp_path):
    out, key = tmp_path / "masks", escrow.keys[SITE]
    shutil.copytree(escrow.masks(SITE), out)
    target = out / f"{escrow.testing[SITE][0].name}.png"
    corrected = np.full((64, 64), 1, np.uint8)
    Image.fromarray(corrected).save(target)
    run(reveal_replies(site, key, replies_of(escrow), out, device=CPU))
    np.testing.assert_array_equal(np.asarray(Image.open(target)), corrected)
    report = run(reveal_replies(site, key, replies_of(escrow), out, device=CPU, overwrite=True))
    assert len(report.written) == 4
    assert (np.asarray(Image.open(target)) == 0).any()


def test_a_trained_site_or_server_is_not_replaced_by_accident(escrow, site, server):
    options = AutoencoderOptions(fit=FitOptions(epochs=1))
    before = (site / "mask_autoencoder.safetensors").read_bytes()
    with pytest.raises(ModelFileError, match="trained already") as caught:
        run(train_site(site, escrow.study, SITE, escrow.training[SITE], options, device=CPU))
    assert "--retrain" in caught.value.hint
    assert (site / "mask_autoencoder.safetensors").read_bytes() == before
    with pytest.raises(ModelFileError, match="trained already"):
        run(
            train_server(server, escrow.study, escrow.bundles, escrow.shares, ONE_EPOCH, device=CPU)
        )


# -- keys, sites and epochs that do not fit ---------------------------------------------


def test_keys_of_another_site_or_study_are_refused(escrow, blind, tmp_path):
    for key, kind in ((escrow.keys["south-1"], KeyFileError), (blind.keys[SITE], StudyError)):
        for job in (
            protect_queries(
                escrow.site(SITE), key, escrow.testing[SITE], tmp_path / "o", device=CPU
            ),
            protect_training_pairs(
                escrow.site(SITE), key, escrow.training[SITE], tmp_path / "o", device=CPU
            ),
            reveal_replies(escrow.site(SITE), key, replies_of(escrow), tmp_path / "o", device=CPU),
        ):
            with pytest.raises(kind) as caught:
                run(job)
            assert caught.value.hint
    assert not (tmp_path / "o").exists()


def test_a_reply_is_not_revealed_with_another_key_or_epoch(escrow, site, tmp_path):
    key = escrow.keys[SITE]
    keys = {
        "made with another key": ClientKey.generate(SITE, escrow.study.fingerprint),
        "epoch 1; the key is of site": ClientKey(SITE, key.study, 2, key.secret),
    }
    for words, other in keys.items():
        report = run(
            reveal_replies(site, other, replies_of(escrow)[:1], tmp_path / "m", device=CPU)
        )
        error = only_failure(report)
        assert isinstance(error, KeyFileError)
        assert words in error.message
    assert not (tmp_path / "m").exists()


def test_another_site_s_reply_is_listed(escrow, site, tmp_path):
    replies = [*replies_of(escrow, "south-1")[:1], *replies_of(escrow)[:1]]
    report = run(reveal_replies(site, escrow.keys[SITE], replies, tmp_path / "m", device=CPU))
    assert "for site 'south-1'" in only_failure(report).message
    assert len(report.written) == 1


def test_a_query_is_no_reply_and_a_reply_no_query(escrow, site, server, tmp_path):
    report = run(
        reveal_replies(site, escrow.keys[SITE], queries_of(escrow)[:1], tmp_path / "m", device=CPU)
    )
    assert "a query bundle, not a reply" in only_failure(report).message
    for path in (replies_of(escrow)[0], escrow.bundles[0]):
        report = run(map_queries(server, [path], tmp_path / "r", device=CPU))
        assert "not a query" in only_failure(report).message
    with pytest.raises(BundleError, match="a query bundle, not a training bundle"):
        run(
            train_server(
                tmp_path / "s",
                escrow.study,
                queries_of(escrow)[:1],
                escrow.shares,
                ONE_EPOCH,
                device=CPU,
            )
        )
    assert not (tmp_path / "r").exists()


def test_a_query_of_another_epoch_is_listed_by_the_server(escrow, site, server, tmp_path):
    key = escrow.keys[SITE]
    new = ClientKey(SITE, key.study, 2, key.secret)
    made = run(protect_queries(site, new, escrow.testing[SITE][:1], tmp_path / "q", device=CPU))
    report = run(map_queries(server, made.written, tmp_path / "r", device=CPU))
    assert "key epoch 2; the mapping network knows epoch 1" in only_failure(report).message


def test_a_key_made_anew_under_the_same_name_and_epoch_is_noticed(both, tmp_path):
    site = shutil.copytree(both.site(SITE), tmp_path / "site")
    new = ClientKey.generate(SITE, both.keys[SITE].study)
    made = run(protect_queries(site, new, both.testing[SITE][:1], tmp_path / "q", device=CPU))
    report = run(map_queries(both.server, made.written, tmp_path / "r", device=CPU))
    assert "another key of site" in only_failure(report).message


def test_a_retrained_site_is_noticed_by_server_and_site(escrow, site, server, tmp_path):
    options = AutoencoderOptions(fit=FitOptions(epochs=1, seed=9), augment=False)
    key, cases = escrow.keys[SITE], escrow.testing[SITE]
    run(
        train_site(
            site, escrow.study, SITE, escrow.training[SITE], options, device=CPU, retrain=True
        )
    )
    made = run(protect_queries(site, key, cases, escrow.queries(SITE), device=CPU))
    try:
        assert made.skipped == []  # those queries were made with the old encoders
        report = run(map_queries(server, made.written[:1], tmp_path / "r", device=CPU))
        assert "trained its autoencoders anew" in only_failure(report).message
    finally:
        for path in made.written:
            path.unlink()
    report = run(reveal_replies(site, key, replies_of(escrow)[:1], tmp_path / "m", device=CPU))
    assert "trained anew since the query" in only_failure(report).message


def test_an_unknown_site_is_listed(escrow, server, tmp_path):
    query = read_bundle(queries_of(escrow)[0], escrow.study)
    strange = LatentBundle(query.header.model_copy(update={"site": "far"}), query.latents)
    strange.save(tmp_path / "q")
    report = run(map_queries(server, [tmp_path / "q"], tmp_path / "r", device=CPU))
    message = only_failure(report).message
    assert "not trained with site 'far'; it knows north, south-1, west.b" in message


def test_a_registry_of_another_folder_knows_no_query(escrow, site, tmp_path):
    (site / "registry.sqlite").unlink()
    report = run(
        reveal_replies(site, escrow.keys[SITE], replies_of(escrow)[:1], tmp_path / "m", device=CPU)
    )
    assert "answers no query of this site" in only_failure(report).message


# -- the server's training --------------------------------------------------------------


def start_training(one, folder, bundles=None, shares=None, study=None):
    run(
        train_server(
            folder,
            study or one.study,
            one.bundles if bundles is None else bundles,
            one.shares if shares is None else shares,
            ONE_EPOCH,
            device=CPU,
        )
    )


def test_a_missing_share_stops_the_training(escrow, tmp_path):
    with pytest.raises(KeyFileError, match=r"no transform share of site 'west\.b'") as caught:
        start_training(escrow, tmp_path / "s", shares=escrow.shares[:2])
    assert "--share" in caught.value.hint
    assert not (tmp_path / "s").exists()


def test_a_share_of_another_epoch_stops_the_training(escrow, tmp_path):
    key = escrow.keys[SITE]
    old = tmp_path / "old.share"
    ClientKey(SITE, key.study, 3, key.secret).transform_share().save(old)
    with pytest.raises(KeyFileError, match="is of epoch 3, its bundles are of epoch 1"):
        start_training(escrow, tmp_path / "s", shares=[old, *escrow.shares[1:]])


def test_a_share_of_a_key_made_anew_stops_the_training(escrow, tmp_path):
    new = ClientKey.generate(SITE, escrow.keys[SITE].study)
    new.transform_share().save(tmp_path / "new.share")
    with pytest.raises(KeyFileError, match="of another key than its bundles"):
        start_training(escrow, tmp_path / "s", shares=[tmp_path / "new.share", *escrow.shares[1:]])


def test_two_shares_of_a_site_stop_the_training(escrow, tmp_path):
    with pytest.raises(InputFileError, match="a second transform share of site 'north'"):
        start_training(escrow, tmp_path / "s", shares=[*escrow.shares, escrow.shares[0]])


def test_a_client_key_given_as_a_share_is_refused(escrow, tmp_path):
    key = escrow.root / "keys" / f"{SITE}.key"
    with pytest.raises(KeyFileError, match="not a transform share file but a client-key"):
        start_training(escrow, tmp_path / "s", shares=[key, *escrow.shares[1:]])


def test_a_blind_server_takes_no_shares(blind, escrow, tmp_path):
    with pytest.raises(KeyFileError, match="holds no transform shares"):
        start_training(blind, tmp_path / "s", shares=escrow.shares)


def test_a_duplicate_bundle_stops_the_training(escrow, tmp_path):
    again = shutil.copy(escrow.bundles[0], tmp_path / "again.safetensors")
    with pytest.raises(BundleError, match="the same bundle as") as caught:
        start_training(escrow, tmp_path / "s", bundles=[*escrow.bundles, again])
    assert str(again) in caught.value.message


def test_bundles_of_two_trainings_of_a_site_stop_the_training(escrow, tmp_path):
    bundle = read_bundle(escrow.bundles[0], escrow.study)
    for change in ({"encoders": "00" * 8}, {"epoch": 2}):
        header = bundle.header.model_copy(update=change | {"bundle_id": "0" * 32})
        LatentBundle(header, bundle.latents).save(tmp_path / "b")
        with pytest.raises(BundleError, match="other autoencoders or another key than"):
            start_training(escrow, tmp_path / "s", bundles=[*escrow.bundles, tmp_path / "b"])


def test_several_bundles_of_a_site_are_joined(escrow, tmp_path):
    bundle = read_bundle(escrow.bundles[0], escrow.study)
    header = bundle.header.model_copy(update={"bundle_id": "0" * 32})
    LatentBundle(header, bundle.latents).save(tmp_path / "b")
    report = run(
        train_server(
            tmp_path / "s",
            escrow.study,
            [*escrow.bundles, tmp_path / "b"],
            escrow.shares,
            ONE_EPOCH,
            device=CPU,
        )
    )
    assert report.pairs == {"north": 88, "south-1": 44, "west.b": 44}


def test_bundles_of_another_study_stop_the_training(escrow, blind, tmp_path):
    with pytest.raises(StudyError, match="belongs to another study"):
        start_training(escrow, tmp_path / "s", bundles=blind.bundles)


def test_no_bundles_is_an_error(escrow, tmp_path):
    with pytest.raises(TrainingError, match="no training pairs"):
        start_training(escrow, tmp_path / "s", bundles=[])


def test_a_damaged_bundle_stops_the_training(escrow, tmp_path):
    broken = tmp_path / "b.safetensors"
    broken.write_bytes(escrow.bundles[0].read_bytes()[:-100])
    with pytest.raises(BundleError, match="not a readable latent bundle"):
        start_training(escrow, tmp_path / "s", bundles=[broken])


def test_a_server_s_training_goes_on_after_a_stop(escrow, tmp_path):
    options = MappingOptions(fit=FitOptions(epochs=2, batch_size=22, seed=1))

    def job(name):
        return train_server(
            tmp_path / name, escrow.study, escrow.bundles, escrow.shares, options, device=CPU
        )

    whole = run(job("whole"))
    stopped = job("stopped")
    for step in stopped:
        if "loss" in step.values:  # of the first epoch: its checkpoint is written
            break
    stopped.close()
    assert files(tmp_path / "stopped") == [".mapping_network.checkpoint.safetensors"]
    assert run(job("stopped")).fit.train_losses == pytest.approx(whole.fit.train_losses, abs=1e-5)
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


# -- folders that are not as they should be ---------------------------------------------


@pytest.mark.parametrize("what", ["swapped", "other epoch", "missing", "a client key"])
def test_wrong_shares_in_the_server_s_folder_are_refused(what, escrow, server, tmp_path):
    path, key = server / "shares" / f"{SITE}.json", escrow.keys[SITE]
    if what == "swapped":
        shutil.copy(server / "shares" / "south-1.json", path)
    elif what == "other epoch":
        ClientKey(SITE, key.study, 2, key.secret).transform_share().save(path)
    elif what == "missing":
        path.unlink()
    else:
        key.save(path)
    with pytest.raises(KeyFileError) as caught:
        run(map_queries(server, queries_of(escrow), tmp_path / "r", device=CPU))
    assert str(path) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("study.yaml", InputFileError),
        ("training.json", InputFileError),
        ("image_autoencoder.safetensors", ModelFileError),
        ("mask_autoencoder.safetensors", ModelFileError),
        ("registry.sqlite", ResourceError),
    ],
)
def test_damaged_site_folders_are_refused(name, kind, escrow, site, tmp_path):
    for content in (b"\xff\xfe damaged", None):
        if content is None:
            (site / name).unlink()
        else:
            (site / name).write_bytes(content)
        job = protect_queries(
            site, escrow.keys[SITE], escrow.testing[SITE], tmp_path / "q", device=CPU
        )
        if content is None and name == "registry.sqlite":
            assert len(run(job).written) == 4  # it is made anew
            continue
        with pytest.raises(kind) as caught:
            run(job)
        assert str(site) in caught.value.message
        assert caught.value.hint


def test_swapped_autoencoders_are_refused(escrow, site, tmp_path):
    shutil.copy(site / "image_autoencoder.safetensors", site / "mask_autoencoder.safetensors")
    with pytest.raises(ModelFileError, match="not the mask autoencoder of site 'north'"):
        SiteFolder(site).load(escrow.keys[SITE], CPU)


def test_folders_that_are_none_are_refused(escrow, tmp_path):
    with pytest.raises(InputFileError, match="not a site folder"):
        run(protect_queries(tmp_path, escrow.keys[SITE], [], tmp_path / "q", device=CPU))
    with pytest.raises(InputFileError, match="not a server folder"):
        run(map_queries(tmp_path, [], tmp_path / "r", device=CPU))
    with pytest.raises(ModelFileError):
        run(map_queries(escrow.site(SITE), [], tmp_path / "r", device=CPU))


def test_a_bad_site_name_is_told_before_training(escrow, tmp_path):
    options = AutoencoderOptions(fit=FitOptions(epochs=1))
    job = train_site(
        tmp_path / "s", escrow.study, "no such/name", escrow.training[SITE], options, device=CPU
    )
    with pytest.raises(TrainingError, match="cannot be the name of a site"):
        next(job)
    assert not (tmp_path / "s").exists()


# -- bad cases and bundles in a batch ---------------------------------------------------


def test_bad_images_are_listed_and_the_others_protected(escrow, site, tmp_path):
    good = escrow.testing[SITE][0]
    (tmp_path / "broken.png").write_bytes(good.image.read_bytes()[:60])
    (tmp_path / "empty.png").write_bytes(b"")
    cases = [
        Case("broken", tmp_path / "broken.png"),
        Case("missing", tmp_path / "missing.png"),
        good,
        Case("empty", tmp_path / "empty.png"),
    ]
    report = run(protect_queries(site, escrow.keys[SITE], cases, tmp_path / "q", device=CPU))
    assert [name for name, _ in report.failures] == ["broken", "missing", "empty"]
    for (name, error), suffix in zip(report.failures, [".png"] * 3, strict=True):
        assert name + suffix in error.message
        assert error.hint
    assert files(tmp_path / "q") == [report.written[0].name]


def test_bad_queries_and_replies_are_listed_and_the_others_answered(escrow, site, server, tmp_path):
    queries = queries_of(escrow)
    for folder, good, job in (
        ("q", queries[0], lambda paths: map_queries(server, paths, tmp_path / "r", device=CPU)),
        (
            "p",
            replies_of(escrow)[0],
            lambda paths: reveal_replies(
                site, escrow.keys[SITE], paths, tmp_path / "m", device=CPU
            ),
        ),
    ):
        (tmp_path / folder).mkdir()
        broken, foreign = tmp_path / folder / "broken", tmp_path / folder / "foreign"
        broken.write_bytes(good.read_bytes()[:-5])
        foreign.write_text("hello")
        report = run(job([broken, tmp_path / folder / "none", foreign, good]))
        assert [name for name, _ in report.failures] == ["broken", "none", "foreign"]
        assert all(str(tmp_path / folder / name) in e.message for name, e in report.failures)
        assert len(report.written) == 1


def test_the_same_query_twice_is_answered_once(escrow, server, tmp_path):
    query = queries_of(escrow)[0]
    report = run(map_queries(server, [query, query], tmp_path / "r", device=CPU))
    assert (len(report.written), report.skipped) == (1, [query.name])


def test_all_pairs_bad_is_an_error_and_some_bad_are_listed(escrow, site, make_cases, tmp_path):
    _, masks = np.zeros((4, 64, 64), np.uint8), np.zeros((4, 64, 64), np.uint8)
    images = np.random.default_rng(0).integers(0, 255, (4, 64, 64), dtype=np.uint8)
    cases = make_cases(tmp_path / "data", images, masks)
    cases[1].mask.unlink()
    report = run(
        protect_training_pairs(site, escrow.keys[SITE], cases, tmp_path / "q", device=CPU, copies=1)
    )
    assert [name for name, _ in report.failures] == ["case_001"]
    assert report.items == 3
    for case in cases:
        case.image.unlink()
    with pytest.raises(TrainingError, match="No case could be used"):
        run(protect_training_pairs(site, escrow.keys[SITE], cases, tmp_path / "q", device=CPU))


# -- stopped in the middle --------------------------------------------------------------


def bundles_noted(site: Path) -> int:
    with sqlite3.connect(site / "registry.sqlite") as connection:
        return connection.execute("SELECT COUNT(*) FROM bundles").fetchone()[0]


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_cancelling_leaves_whole_files_alone(steps, escrow, site, server, tmp_path):
    key = escrow.keys[SITE]
    noted = bundles_noted(site)
    out = {name: tmp_path / name for name in ("q", "p", "r", "m")}
    jobs = {
        "q": protect_queries(site, key, escrow.testing[SITE], out["q"], device=CPU),
        "p": protect_training_pairs(site, key, escrow.training[SITE], out["p"], device=CPU),
        "r": map_queries(server, queries_of(escrow), out["r"], device=CPU),
        "m": reveal_replies(site, key, replies_of(escrow), out["m"], device=CPU),
    }
    for name, job in jobs.items():
        for _ in range(steps):
            next(job)
        job.close()
        made = files(out[name]) if out[name].exists() else []
        assert len(made) == (0 if name == "p" else (steps - 1) // 2)
        assert not any(".part." in file for file in made)
    # Of the two kinds that note what they wrote, queries and replies, each whole file once.
    assert bundles_noted(site) == noted + (steps - 1) // 2


def test_pairs_that_were_stopped_are_taken_back_whole(escrow, site, tmp_path, monkeypatch):
    """Half of a site's pairs would be taken for all of them."""
    monkeypatch.setattr("ppcmi_sf.workflows.protect.MAX_TRAINING_ITEMS", 8)
    noted = bundles_noted(site)
    job = protect_training_pairs(
        site, escrow.keys[SITE], escrow.training[SITE], tmp_path / "p", device=CPU, copies=2
    )
    for step in job:
        if step.done >= 24:
            break
    assert len(files(tmp_path / "p")) == 3
    assert bundles_noted(site) == noted + 3
    job.close()
    assert files(tmp_path / "p") == []
    assert bundles_noted(site) == noted


FULL_DISK = textwrap.dedent(
    """
    import resource, signal, sys
    from pathlib import Path
    import torch
    from ppcmi_sf.data import Case
    from ppcmi_sf.errors import ResourceError
    from ppcmi_sf.keys import ClientKey
    from ppcmi_sf.progress import run
    from ppcmi_sf.workflows.map_queries import map_queries
    from ppcmi_sf.workflows.protect import protect_queries, protect_training_pairs
    from ppcmi_sf.workflows.reveal import reveal_replies

    site, key, image, mask, server, query, out = map(Path, sys.argv[1:])
    key, device = ClientKey.load(key), torch.device("cpu")
    case = Case("x", image, mask)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limit = 4096 + (site / "registry.sqlite").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for job in (
        protect_queries(site, key, [case, case], out, device=device, precision="float32"),
        protect_training_pairs(site, key, [case], out, device=device),
        map_queries(server, [query], out, device=device, precision="float32"),
    ):
        try:
            run(job)
        except ResourceError as error:
            print("refused:", error.message, error.hint)
    """
)


def test_a_full_disk_leaves_nothing(escrow, ellipses, server, tmp_path):
    """The limit on file size stands for a disk that is full: a write fails half-way."""
    pytest.importorskip("resource")
    site = shutil.copytree(escrow.site(SITE), tmp_path / "site")
    (site / "registry.sqlite").unlink()
    SiteFolder(site).registry.forget("")  # makes an empty ledger, smaller than any bundle
    volumes = [tmp_path / name for name in ("image.nii", "mask.nii")]
    for path, arrays in zip(volumes, ellipses(0, 12), strict=True):
        nib.save(nib.Nifti1Image(arrays.T, np.eye(4)), path)
    key = escrow.root / "keys" / f"{SITE}.key"
    query = run(
        protect_queries(
            escrow.site(SITE),
            escrow.keys[SITE],
            [Case("volume", volumes[0])],
            tmp_path / "queries",
            device=CPU,
        )
    ).written[0]
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            FULL_DISK,
            *map(str, (site, key, *volumes, server, query)),
            str(tmp_path / "out"),
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=200,
    )
    assert result.returncode == 0, result.stderr
    print(result.stdout)
    assert files(tmp_path / "out") == []
    assert bundles_noted(site) == 0
    assert result.stdout.count("refused:") == 3
