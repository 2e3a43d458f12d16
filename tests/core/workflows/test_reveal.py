"""Replies to masks: which are believed."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from ppcmi_sf.bundle import ItemBatch, new_item_id, peek
from ppcmi_sf.data import Case
from ppcmi_sf.errors import (
    BundleError,
    KeyFileError,
    NotRecipientError,
    ReplayError,
    UntrustedSenderError,
)
from ppcmi_sf.home import Home, Party
from ppcmi_sf.identity import Identity
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.progress import run
from ppcmi_sf.workflows.report import RevealedCase


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


# -- masks that are there ---------------------------------------------------------------


def test_masks_are_kept_unless_told(north, escrow, tmp_path):
    out = shutil.copytree(escrow.masks("north"), tmp_path / "masks")
    target = out / f"{north.testing[0].name}.png"
    corrected = np.full((64, 64), 1, np.uint8)
    Image.fromarray(corrected).save(target)
    run(north.reveal(north.replies, out))
    np.testing.assert_array_equal(pixels(target), corrected)
    report = run(north.reveal(north.replies, out, overwrite=True, again=True))
    assert len(report.written) == 4
    assert (pixels(target) == 0).any()


def test_what_is_no_mask_is_not_replaced(north, tmp_path, only_failure):
    out = tmp_path / "masks"
    out.mkdir()
    target = out / f"{north.testing[0].name}.png"
    shutil.copy(north.testing[0].image, target)
    report = run(north.reveal(north.replies, out, overwrite=True, again=True))
    assert "is no mask of" in only_failure(report).message
    assert target.read_bytes() == north.testing[0].image.read_bytes()
    beside = run(north.reveal(north.replies, north.testing[0].image.parent, again=True))
    assert len(beside.failures) == 4
    assert all("would replace the image itself" in error.message for _, error in beside.failures)


def test_the_report_says_what_each_mask_comes_of(both, open_site, open_server, tmp_path):
    north, server = open_site(both), open_server(both)
    queries = run(north.queries(tmp_path / "q", north.testing[:2])).written
    replies = run(server.map(queries, tmp_path / "r")).written
    report = run(north.reveal(replies, tmp_path / "m"))
    assert [case.mask for case in report.cases] == report.written
    for case, revealed, query, reply in zip(
        north.testing[:2], report.cases, queries, replies, strict=True
    ):
        assert revealed == RevealedCase(
            name=case.name,
            source=str(case.image.resolve()),
            mask=tmp_path / "m" / f"{case.name}.png",
            reply_id=reply.stem,
            query_id=query.stem,
            sender="server",
            network=peek(reply, north.party.identity).model,
            new=True,
        )
    # A mask that is there is told as well, but not as one of this reply; a failure is not.
    again = run(north.reveal([north.old_queries[0], *replies], tmp_path / "m"))
    assert again.skipped == [case.name for case in north.testing[:2]]
    assert again.cases == [dataclasses.replace(case, new=False) for case in report.cases]
    assert all(case.mask.is_file() for case in again.cases)


# -- images that change after their query -------------------------------------------------


@pytest.fixture
def changing(escrow, open_site, open_server, tmp_path):
    """Asks for a mask of ``scan.png``, whose content is that of the nth test image."""
    north, server = open_site(escrow), open_server(escrow)
    scan = tmp_path / "scan.png"

    def ask(number):
        shutil.copy(north.testing[number].image, scan)
        query = run(north.queries(tmp_path / f"q{number}", [Case("scan", scan)])).written
        (reply,) = run(server.map(query, tmp_path / f"r{number}")).written
        return reply

    return north, scan, ask


def test_a_mask_of_an_image_that_was_changed_since_is_told(changing, tmp_path):
    north, scan, ask = changing
    reply = ask(0)
    shutil.copy(north.testing[1].image, scan)
    (case,) = run(north.reveal([reply], tmp_path / "m")).cases
    assert case.image_changed and case.mask.is_file()
    scan.unlink()
    (case,) = run(north.reveal([reply], tmp_path / "m2", again=True)).cases
    assert not case.image_changed  # nothing is there that the mask could be taken to be of


@pytest.mark.parametrize("order", [1, -1])
def test_the_mask_is_of_the_newest_image_whatever_replies_are_called(
    changing, tmp_path, only_failure, order
):
    north, scan, ask = changing
    old, new = ask(0), ask(1)
    report = run(north.reveal([old, new][::order], tmp_path / "m", overwrite=True, again=True))
    (case,) = report.cases
    assert case.reply_id == new.stem and not case.image_changed
    error = only_failure(report)
    assert f"{old}: answers an old query of 'scan'" in error.message and error.hint
    # Put back, the old image is the one that counts, and its old reply the right one.
    shutil.copy(north.testing[0].image, scan)
    os.utime(scan, ns=(0, int(_stamp_of(north, "scan").split("-")[1].split(";")[0])))
    (case,) = run(north.reveal([old], tmp_path / "m2", again=True)).cases
    assert case.reply_id == old.stem and not case.image_changed


def _stamp_of(north, name):
    """Of the first query of that name."""
    with north.party.home.database.reading() as connection:
        found = connection.execute("SELECT stamp FROM cases WHERE name = ?", (name,))
        return found.fetchone()[0]


# -- replays ----------------------------------------------------------------------------


def test_a_reply_is_accepted_once_unless_told(north, tmp_path, only_failure):
    reply = north.replies[0]
    error = only_failure(run(north.reveal([reply], tmp_path / "m")))
    assert isinstance(error, ReplayError)
    assert f"{reply}: this bundle was accepted before" in error.message
    assert "--again" in error.hint
    assert not (tmp_path / "m").exists()
    report = run(north.reveal([reply], tmp_path / "m", again=True))
    assert len(report.written) == 1
    assert north.noted("received").count(reply.stem) == 1
    assert north.events("received").count(reply.stem) == 2


def test_a_reply_that_was_refused_can_still_be_accepted(north, server, tmp_path, only_failure):
    """Only what was used is noted: the right key opens it later."""
    (query,) = run(north.queries(tmp_path / "q", north.testing[:1])).written
    replies = run(server.map([query], tmp_path / "r")).written
    other = ClientKey.generate("north", north.study.fingerprint)
    only_failure(run(north.reveal(replies, tmp_path / "m", key=other)))
    assert len(run(north.reveal(replies, tmp_path / "m")).written) == 1


# -- keys -------------------------------------------------------------------------------


def test_a_reply_is_not_revealed_with_another_key_or_epoch(north, tmp_path, only_failure):
    keys = {
        "made with another key": ClientKey.generate("north", north.study.fingerprint),
        "for key epoch 1; the key is of epoch 2": north.key.rotate(),
    }
    for words, other in keys.items():
        error = only_failure(run(north.reveal(north.replies[:1], tmp_path / "m", key=other)))
        assert isinstance(error, KeyFileError)
        assert words in error.message
    assert not (tmp_path / "m").exists()


def test_after_a_rotation_old_replies_open_with_the_old_key(both, open_site, open_server, tmp_path):
    """Also those that come only now: the server has not learned the new epoch yet."""
    north, server = open_site(both), open_server(both)
    queries = run(north.queries(tmp_path / "q")).written
    north.party.home.key_epochs.note(north.key.rotate())
    replies = run(server.map(queries, tmp_path / "r")).written
    report = run(north.reveal(replies, tmp_path / "m"))
    assert (len(report.written), report.failures) == (4, [])
    for path in report.written:
        different = (pixels(path) != pixels(both.masks("north") / path.name)).mean()
        # In escrow fresh pseudonyms are other transforms, which round otherwise in float16.
        assert different < 1e-3 if both.study.arrangement == "escrow" else different == 0


# -- who answers ------------------------------------------------------------------------


def test_a_contact_that_was_not_asked_is_refused(north, server, tmp_path, only_failure):
    """It got hold of a query's pseudonyms, and is trusted otherwise."""
    stranger = Identity.generate("clever")
    north.party.home.contacts.add(stranger.card)
    clever = dataclasses.replace(server, party=Party(Home(tmp_path / "home"), stranger))
    like = north.read(north.replies[0])
    path = clever.forge(tmp_path / "forged.ppcmi", like, to=[north.card])
    error = only_failure(run(north.reveal([path], tmp_path / "m")))
    assert isinstance(error, UntrustedSenderError)
    assert "'clever' answers a query that was written for others" in error.message
    assert not (tmp_path / "m").exists()
    assert path.stem not in north.noted("received")


