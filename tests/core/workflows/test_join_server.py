"""A site joins a mapping network that others have trained, through files."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from ppcmi_sf.errors import BundleError, InputFileError, KeyFileError, ModelFileError, ReplayError
from ppcmi_sf.models.store import read_header
from ppcmi_sf.progress import run
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.training.mapping import MappingOptions
from ppcmi_sf.workflows.folders import ServerFolder, load_mapping_network
from ppcmi_sf.workflows.join_server import join_server

CPU = torch.device("cpu")
TRAINING = MappingOptions(fit=FitOptions(epochs=12, batch_size=16, learning_rate=3e-3))
JOINING = MappingOptions(fit=FitOptions(epochs=40, batch_size=16, learning_rate=1e-2))
LATE = "west.b"


def join(server, options=JOINING, *, bundles=None, shares=None, **more):
    one = server.one
    return join_server(
        server.folder,
        one.bundles[2:] if bundles is None else bundles,
        one.shares[2:] if shares is None else shares,
        options,
        server.party,
        device=CPU,
        **({"again": True} | more),
    )


@pytest.fixture
def of_two(open_server, tmp_path):
    """A server whose network two of the three sites have trained."""

    def made(one, options=TRAINING):
        server = open_server(one)
        server.folder = tmp_path / "of-two"
        run(
            server.train(
                server.folder, one.bundles[:2], one.shares[:2], options=options, again=True
            )
        )
        return server

    return made


@pytest.fixture
def quick(of_two, escrow):
    return of_two(escrow, MappingOptions(fit=FitOptions(epochs=1, batch_size=16)))


def network_of(server):
    return load_mapping_network(ServerFolder(server.folder).model_file, server.study)


def dice(site, masks) -> float:
    scores = []
    for case in site.testing:
        found, truth = (
            np.asarray(Image.open(path)) for path in (masks / f"{case.name}.png", case.mask)
        )
        scores.append(2 * (found & truth).sum() / (found.sum() + truth.sum()))
    return float(np.mean(scores))


def test_the_new_site_gets_masks_and_nothing_changes_for_the_others(
    both, of_two, open_site, tmp_path
):
    server, late = of_two(both), open_site(both, LATE)
    before, _ = network_of(server)
    report = run(join(server))
    after, header = network_of(server)
    assert report.pairs == {LATE: 44}
    assert [link.name for link in header.sites] == ["north", "south-1", LATE]
    for name, value in before.state_dict().items():
        assert torch.equal(value, after.state_dict()[name]), name
    replies = run(server.map(late.old_queries, tmp_path / "r", again=True)).written
    run(late.reveal(replies, tmp_path / "m", again=True))
    assert dice(late, tmp_path / "m") > 0.8
    late.install(server.publish(LATE, tmp_path / "models"))
    run(late.segment(tmp_path / "s"))
    assert dice(late, tmp_path / "s") > 0.8


def test_it_is_noted_as_a_training_is(quick):
    noted, log = quick.noted("received"), len(quick.party.home.log.entries())
    run(join(quick, MappingOptions(fit=FitOptions(epochs=1))))
    assert sorted(quick.noted("received")) == sorted(noted)  # noted before, and there once
    assert len(quick.party.home.log.entries()) > log
    folder = ServerFolder(quick.folder)
    links = read_header(folder.model_file).sites
    assert LATE in {link.name for link in links}
    assert {folder.share_file(link) for link in links} == set((folder.root / "shares").iterdir())
    assert not folder.checkpoint.exists()


def test_a_bundle_that_was_accepted_before_needs_to_be_asked_for(quick):
    with pytest.raises(ReplayError):
        run(join(quick, again=False))


def test_a_site_that_takes_part_is_refused(quick, escrow):
    words = "'north' takes part in this mapping network already"
    with pytest.raises(ModelFileError, match=words) as caught:
        run(join(quick, bundles=escrow.bundles[:1], shares=escrow.shares[:1]))
    assert "pairs of all sites" in caught.value.hint


def test_two_sites_at_a_time_are_refused(quick, escrow):
    before = ServerFolder(quick.folder).model_file.read_bytes()
    with pytest.raises(BundleError, match=r"2 sites \(south-1, west\.b\)") as caught:
        run(join(quick, bundles=escrow.bundles[1:], shares=escrow.shares[1:]))
    assert "one new site" in caught.value.hint
    assert ServerFolder(quick.folder).model_file.read_bytes() == before


def test_without_a_network_there_is_nothing_to_join(server, tmp_path):
    with pytest.raises(InputFileError, match="no mapping network to join") as caught:
        run(join(dataclasses.replace(server, folder=tmp_path / "none")))
    assert "server train" in caught.value.hint
    assert not (tmp_path / "none").exists()


def test_an_escrow_server_needs_the_share(quick):
    with pytest.raises(KeyFileError, match=r"no transform share of site 'west\.b'"):
        run(join(quick, shares=[]))


def test_a_network_without_adapters_cannot_be_joined(of_two, escrow):
    options = MappingOptions(fit=FitOptions(epochs=1, batch_size=16), adapters=False)
    with pytest.raises(ModelFileError, match="no adapters"):
        run(join(of_two(escrow, options)))


def test_stopped_it_goes_on(quick):
    folder = ServerFolder(quick.folder)
    trained = folder.model_file.read_bytes()
    options = MappingOptions(fit=FitOptions(epochs=4, batch_size=16))
    job = join(quick, options)
    for step in job:
        if step.values.get("epoch") == 2:
            break
    job.close()
    assert folder.checkpoint.is_file()
    assert folder.model_file.read_bytes() == trained
    steps = []
    job = join(quick, options)
    try:
        while True:
            steps.append(next(job))
    except StopIteration as stop:
        resumed = stop.value
    assert min(step.values["epoch"] for step in steps if "epoch" in step.values) == 2
    weights = folder.model_file.read_bytes()
    folder.model_file.write_bytes(trained)
    assert read_header(folder.model_file).sites[-1].name == "south-1"
    unbroken = run(join(quick, options))
    assert resumed.fit == unbroken.fit
    assert folder.model_file.read_bytes() == weights
