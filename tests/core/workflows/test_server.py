"""The server's training: which bundles and shares it takes."""

import errno
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from ppcmi_sf.bundle import open_bundle
from ppcmi_sf.dates import Validity, utc_today
from ppcmi_sf.errors import (
    BundleDamagedError,
    BundleError,
    InputFileError,
    KeyFileError,
    ModelFileError,
    NotRecipientError,
    ReplayError,
    ResourceError,
    StudyError,
    TrainingError,
    UntrustedSenderError,
)
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.membership import MembershipList
from ppcmi_sf.models.store import read_header
from ppcmi_sf.progress import run
from ppcmi_sf.share import read_sealed, write_share
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.mapping import MappingOptions
from ppcmi_sf.workflows.contributions import HeldShare
from ppcmi_sf.workflows.folders import ServerFolder

CPU = torch.device("cpu")
SHARE = ".ppcmishare"


def share_file(site, path, key):
    """What a site would write with 'ppcmi share-transform'."""
    write_share(path, key.transform_share(), site.party.identity, site.one.card("server"))
    return path


def refused(server, kind, words, folder, **what):
    """Training is refused before anything is written or noted; the error."""
    noted, log = server.noted("received"), len(server.party.home.log.entries())
    with pytest.raises(kind, match=words) as caught:
        run(server.train(folder, **({"again": True} | what)))
    assert caught.value.hint
    assert not folder.exists()
    assert server.noted("received") == noted
    assert len(server.party.home.log.entries()) == log
    return caught.value


# -- shares -----------------------------------------------------------------------------


def test_a_missing_share_stops_the_training(server, escrow, tmp_path):
    words = r"no transform share of site 'west\.b'"
    error = refused(server, KeyFileError, words, tmp_path / "s", shares=escrow.shares[:2])
    assert "--share" in error.hint


def test_shares_of_another_epoch_key_or_study_stop_the_training(
    server, north, escrow, blind, tmp_path
):
    key, rest = north.key, escrow.shares[1:]
    others = {
        "is of epoch 3, its bundles are of epoch 1": (
            KeyFileError,
            ClientKey("north", key.study, 3, key.secret),
        ),
        "of another key than its bundles": (KeyFileError, ClientKey.generate("north", key.study)),
        "belongs to another study": (
            StudyError,
            ClientKey("north", blind.study.fingerprint, 1, key.secret),
        ),
    }
    for number, (words, (kind, other)) in enumerate(others.items()):
        path = share_file(north, tmp_path / f"{number}{SHARE}", other)
        refused(server, kind, words, tmp_path / "s", shares=[path, *rest])


def test_a_site_cannot_pass_off_its_share_as_another_s(server, north, south, escrow, tmp_path):
    """The signature decides whose share it is, whatever the key says."""
    path = share_file(north, tmp_path / f"forged{SHARE}", south.key)
    shares = [escrow.shares[0], path, escrow.shares[2]]
    refused(server, InputFileError, "second transform share of site 'north'", tmp_path / "s",
            shares=shares)  # fmt: skip
    refused(server, KeyFileError, "of another key than its bundles", tmp_path / "s",
            shares=[path, *escrow.shares[1:]])  # fmt: skip


def test_two_shares_of_a_site_stop_the_training(server, escrow, tmp_path):
    shares = [*escrow.shares, escrow.shares[0]]
    refused(server, InputFileError, "a second transform share of site 'north'", tmp_path / "s",
            shares=shares)  # fmt: skip


def test_a_client_key_given_as_a_share_is_refused(server, escrow, tmp_path):
    shares = [escrow.key_file("north"), *escrow.shares[1:]]
    error = refused(server, KeyFileError, "not a transform share", tmp_path / "s", shares=shares)
    assert str(escrow.key_file("north")) in error.message


def test_a_blind_server_takes_no_shares(blind, escrow, open_server, tmp_path):
    server = open_server(blind)
    words = "holds no transform shares"
    refused(server, KeyFileError, words, tmp_path / "s", shares=escrow.shares)


