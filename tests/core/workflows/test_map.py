"""Queries to replies: whose are answered, whose are refused, and that the others notice nothing."""

import shutil
from datetime import timedelta

import pytest
import torch

from ppcmi_sf.bundle import (
    ItemBatch,
    create_bundle,
    item_layout,
    make_header,
    pack_items,
    peek,
)
from ppcmi_sf.dates import Validity, utc_today
from ppcmi_sf.errors import (
    BundleError,
    InputFileError,
    KeyFileError,
    ModelFileError,
    ReplayError,
    UntrustedSenderError,
)
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.latents import LatentPyramid
from ppcmi_sf.membership import MembershipList
from ppcmi_sf.models.store import read_header
from ppcmi_sf.progress import run
from ppcmi_sf.registry import Registry
from ppcmi_sf.share import write_share
from ppcmi_sf.training.autoencoders import AutoencoderOptions
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.workflows.folders import ServerFolder
from ppcmi_sf.workflows.train_site import train_site

CPU = torch.device("cpu")
LONG_AGO = Validity(utc_today() - timedelta(days=90), utc_today() - timedelta(days=60))


def queries_of(one, name):
    return sorted(one.queries(name).iterdir())


# -- who is answered --------------------------------------------------------------------


def forget(server):
    server.party.home.contacts.remove("north")


def revoke(server):
    server.party.home.contacts.revoke("north")


def let_expire(server):
    """The contact book holds nothing but an old card of the very same keys."""
    forget(server)
    old = server.one.parties["north"].identity.renew(LONG_AGO).card
    server.party.home.contacts.add(old)


def leave_out(server):
    members = [server.one.card(name) for name in ("south-1", "west.b")]
    listed = MembershipList.make(server.party.identity, server.study.fingerprint, members, 1)
    server.party.home.memberships.keep(listed, issued=True)


UNTRUSTED = {
    "unknown": (forget, "the sender is unknown"),
    "revoked": (revoke, "the sender 'north' was revoked"),
    "expired": (let_expire, "the card of the sender 'north'"),
    "not a member": (leave_out, "'north' does not take part in this study"),
}


@pytest.mark.parametrize("kind", UNTRUSTED)
def test_untrusted_senders_are_refused_and_the_others_answered(
    kind, both, open_server, tmp_path, only_failure
):
    """In ``escrow`` the share of such a site is left out, and nothing else."""
    change, words = UNTRUSTED[kind]
    server = open_server(both)
    change(server)
    bad, good = queries_of(both, "north")[0], queries_of(both, "south-1")[0]
    report = run(server.map([bad, good], tmp_path / "r", again=True))
    error = only_failure(report)
    assert isinstance(error, UntrustedSenderError)
    assert words in error.message
    if kind != "not a member":  # there the sender is known by name
        assert str(bad) in error.message
    assert len(report.written) == 1
    held = ServerFolder(server.folder).load(CPU, server.party)[0].shares
    trusted = {"south-1", "west.b"} | ({"north"} if kind == "not a member" else set())
    assert set(held) == (trusted if both.study.arrangement == "escrow" else set())


def test_a_refusal_of_a_site_that_takes_no_part_names_the_file(server, tmp_path, only_failure):
    leave_out(server)
    bad = queries_of(server.one, "north")[0]
    assert str(bad) in only_failure(run(server.map([bad], tmp_path / "r"))).message


def test_members_are_answered(server, tmp_path):
    members = [server.one.card(name) for name in server.one.keys]
    listed = MembershipList.make(server.party.identity, server.study.fingerprint, members, 1)
    server.party.home.memberships.keep(listed, issued=True)
    report = run(server.map(queries_of(server.one, "north"), tmp_path / "r", again=True))
    assert len(report.written) == 4


def test_a_query_for_another_server_is_listed(server, escrow, blind, tmp_path, only_failure):
    other = queries_of(blind, "north")[0]
    report = run(server.map([other], tmp_path / "r"))
    assert f"{other}: encrypted to others, not to 'server'" in only_failure(report).message


def test_a_site_that_the_network_does_not_know_is_listed(server, north, tmp_path, only_failure):
    """The fingerprint decides, whatever the new site calls itself."""
    stranger = server.one.parties["north"].identity.generate("far")
    server.party.home.contacts.add(stranger.card)
    like = server.read(north.old_queries[0])
    north.party = type(north.party)(north.party.home, stranger)
    path = north.forge(tmp_path / "q.ppcmi", like, to=[server.card])
    message = only_failure(run(server.map([path], tmp_path / "r"))).message
    assert "not trained with site 'far'; it knows north, south-1, west.b" in message


