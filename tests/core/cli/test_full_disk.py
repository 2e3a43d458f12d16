"""A full disk: a sentence that says so, and nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap

import pytest

from .conftest import protect, train

# One process for several verbs: torch takes seconds to import.
SEVERAL = textwrap.dedent(
    """
    import json, resource, sys
    from ppcmi_sf.cli import main
    limit, verbs = json.load(sys.stdin)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    for verb in verbs:
        sys.argv = ["ppcmi", *verb]
        try:
            main()
        except SystemExit as stop:
            print("exit code", stop.code, file=sys.stderr)
    """
)


@pytest.fixture
def disk(tmp_path):
    """A folder on a tiny disk where one can be mounted; elsewhere files may not grow."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=24k", "tmpfs", str(folder)]
    tried = mount and subprocess.run([mount, *options], capture_output=True, check=False)
    mounted = bool(tried) and tried.returncode == 0

    def run(*verbs):
        given = [0 if mounted else 24_000, [[str(word) for word in verb] for verb in verbs]]
        return subprocess.run(
            [sys.executable, "-c", SEVERAL],
            input=json.dumps(given),
            capture_output=True,
            encoding="utf-8",
            check=False,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    yield folder, run
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk(escrow_chain, ppcmi, disk, data):
    folder, run = disk
    done = run(
        train(escrow_chain, data, folder / "a"),
        protect(escrow_chain, data, folder / "b", "--pairs", "--copies", 1),
        ("server", "train", escrow_chain.at("pairs", "north"), "--study", escrow_chain.study,
         "--server-dir", folder / "c", "--epochs", 1, "--share", escrow_chain.share("north"),
         "--again", *escrow_chain.acting()),
        protect(escrow_chain, data / "images", folder / "d"),
        protect(escrow_chain, data / "images", folder / "e", "--precision", "float32"),
    )  # fmt: skip
    codes = [line for line in done.stderr.splitlines() if line.startswith("exit code")]
    assert codes[:3] == ["exit code 7"] * 3 and codes[-1] == "exit code 7", done.stderr
    assert "Traceback" not in done.stderr and done.stderr.count(f"Error: {folder}/") >= 4
    assert {"the disk is full", "could not be written"} & {
        part for part in ("the disk is full", "could not be written") if part in done.stderr
    }
    left = [path for path in folder.rglob("*") if path.is_file()]
    whole = [path for path in left if path.name != ".ppcmi.lock"]
    assert all(escrow_chain.header(path).kind == "query" for path in whole), left
    for path in whole:
        ppcmi("inspect", path, "--open", *escrow_chain.acting())
