"""A site answers its own queries: protect to itself, map, reveal."""

import shutil

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ppcmi_sf.bundle import peek
from ppcmi_sf.data import find_cases
from ppcmi_sf.data.sample import sample_data_folder
from ppcmi_sf.errors import (
    BundleError,
    ModelFileError,
    NotRecipientError,
    ReplayError,
    UntrustedSenderError,
)
from ppcmi_sf.home import Home, Party
from ppcmi_sf.identity import Identity
from ppcmi_sf.imaging import read_image
from ppcmi_sf.keys import ClientKey
from ppcmi_sf.passphrase import read_passphrase_file
from ppcmi_sf.progress import run
from ppcmi_sf.workflows.folders import SiteFolder
from ppcmi_sf.workflows.outgoing import Addressed


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def require_same_masks(site, cases, masks):
    """As by the site's network without files, but for float16's rounding at edges."""
    segmenter = site.segmenter()
    for case, path in zip(cases, masks, strict=True):
        direct = run(segmenter.segment(read_image(case.image)))
        mask = pixels(path) if path.suffix == ".png" else np.asarray(nib.load(path).dataobj)
        same = (mask == direct).mean()
        print(f"\n{case.name}: {same:.5f} of the pixels are the same")
        assert direct.any()
        assert same > 0.995


@pytest.fixture
def ready(north, server, tmp_path):
    """A site with a network of its own."""
    north.install(server.publish("north", tmp_path / "models"))
    return north


@pytest.fixture
def own(ready, tmp_path):
    """Queries of the site to itself."""
    return run(ready.queries(tmp_path / "q", to=ready.to_itself)).written


# -- the whole way ----------------------------------------------------------------------


def test_protect_map_here_and_reveal(both, open_site, open_server, make_volume, tmp_path):
    north, server = open_site(both), open_server(both)
    north.install(server.publish("north", tmp_path / "models"))
    cases = [*north.testing, make_volume(tmp_path / "stack.nii", 11)]
    queries = run(north.queries(tmp_path / "q", cases, to=north.to_itself))
    assert queries.failures == []
    steps = []
    replies = run(north.map_here(queries.written, tmp_path / "r"), steps.append)
    assert (len(replies.written), replies.failures, replies.skipped) == (5, [], [])
    assert {(step.done, step.total) for step in steps} == {(number, 5) for number in range(5)}
    report = run(north.reveal(replies.written, tmp_path / "m"))
    assert (len(report.written), report.failures) == (5, [])
    require_same_masks(north, cases, report.written)
    assert [case.network for case in report.cases] == 5 * [north.segmenter().network]
    assert [case.query_id for case in report.cases] == [path.stem for path in queries.written]
    assert {case.sender for case in report.cases} == {"north"}
    north.party.home.log.verify()
    for entry in north.party.home.log.entries()[-15:]:
        assert entry.peers == (north.card.fingerprint,)


def test_a_reply_is_an_ordinary_one_to_the_site_itself(ready, own, tmp_path):
    (path, *_) = run(ready.map_here(own, tmp_path / "r", precision="float32")).written
    header = peek(path, ready.party.identity)
    assert header.kind == "reply"
    assert header.sender == ready.card.fingerprint
    assert header.recipients == (ready.card.fingerprint,)
    assert {entry.dtype for entry in header.layout} == {"U8", "F32"}
    assert path.name == f"{header.bundle_id}.ppcmi"


def test_whose_identity_installed_the_network_does_not_matter(ready, tmp_path):
    """The sample's site has one that nobody else has."""
    ready.party = Party(Home(tmp_path / "new home"), Identity.generate("someone"))
    cases = ready.testing
    queries = run(ready.queries(tmp_path / "q", cases, to=ready.to_itself)).written
    replies = run(ready.map_here(queries, tmp_path / "r"))
    assert (len(replies.written), replies.failures) == (4, [])
    require_same_masks(ready, cases, run(ready.reveal(replies.written, tmp_path / "m")).written)