def test_a_site_that_was_renamed_is_answered_as_before(server, north, tmp_path):
    """Same keys, another name on the new card: the adapters go by the fingerprint."""
    identity = north.party.identity
    renamed = identity._make(
        "north-2", identity.sign_secret, identity.encrypt_secret, identity.card.validity
    )
    server.party.home.contacts.remove("north")
    server.party.home.contacts.add(renamed.card)
    report = run(server.map(north.old_queries, tmp_path / "r", again=True))
    assert (len(report.written), report.failures) == (4, [])


# -- replays ----------------------------------------------------------------------------


def test_a_query_is_answered_once_unless_told(server, north, tmp_path, only_failure):
    query = north.old_queries[0]
    copy = shutil.copy(query, tmp_path / "copy.ppcmi")
    before = len(server.noted())
    error = only_failure(run(server.map([copy], tmp_path / "r")))
    assert isinstance(error, ReplayError)
    assert f"{copy}: this bundle was accepted before, on {utc_today()}" in error.message
    assert "--again" in error.hint
    assert not (tmp_path / "r").exists()
    assert len(server.noted()) == before
    report = run(server.map([copy], tmp_path / "r", again=True))
    assert len(report.written) == 1
    assert len(server.noted()) == before + 1
    assert server.noted("received").count(query.stem) == 1
    assert server.events("received").count(query.stem) == 2  # the log keeps both
    # In that folder it is answered now.
    assert run(server.map([query], tmp_path / "r")).skipped == [query.name]


def test_a_query_whose_acceptance_was_cut_off_is_noted_later(server, north, tmp_path, monkeypatch):
    """The program is killed when the reply is written, and the query not noted yet."""
    query = run(north.queries(tmp_path / "q", north.testing[:1])).written
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "record_received", _killed)
        with pytest.raises(KeyboardInterrupt):
            run(server.map(query, tmp_path / "r"))
    assert len(list((tmp_path / "r").iterdir())) == 1
    assert query[0].stem not in server.noted("received")
    for _ in range(2):
        assert run(server.map(query, tmp_path / "r")).skipped == [query[0].name]
        assert server.events("received").count(query[0].stem) == 1
    with pytest.raises(ReplayError):
        raise run(server.map(query, tmp_path / "elsewhere")).failures[0][1]


def _killed(*_what):
    raise KeyboardInterrupt


def test_the_same_query_twice_is_answered_once(server, north, tmp_path):
    (query,) = run(north.queries(tmp_path / "q", north.testing[:1])).written
    report = run(server.map([query, query], tmp_path / "r"))
    assert (len(report.written), report.skipped) == (1, [query.name])
    assert server.registry.find_reply(query.stem, "0" * 16, tmp_path / "r") is None


# -- queries that do not fit ------------------------------------------------------------


def test_bad_queries_are_listed_and_the_others_answered(server, north, tmp_path):
    (good,) = run(north.queries(tmp_path / "n", north.testing[:1])).written
    folder = tmp_path / "q"
    folder.mkdir()
    (folder / "broken").write_bytes(good.read_bytes()[:-5])
    (folder / "foreign").write_text("hello")
    (folder / "changed").write_bytes(good.read_bytes()[:-1] + b"\0")
    paths = [folder / "broken", folder / "none", folder / "foreign", folder / "changed", good]
    report = run(server.map(paths, tmp_path / "r"))
    assert [name for name, _ in report.failures] == ["broken", "none", "foreign", "changed"]
    assert all(str(folder / name) in error.message for name, error in report.failures)
    assert len(report.written) == 1


def test_a_reply_and_pairs_are_no_queries(server, north, tmp_path, only_failure):
    own = server.forge(tmp_path / "own", north.read(north.replies[0]), to=[server.card])
    for path, kind in ((own, "reply"), (north.one.bundles[0], "training")):
        report = run(server.map([path], tmp_path / "r"))
        assert f"a {kind} bundle, not a query" in only_failure(report).message
    assert not (tmp_path / "r").exists()


def test_a_query_of_another_epoch_is_listed(north, server, tmp_path, only_failure):
    new = ClientKey(north.name, north.study.fingerprint, 2, north.key.secret)
    made = run(north.queries(tmp_path / "q", north.testing[:1], key=new))
    report = run(server.map(made.written, tmp_path / "r"))
    assert "key epoch 2; the mapping network knows epoch 1" in only_failure(report).message


def test_a_key_made_anew_under_the_same_name_and_epoch_is_noticed(
    both, open_site, open_server, tmp_path, only_failure
):
    north, server = open_site(both), open_server(both)
    new = ClientKey.generate("north", both.study.fingerprint)
    made = run(north.queries(tmp_path / "q", north.testing[:1], key=new))
    report = run(server.map(made.written, tmp_path / "r"))
    assert "another key of site" in only_failure(report).message