@pytest.mark.parametrize("how", ["removed", "revoked"])
def test_a_server_that_is_not_trusted_any_more_is_refused(how, north, tmp_path, only_failure):
    contacts = north.party.home.contacts
    (contacts.remove if how == "removed" else contacts.revoke)("server")
    path = north.replies[0]
    error = only_failure(run(north.reveal([path], tmp_path / "m", again=True)))
    assert isinstance(error, UntrustedSenderError)
    assert str(path) in error.message


def test_another_site_s_reply_is_listed(north, south, tmp_path, only_failure):
    report = run(north.reveal([south.replies[0], north.replies[0]], tmp_path / "m", again=True))
    error = only_failure(report)
    assert isinstance(error, NotRecipientError)
    assert "encrypted to others, not to 'north'" in error.message
    assert len(report.written) == 1


def test_a_registry_of_another_home_knows_no_query(north, server, tmp_path, only_failure):
    north.party = Party(Home(tmp_path / "new home"), north.party.identity)
    north.party.home.contacts.add(server.card)
    report = run(north.reveal(north.replies[:1], tmp_path / "m"))
    assert "answers no query of this site" in only_failure(report).message
    assert "--home" in only_failure(report).hint


def test_a_query_is_no_reply(north, server, south, tmp_path, only_failure):
    query = server.read(north.old_queries[0])
    path = server.forge(tmp_path / "q.ppcmi", query, to=[north.card])
    report = run(north.reveal([path], tmp_path / "m"))
    assert "a query bundle, not a reply" in only_failure(report).message