def test_the_sample_s_site_answers_itself(north, tmp_path):
    sample = sample_data_folder()
    north.folder = shutil.copytree(sample / "site", tmp_path / "sample")
    for path in north.folder.iterdir():
        path.chmod(0o600)
    passphrase = read_passphrase_file(north.folder / "passphrase.txt")
    north.key = ClientKey.load(north.folder / "north.ppcmikey", passphrase)
    north.party = Party(Home(tmp_path / "new home"), Identity.generate("someone"))
    cases = [case for case in find_cases(sample / "ultrasound") if case.name.startswith("north")]
    queries = run(north.queries(tmp_path / "q", cases[:1], to=north.to_itself)).written
    replies = run(north.map_here(queries, tmp_path / "r")).written
    masks = run(north.reveal(replies, tmp_path / "m")).written
    require_same_masks(north, cases[:1], masks)


# -- doing it again ---------------------------------------------------------------------


def test_a_query_is_answered_once_unless_told(ready, own, tmp_path, only_failure):
    first = run(ready.map_here(own, tmp_path / "r"))
    assert len(first.written) == 4
    second = run(ready.map_here(own, tmp_path / "r"))
    assert (second.written, second.skipped) == ([], [path.name for path in own])
    assert isinstance(
        only_failure(run(ready.map_here(own[:1], tmp_path / "elsewhere"))), ReplayError
    )
    assert len(run(ready.map_here(own[:1], tmp_path / "elsewhere", again=True)).written) == 1


def test_cancelling_leaves_whole_files_alone(ready, own, files, tmp_path):
    job = ready.map_here(own, tmp_path / "r")
    for _ in range(4):
        next(job)
    job.close()
    assert len(files(tmp_path / "r")) == 1
    assert len(run(ready.map_here(own, tmp_path / "r")).written) == 3


# -- what is refused --------------------------------------------------------------------


def test_queries_of_others_are_refused(ready, south, own, tmp_path, only_failure):
    """Also of a contact: it is no mapping server."""
    (query,) = run(
        south.queries(tmp_path / "s", south.testing[:1], to=Addressed(south.party, [ready.card]))
    ).written
    for words in ("the sender is unknown", "a query of 'south-1'; a site answers none but its own"):
        report = run(ready.map_here([query, own[0]], tmp_path / "r", again=True))
        error = only_failure(report)
        assert isinstance(error, UntrustedSenderError)
        assert f"{query}: {words}" in error.message
        assert len(report.written) == 1
        shutil.rmtree(tmp_path / "r")
        ready.party.home.contacts.meet(south.card)


def test_queries_to_others_are_refused(ready, tmp_path, only_failure):
    report = run(ready.map_here(ready.old_queries[:1], tmp_path / "r"))
    assert isinstance(only_failure(report), NotRecipientError)


def test_a_reply_is_no_query(ready, tmp_path, own, only_failure):
    replies = run(ready.map_here(own[:1], tmp_path / "r")).written
    report = run(ready.map_here(replies, tmp_path / "s"))
    assert "a reply bundle, not a query" in only_failure(report).message


@pytest.mark.parametrize("what", ["epoch", "key"])
def test_queries_of_another_key_are_listed(what, ready, tmp_path, only_failure):
    changed = {
        "epoch": ClientKey("north", ready.study.fingerprint, 2, ready.key.secret),
        "key": ClientKey.generate("north", ready.study.fingerprint),
    }[what]
    (query,) = run(
        ready.queries(tmp_path / "q", ready.testing[:1], key=changed, to=ready.to_itself)
    ).written
    error = only_failure(run(ready.map_here([query], tmp_path / "r")))
    assert isinstance(error, BundleError)
    assert f"{query}: protected with another key" in error.message
    with pytest.raises(ModelFileError, match="learned with another key"):
        run(ready.map_here([query], tmp_path / "r", key=changed))
    assert not (tmp_path / "r").exists()


def test_queries_of_other_encoders_are_listed(ready, own, tmp_path, only_failure):
    like = ready.read(own[0])
    path = ready.forge(tmp_path / "old.ppcmi", like, to=[ready.card], model="0" * 16)
    error = only_failure(run(ready.map_here([path], tmp_path / "r")))
    assert f"{path}: the autoencoders of this site were trained anew" in error.message


def test_without_a_network_it_says_what_to_do(north, tmp_path):
    queries = run(north.queries(tmp_path / "q", to=north.to_itself)).written
    with pytest.raises(ModelFileError, match="no mapping network at this site"):
        run(north.map_here(queries, tmp_path / "r"))
    assert not SiteFolder(north.folder).mapping_file.exists()
