"""Stopped in the middle, or the disk is full: whole files alone, and a registry that knows it."""

import subprocess
import sys
import textwrap

import pytest

from ppcmi_sf.errors import ResourceError
from ppcmi_sf.home import Home
from ppcmi_sf.progress import run
from ppcmi_sf.registry import Registry


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_cancelling_leaves_whole_files_alone(steps, north, server, files, tmp_path):
    noted = len(north.noted()), len(north.noted("received")), len(server.noted())
    jobs = {
        "q": north.queries(tmp_path / "q"),
        "p": north.pairs(tmp_path / "p"),
        "r": server.map(north.old_queries, tmp_path / "r", again=True),
        "m": north.reveal(north.replies, tmp_path / "m", again=True),
    }
    whole = (steps - 1) // 2
    for name, job in jobs.items():
        for _ in range(steps):
            next(job)
        job.close()
        made = files(tmp_path / name)
        assert len(made) == (0 if name == "p" else whole)
        assert not any(".part." in file for file in made)
    # Each whole file once; nothing that was cut off had been noted, so nothing was withdrawn.
    assert len(north.noted()) == noted[0] + whole
    assert len(server.noted()) == noted[2] + whole
    assert {path.stem for path in (tmp_path / "q").glob("*")} <= set(north.noted())
    assert north.events("withdrawn") == server.events("withdrawn") == []
    north.party.home.log.verify()


def test_pairs_that_were_stopped_are_taken_back_whole(north, files, monkeypatch, tmp_path):
    """Half of a site's pairs would be taken for all of them. The log says that they existed."""
    monkeypatch.setattr("ppcmi_sf.workflows.pairs_plan.MAX_TRAINING_ITEMS", 8)
    noted = north.noted()
    job = north.pairs(tmp_path / "p", copies=2)
    for step in job:
        if step.done >= 18:
            break
    made = {path.removesuffix(".ppcmi") for path in files(tmp_path / "p")}
    made = {name for name in made if not name.startswith(".")}
    assert len(made) == 3
    assert set(north.noted()) == set(noted) | made
    job.close()
    assert files(tmp_path / "p") == []
    assert north.noted() == noted
    assert set(north.events("withdrawn")) == made
    assert made <= set(north.events("sent"))
    north.party.home.log.verify()
    for name in made:
        assert north.registry.items_of(name) == []
    monkeypatch.undo()
    assert run(north.pairs(tmp_path / "p", copies=2)).skipped == []  # not taken for done


@pytest.mark.parametrize("kind", ["query", "training", "reply"])
def test_a_file_that_cannot_get_its_name_is_withdrawn(
    kind, north, server, files, monkeypatch, tmp_path
):
    """The registry and the log know of it by then: the log keeps both lines."""
    desk = server if kind == "reply" else north
    noted, sent = desk.noted(), desk.events("sent")

    def fail(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.PosixPath.replace", fail)
    monkeypatch.setattr("pathlib.WindowsPath.replace", fail)
    job = {
        "query": lambda: north.queries(tmp_path / "o"),
        "training": lambda: north.pairs(tmp_path / "o", copies=1),
        "reply": lambda: server.map(north.old_queries, tmp_path / "o", again=True),
    }[kind]()
    with pytest.raises(ResourceError, match="the disk is full") as caught:
        run(job)
    assert caught.value.hint
    monkeypatch.undo()
    assert files(tmp_path / "o") == []
    assert desk.noted() == noted
    (gone,) = desk.events("withdrawn")
    assert desk.events("sent") == [*sent, gone]
    desk.party.home.log.verify()
    last = desk.party.home.log.entries()[-1]
    assert (last.event, last.kind) == ("withdrawn", kind)
    if kind == "reply":  # the query may be answered later
        assert server.noted("received").count(north.old_queries[0].stem) == 1


def test_a_registry_that_fails_leaves_no_bundle(north, files, monkeypatch, tmp_path):
    """Nothing leaves that the log does not know of."""

    def fail(*_args, **_options):
        raise ResourceError("registry.sqlite: the registry cannot be used.", hint="Mend it.")

    monkeypatch.setattr(Registry, "record_sent", fail)
    for job in (north.queries(tmp_path / "o"), north.pairs(tmp_path / "o", copies=1)):
        with pytest.raises(ResourceError, match="registry cannot be used"):
            run(job)
    assert files(tmp_path / "o") == []
    assert north.events("withdrawn") == []


FULL_DISK = textwrap.dedent(
    """
    import resource, signal, sys
    from pathlib import Path
    import torch
    from pydantic import SecretStr
    from ppcmi_sf.data import Case
    from ppcmi_sf.errors import ResourceError
    from ppcmi_sf.home import Home, Party
    from ppcmi_sf.keys import ClientKey
    from ppcmi_sf.progress import run
    from ppcmi_sf.workflows.map_queries import map_queries
    from ppcmi_sf.workflows.outgoing import Addressed
    from ppcmi_sf.workflows.protect import protect_queries, protect_training_pairs

    site, site_home, server, server_home, key, image, mask, query, out = map(Path, sys.argv[1:])
    passphrase, device = SecretStr("correct horse battery"), torch.device("cpu")
    key = ClientKey.load(key, passphrase)
    north, at_server = (
        Party(Home(root), Home(root).identity(lambda *_: passphrase))
        for root in (site_home, server_home)
    )
    to_server = Addressed(north, [at_server.identity.card])
    case = Case("x", image, mask)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sizes = [home.home.registry.path.stat().st_size for home in (north, at_server)]
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * max(sizes), 2 * max(sizes)))
    for job in (
        protect_queries(site, key, [case, case], out, to_server, device=device,
                        precision="float32"),
        protect_training_pairs(site, key, [case], out, to_server, device=device),
        map_queries(server, [query], out, at_server, device=device, precision="float32"),
    ):
        try:
            run(job)
        except ResourceError as error:
            print("refused:", error.message, error.hint)
    print("limit:", 2 * max(sizes))
    """
)


def test_a_full_disk_leaves_nothing(north, server, make_volume, files, tmp_path):
    """The limit on file size stands for a disk that is full: a write fails half-way."""
    pytest.importorskip("resource")
    case = make_volume(tmp_path / "image.nii", 40)
    (query,) = run(north.queries(tmp_path / "queries", [case])).written
    noted = north.noted(), server.noted()
    folders = [
        north.folder,
        north.party.home.root,
        server.folder,
        server.party.home.root,
        north.one.key_file("north"),
    ]
    arguments = map(str, (*folders, case.image, case.mask, query, tmp_path / "out"))
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, *arguments],
        capture_output=True,
        encoding="utf-8",
        timeout=200,
    )
    assert result.returncode == 0, result.stderr
    print(result.stdout)
    assert files(tmp_path / "out") == []
    assert result.stdout.count("refused:") == result.stdout.count("could not be written") == 3
    assert (north.noted(), server.noted()) == noted
    for desk in (north, server):
        Home(desk.party.home.root).log.verify()