def test_bad_replies_are_listed_and_the_others_revealed(north, tmp_path):
    good, folder = north.replies[0], tmp_path / "r"
    folder.mkdir()
    (folder / "broken").write_bytes(good.read_bytes()[:-5])
    (folder / "foreign").write_text("hello")
    paths = [folder / "broken", folder / "none", folder / "foreign", good]
    report = run(north.reveal(paths, tmp_path / "m", again=True))
    assert [name for name, _ in report.failures] == ["broken", "none", "foreign"]
    assert all(str(folder / name) in error.message for name, error in report.failures)
    assert len(report.written) == 1


# -- which items ------------------------------------------------------------------------


@pytest.fixture
def volume(north, server, make_volume, tmp_path):
    """Reply to a query of five slices, and the reply to another query."""
    cases = [make_volume(tmp_path / f"{name}.nii", 5) for name in ("one", "two")]
    queries = run(north.queries(tmp_path / "q", cases)).written
    replies = run(server.map(queries, tmp_path / "r")).written
    return [north.read(path) for path in replies]


def chosen(bundle, places):
    """A bundle's items at these places, in this order."""
    pyramid = bundle.latents["mask"].items_at(torch.tensor(places))
    items = tuple(bundle.batch.items[place] for place in places)
    return ItemBatch(items, {"mask": pyramid})


def renamed(batch, items):
    return ItemBatch(tuple(items), batch.latents)


@pytest.mark.parametrize("records", ["one record", "records of one"])
@pytest.mark.parametrize("change", ["missing", "doubled", "two queries", "invented", "more"])
def test_replies_without_every_slice_once_are_refused(
    change, records, north, server, volume, monkeypatch, tmp_path, only_failure
):
    if records == "records of one":
        monkeypatch.setattr("ppcmi_sf.bundle.header.RECORD_BYTES", 1)
    one, two = volume
    whole = chosen(one, range(5))
    batch = {
        "missing": chosen(one, [0, 1, 2, 3]),
        "doubled": chosen(one, [0, 1, 2, 3, 3]),
        "two queries": renamed(whole, [*one.batch.items[:4], two.batch.items[4]]),
        "invented": renamed(whole, [*one.batch.items[:4], new_item_id()]),
        "more": ItemBatch(
            (*one.batch.items, two.batch.items[0]),
            {
                "mask": LatentPyramid.concatenate(
                    [one.latents["mask"], two.latents["mask"].items_at(slice(0, 1))]
                )
            },
        ),
    }[change]
    path = server.forge(tmp_path / "forged.ppcmi", one, to=[north.card], batch=batch)
    error = only_failure(run(north.reveal([path], tmp_path / "m")))
    assert isinstance(error, BundleError)
    assert f"{path}: does not have every slice of 'one' once" in error.message
    assert not (tmp_path / "m").exists()


def test_the_order_of_slices_does_not_matter(north, server, volume, tmp_path):
    one, _ = volume
    masks = []
    for number, places in enumerate([[0, 1, 2, 3, 4], [4, 2, 0, 1, 3]]):
        path = server.forge(
            tmp_path / f"{number}.ppcmi", one, to=[north.card], batch=chosen(one, places)
        )
        masks += run(north.reveal([path], tmp_path / f"m{number}")).written
    assert masks[0].read_bytes() == masks[1].read_bytes()


def test_an_item_of_the_training_pairs_is_no_item_of_a_query(
    north, server, volume, tmp_path, only_failure
):
    one, _ = volume
    pairs = server.read(north.one.pair_reports["north"].written[0])
    batch = renamed(chosen(one, [0]), pairs.batch.items[:1])
    path = server.forge(tmp_path / "forged.ppcmi", one, to=[north.card], batch=batch)
    report = run(north.reveal([path], tmp_path / "m"))
    assert "answers no query of this site" in only_failure(report).message


def test_two_images_of_one_name_are_not_revealed_into_one_file(
    north, server, make_volume, tmp_path, only_failure
):
    cases = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        cases.append(make_volume(tmp_path / name / "same.nii", 2))
    queries = run(north.queries(tmp_path / "q", cases)).written
    replies = run(server.map(queries, tmp_path / "r")).written
    report = run(north.reveal(replies, tmp_path / "m", overwrite=True))
    assert "two images are called 'same'" in only_failure(report).message
    assert len(report.written) == 1