def test_a_retrained_site_is_noticed_by_server_and_site(north, server, tmp_path, only_failure):
    options = AutoencoderOptions(fit=FitOptions(epochs=1, seed=9), augment=False)
    job = train_site(
        north.folder, north.study, "north", north.training, options, device=CPU, retrain=True
    )
    run(job)
    folder = north.one.queries("north")
    made = run(north.queries(folder, north.testing[:1]))
    try:
        assert made.skipped == []  # those that are there were made with the old encoders
        report = run(server.map(made.written, tmp_path / "r"))
        assert "trained its autoencoders anew" in only_failure(report).message
    finally:
        for path in made.written:
            path.unlink()
    report = run(north.reveal(north.replies[:1], tmp_path / "m"))
    assert "trained anew since the query" in only_failure(report).message


# -- many items -------------------------------------------------------------------------


def test_a_reply_of_several_records_has_every_item_once(
    both, open_site, open_server, monkeypatch, tmp_path, make_volume
):
    north, server = open_site(both), open_server(both)
    monkeypatch.setattr("ppcmi_sf.bundle.header.RECORD_BYTES", 20_000)
    case = make_volume(tmp_path / "stack.nii", 11)
    (query,) = run(north.queries(tmp_path / "q", [case])).written
    (reply,) = run(server.map([query], tmp_path / "r")).written
    header = peek(reply, north.party.identity)
    assert (header.items, header.record_items, header.record_count) == (11, 3, 4)
    assert north.read(reply).batch.items == server.read(query).batch.items
    many = run(north.reveal([reply], tmp_path / "m")).written
    monkeypatch.undo()
    (whole,) = run(server.map([query], tmp_path / "w", again=True)).written
    assert peek(whole, north.party.identity).record_count == 1
    one = run(north.reveal([whole], tmp_path / "n")).written
    assert many[0].read_bytes() == one[0].read_bytes()


# -- folders that are not as they should be ---------------------------------------------


@pytest.mark.parametrize("what", ["swapped", "other epoch", "other key", "missing", "a client key"])
def test_wrong_shares_in_the_server_s_folder_are_refused(what, server, north, tmp_path):
    folder, key = ServerFolder(server.folder), north.key
    links = {link.name: link for link in read_header(folder.model_file).sites}
    path = folder.share_file(links["north"])
    other = {
        "other epoch": ClientKey("north", key.study, 2, key.secret),
        "other key": ClientKey.generate("north", key.study),
    }
    if what == "swapped":
        shutil.copy(folder.share_file(links["south-1"]), path)
    elif what == "missing":
        path.unlink()
    elif what == "a client key":
        shutil.copy(server.one.key_file("north"), path)
    else:
        write_share(path, other[what].transform_share(), north.party.identity, server.card)
    with pytest.raises((KeyFileError, InputFileError)) as caught:
        run(server.map(north.old_queries, tmp_path / "r"))
    assert str(path) in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "r").exists()


def test_folders_that_are_no_server_s_are_refused(server, north, tmp_path):
    server.folder = tmp_path / "none"
    with pytest.raises(InputFileError, match="not a server folder"):
        run(server.map([], tmp_path / "r"))
    assert not server.folder.exists()
    server.folder = north.folder
    with pytest.raises(ModelFileError):
        run(server.map([], tmp_path / "r"))


def test_a_network_with_other_layers_is_refused(server, north, tmp_path):
    model = ServerFolder(server.folder).model_file
    shutil.copy(north.folder / "image_autoencoder.safetensors", model)
    with pytest.raises(ModelFileError, match="not a mapping network"):
        run(server.map(north.old_queries, tmp_path / "r"))


def test_a_query_whose_numbers_are_of_another_shape_is_refused(
    north, server, make_study, tmp_path, only_failure
):
    """Signed by a trusted site, and of the right study by name: but not the study's tensors."""
    query, wide = server.read(north.old_queries[0]), make_study(size=(128, 64))
    latents = LatentPyramid({s.name: torch.zeros(1, *s.shape) for s in wide.scales})
    header = make_header(
        "query",
        study=north.study.fingerprint,
        sender=north.party.identity,
        recipients=[server.card],
        key_id=query.header.key_id,
        epoch=1,
        model=query.header.model,
        items=1,
        layout=item_layout(wide, "query", "float16"),
    )
    path = tmp_path / "q.ppcmi"
    with create_bundle(path, header, north.party.identity, [server.card]) as writer:
        writer.append(pack_items(ItemBatch(query.batch.items, {"image": latents}), "float16"))
        writer.finish()
    error = only_failure(run(server.map([path], tmp_path / "r")))
    assert isinstance(error, BundleError)
    assert "its tensors are not those of this study" in error.message
    assert "Tell 'north'" in error.hint