def test_the_server_keeps_shares_as_they_came(server, escrow):
    folder = ServerFolder(server.folder)
    links = read_header(folder.model_file).sites
    for link, path in zip(links, escrow.shares, strict=True):
        assert folder.share_file(link).read_bytes() == path.read_bytes()


def retrained(folder, north, party, tmp_path):
    """What a retraining would save: another network, and a new key of north with its share."""
    server, header, _ = folder.load(CPU, party)
    new = north.key.rotate()
    sealed = read_sealed(share_file(north, tmp_path / f"new{SHARE}", new))
    share = new.transform_share()
    links = [
        link.model_copy(update={"epoch": new.epoch, "transform": share.key_id})
        if link.name == "north"
        else link
        for link in header.sites
    ]
    shares = {"north": HeldShare(share, sealed)}
    with torch.no_grad():
        next(server.network.parameters()).add_(1)
    return server.network, server.study, links, shares


@pytest.mark.parametrize("before", [False, True], ids=["", "a folder of before"])
def test_a_disk_that_fills_up_while_a_training_is_saved_leaves_a_server_that_answers(
    server, north, tmp_path, monkeypatch, before
):
    folder, party = ServerFolder(server.folder), server.party
    if before:  # one share a site, by its name alone
        for link in read_header(folder.model_file).sites:
            folder.share_file(link).rename(folder.root / "shares" / f"{link.name}{SHARE}")
    network_id = folder.load(CPU, party)[2]
    new = retrained(folder, north, party, tmp_path)
    replace, left = Path.replace, [0]

    def fill_up(self, target):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", fill_up)
    writes = 3  # share, study, network
    for fails in range(writes):
        left[0] = fails
        with pytest.raises(ResourceError, match="the disk is full"):
            folder.save_network(*new)
        held, _, still = folder.load(CPU, party)
        assert still == network_id and set(held.shares) == {"north", "south-1", "west.b"}
    left[0] = writes
    folder.save_network(*new)
    held, header, now = folder.load(CPU, party)
    assert now != network_id and held.shares["north"].epoch == 2
    assert len(list((folder.root / "shares").iterdir())) == len(header.sites)


def test_a_server_of_another_study_is_not_retrained(server, tmp_path):
    other = server.study.model_copy(update={"name": "another"})
    with pytest.raises(StudyError, match="trained for another study") as caught:
        run(server.train(server.folder, study=other, retrain=True))
    assert caught.value.hint
    ServerFolder(server.folder).load(CPU, server.party)


# -- bundles ----------------------------------------------------------------------------


def test_a_duplicate_bundle_stops_the_training(server, escrow, tmp_path):
    again = shutil.copy(escrow.bundles[0], tmp_path / "again.ppcmi")
    bundles = [*escrow.bundles, again]
    error = refused(server, BundleError, "the same bundle as", tmp_path / "s", bundles=bundles)
    assert str(again) in error.message


def test_bundles_of_two_trainings_of_a_site_stop_the_training(server, north, escrow, tmp_path):
    like = server.read(escrow.bundles[0])
    for change in ({"model": "00" * 8}, {"epoch": 2}, {"key_id": "00" * 8}):
        path = north.forge(tmp_path / "b.ppcmi", like, to=[server.card], **change)
        words = "other autoencoders or another key than"
        refused(server, BundleError, words, tmp_path / "s", bundles=[*escrow.bundles, path])


def test_several_bundles_of_a_site_are_joined(server, north, escrow, tmp_path):
    like = server.read(escrow.bundles[0])
    more = north.forge(tmp_path / "b.ppcmi", like, to=[server.card])
    report = run(server.train(tmp_path / "s", [*escrow.bundles, more], again=True))
    assert report.pairs == {"north": 88, "south-1": 44, "west.b": 44}


def test_bundles_of_another_study_or_server_stop_the_training(server, blind, tmp_path):
    refused(server, NotRecipientError, "encrypted to others", tmp_path / "s",
            bundles=blind.bundles)  # fmt: skip
    refused(server, StudyError, "belongs to another study", tmp_path / "s", study=blind.study)


