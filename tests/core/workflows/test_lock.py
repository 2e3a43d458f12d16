"""One command at a time in a folder; whoever comes second is told, and changes nothing."""

import os
import subprocess
import sys
import textwrap

import pytest
import torch

from ppcmi_sf.data import Case
from ppcmi_sf.errors import ResourceError, TrainingError
from ppcmi_sf.progress import run
from ppcmi_sf.training.autoencoders import AutoencoderOptions
from ppcmi_sf.training.fit_options import FitOptions
from ppcmi_sf.workflows.train_site import train_site
from ppcmi_sf.workflows.work_lock import LOCK_FILE, work_lock

CPU = torch.device("cpu")
ONE_EPOCH = AutoencoderOptions(fit=FitOptions(epochs=1, batch_size=8), augment=False)

HOLDER = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from ppcmi_sf.workflows.work_lock import work_lock

    with work_lock(Path(sys.argv[1])):
        print("held", flush=True)
        sys.stdin.read()
    """
)


def hold(folder):
    """Another process that works in a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    assert process.stdout.readline().strip() == "held"
    return process


def let_go(process):
    process.communicate("", timeout=30)
    assert process.returncode == 0


def content(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOCK_FILE
    }


def jobs(north, server, out):
    """Everything that writes to a site's or a server's folder or speaks for it."""
    return {
        "queries": lambda: run(north.queries(out)),
        "pairs": lambda: run(north.pairs(out, copies=1)),
        "reveal": lambda: run(north.reveal(north.replies, out, again=True)),
        "site train": lambda: run(
            train_site(
                north.folder,
                north.study,
                "north",
                north.training,
                ONE_EPOCH,
                device=CPU,
                retrain=True,
            )
        ),
        "map": lambda: run(server.map(north.old_queries, out, again=True)),
        "server train": lambda: run(server.train(server.folder, retrain=True)),
    }


def test_the_second_process_says_so_and_changes_nothing(north, server, tmp_path):
    published = server.publish("north", tmp_path / "models")
    out = tmp_path / "out"
    every = jobs(north, server, out) | {"install": lambda: north.install(published)}
    before = content(north.folder), content(server.folder)
    noted = north.noted(), north.noted("received"), server.noted(), server.noted("received")
    holders = [hold(north.folder), hold(server.folder)]
    try:
        for name, job in every.items():
            with pytest.raises(ResourceError, match="another ppcmi command is working") as caught:
                job()
            folder = server.folder if name in ("map", "server train") else north.folder
            assert str(folder) in caught.value.message
            assert "Wait until it is done" in caught.value.hint
    finally:
        for holder in holders:
            let_go(holder)
    assert (content(north.folder), content(server.folder)) == before
    assert not out.exists()
    assert noted == (
        north.noted(), north.noted("received"), server.noted(), server.noted("received"),
    )  # fmt: skip
    assert len(run(north.queries(out)).written) == 4


def test_a_process_that_was_killed_holds_nothing(north, tmp_path):
    holder = hold(north.folder)
    holder.kill()
    holder.communicate(timeout=30)
    assert len(run(north.queries(tmp_path / "q")).written) == 4


def test_two_jobs_of_one_program_do_not_mix_either(north, tmp_path):
    """As in a window with two panels: the second waits for the first to end or be closed."""
    first = north.queries(tmp_path / "q")
    next(first)
    second = north.pairs(tmp_path / "p", copies=1)
    with pytest.raises(ResourceError, match="another ppcmi command"):
        next(second)
    first.close()
    assert run(north.pairs(tmp_path / "p", copies=1)).items == 16


def test_segmenting_only_reads(north, server, tmp_path):
    north.install(server.publish("north", tmp_path / "models"))
    with work_lock(north.folder):
        assert len(run(north.segment(tmp_path / "m")).written) == 4


def test_a_job_that_fails_lets_go(north, tmp_path):
    bad = [Case(case.name, tmp_path / "none.png", case.mask) for case in north.training]
    for _ in range(2):
        with pytest.raises(TrainingError, match="No case could be used"):
            run(north.pairs(tmp_path / "p", bad, copies=1))


def test_a_new_folder_that_stays_empty_is_removed_again(north, tmp_path):
    folder = tmp_path / "deep" / "new"
    with work_lock(folder):
        assert (folder / LOCK_FILE).is_file()
    assert not folder.exists()
    job = train_site(folder, north.study, "north", north.training, ONE_EPOCH, device=CPU)
    for step in job:
        if "training" in step.message.lower() and folder.exists():
            break
    assert folder.exists()
    job.close()
    assert not folder.exists()


def test_a_folder_with_anything_in_it_stays(tmp_path):
    with work_lock(tmp_path / "f"):
        (tmp_path / "f" / "x").write_text("x")
    assert (tmp_path / "f" / "x").is_file()
    with work_lock(tmp_path / "f"):  # the file that the last lock left is no hindrance
        pass


def test_a_folder_that_cannot_be_written_to_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(ResourceError, match="could not be written") as caught,
        work_lock(tmp_path / "file"),
    ):
        pass
    assert caught.value.hint


def test_a_folder_that_was_removed_meanwhile_is_no_accident(tmp_path):
    with work_lock(tmp_path / "f"):
        (tmp_path / "f" / LOCK_FILE).unlink()
        (tmp_path / "f").rmdir()


def test_what_a_killed_training_left_goes_away_after_a_day(tmp_path):
    name = ".0123456789ab.part.mapping_network.checkpoint.safetensors"
    (tmp_path / name).write_bytes(b"weights")
    with work_lock(tmp_path):
        assert (tmp_path / name).exists()  # it may be of a program that lives
    os.utime(tmp_path / name, (0, 0))
    with work_lock(tmp_path):
        assert not (tmp_path / name).exists()