def test_no_bundles_is_an_error(server, tmp_path):
    refused(server, TrainingError, "no training pairs", tmp_path / "s", bundles=[])


def test_a_query_is_no_training_bundle(server, north, tmp_path):
    words = "a query bundle, not a training bundle"
    refused(server, BundleError, words, tmp_path / "s", bundles=north.old_queries[:1])


def test_a_damaged_bundle_stops_the_training(server, escrow, tmp_path):
    broken = tmp_path / "b.ppcmi"
    broken.write_bytes(escrow.bundles[0].read_bytes()[:-100])
    error = refused(server, BundleDamagedError, "cut short", tmp_path / "s", bundles=[broken])
    assert str(broken) in error.message


def test_a_bundle_that_changes_while_it_trains_is_noticed(server, north, escrow, tmp_path):
    """It is checked first and read later: between the two somebody replaces it."""
    like, path = server.read(escrow.bundles[0]), tmp_path / "b.ppcmi"
    north.forge(path, like, to=[server.card])
    job = server.train(tmp_path / "s", [path, *escrow.bundles[1:]], again=True)
    for step in job:
        if step.message.startswith("Reading bundles"):
            break
    north.forge(path, like, to=[server.card])
    with pytest.raises(BundleError, match="changed meanwhile") as caught:
        run(job)
    assert str(path) in caught.value.message


# -- senders ----------------------------------------------------------------------------


def test_a_bundle_of_an_untrusted_site_stops_the_training(server, north, escrow, tmp_path):
    contacts, path = server.party.home.contacts, str(escrow.bundles[0])
    members = [escrow.card("south-1"), escrow.card("west.b")]
    listed = MembershipList.make(server.party.identity, server.study.fingerprint, members, 1)
    server.party.home.memberships.keep(listed, issued=True)
    refused(server, UntrustedSenderError, "'north' does not take part", tmp_path / "s")
    contacts.revoke("north")
    error = refused(server, UntrustedSenderError, "'north' was revoked", tmp_path / "s")
    assert path in error.message
    contacts.remove("north")
    error = refused(server, UntrustedSenderError, "the sender is unknown", tmp_path / "s")
    assert path in error.message
    past = Validity(utc_today() - timedelta(days=20), utc_today() - timedelta(days=10))
    contacts.add(north.party.identity.renew(past).card)
    error = refused(server, UntrustedSenderError, "the card of the sender 'north'", tmp_path / "s")
    assert path in error.message


# -- once more --------------------------------------------------------------------------


def test_a_trained_server_is_not_replaced_by_accident(server):
    before = ServerFolder(server.folder).model_file.read_bytes()
    with pytest.raises(ModelFileError, match="trained already") as caught:
        run(server.train(server.folder))
    assert "--retrain" in caught.value.hint
    assert ServerFolder(server.folder).model_file.read_bytes() == before


def test_bundles_are_taken_once_unless_told(server, escrow, tmp_path):
    """Another folder is another training: that must be said."""
    error = refused(server, ReplayError, "was accepted before", tmp_path / "s", again=False)
    assert str(escrow.bundles[0]) in error.message
    assert "--again" in error.hint
    assert run(server.train(tmp_path / "s", again=True)).pairs["north"] == 44
    received = server.events("received")
    assert all(received.count(path.stem) == 2 for path in escrow.bundles)
    assert server.noted("received").count(escrow.bundles[0].stem) == 1


def test_to_retrain_is_to_say_so(server, north, tmp_path, only_failure):
    """Bundles may be used once more for it; a query's new answer must be asked for."""
    model, query = ServerFolder(server.folder).model_file, north.old_queries[:1]
    first = run(server.map(query, tmp_path / "r", again=True)).written
    before = model.read_bytes()
    run(server.train(server.folder, retrain=True))
    assert model.read_bytes() != before
    assert isinstance(only_failure(run(server.map(query, tmp_path / "r"))), ReplayError)
    second = run(server.map(query, tmp_path / "r", again=True)).written
    assert len(second) == 1
    assert second != first
    assert run(server.map(query, tmp_path / "r")).skipped == [query[0].name]


def test_a_new_epoch_needs_new_pairs_and_a_new_share(server, north, escrow, tmp_path):
    """Rotation from end to end: what was withdrawn is of no use to the server any more."""
    new = north.key.rotate()
    pairs = run(north.pairs(tmp_path / "p", key=new, copies=1)).written
    bundles = [*pairs, *escrow.bundles[1:]]
    refused(server, KeyFileError, "is of epoch 1, its bundles are of epoch 2", tmp_path / "s",
            bundles=bundles)  # fmt: skip
    share = share_file(north, tmp_path / f"new{SHARE}", new)
    run(server.train(server.folder, bundles, [share, *escrow.shares[1:]], retrain=True))
    header = read_header(ServerFolder(server.folder).model_file)
    assert [link.epoch for link in header.sites] == [2, 1, 1]
    queries = run(north.queries(tmp_path / "q", key=new)).written
    report = run(server.map([*north.old_queries, *queries], tmp_path / "r", again=True))
    assert len(report.failures) == 4
    assert all("protected with key epoch 1" in error.message for _, error in report.failures)
    masks = run(north.reveal(report.written, tmp_path / "m", key=new))
    assert (len(masks.written), masks.failures) == (4, [])


def test_a_server_s_training_goes_on_after_a_stop(server, files, tmp_path):
    options = MappingOptions(fit=FitOptions(epochs=2, batch_size=22, seed=1))

    def job(name):
        return server.train(tmp_path / name, options=options, again=True)

    noted = len(server.events("received"))
    whole = run(job("whole"))
    stopped = job("stopped")
    for step in stopped:
        if "loss" in step.values:  # of the first epoch: its checkpoint is written
            break
    stopped.close()
    left = set(files(tmp_path / "stopped")) - {".ppcmi.lock"}
    assert left == {".mapping_network.checkpoint.safetensors"}
    assert len(server.events("received")) == noted + 3  # those of the whole training
    assert run(job("stopped")).fit.train_losses == pytest.approx(whole.fit.train_losses, abs=1e-5)
    names = [set(files(tmp_path / name)) - {".ppcmi.lock"} for name in ("stopped", "whole")]
    assert names[0] == names[1]


def test_cross_fitting_wants_patients_in_several_bundles(server, tmp_path):
    error = refused(
        server, TrainingError, "of site 'north' came in one", tmp_path / "s", cross_fit=True
    )
    assert "--parts 3" in error.hint


def test_cross_fitting_from_parts_leaves_one_network(server, north, south, files, tmp_path):
    bundles = []
    for site in (north, south):
        bundles += run(site.pairs(tmp_path / site.name, copies=1, parts=3)).written
    shares = [
        share_file(site, tmp_path / f"{site.name}{SHARE}", site.key) for site in (north, south)
    ]
    report = run(server.train(tmp_path / "s", bundles, shares, cross_fit=True))
    assert set(report.pairs) == {"north", "south-1"}
    left = set(files(tmp_path / "s"))
    assert "mapping_network.safetensors" in left
    assert not [name for name in left if "checkpoint" in name]


def test_what_was_accepted_is_noted_with_its_digest(server, escrow):
    noted = {entry.bundle_id: entry.digest for entry in server.party.home.log.entries()}
    for path in escrow.bundles:
        with open_bundle(path, server.party.identity, server.party.sender) as bundle:
            assert noted[path.stem] == bundle.digest


def test_adapters_go_by_the_names_that_the_server_knows(server, escrow):
    header = read_header(ServerFolder(server.folder).model_file)
    assert [link.name for link in header.sites] == sorted(escrow.keys)
    for link in header.sites:
        assert link.fingerprint == escrow.card(link.name).fingerprint
        assert link.transform == escrow.keys[link.name].transform_share().key_id
