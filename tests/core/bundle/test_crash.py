"""Whatever stops the writing, there is the old bundle or the new one."""

import os
import shutil
import subprocess
import sys

import pytest

KILLS = 60

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows")


def test_kill_9_at_random_moments(child, tmp_path):
    """children.py looks at the bundle after every kill."""
    outcome = child("crash", tmp_path, KILLS)
    # Or the kills came before or after the writing, and would show nothing.
    assert outcome["midway"] >= KILLS // 4
    assert outcome["replaced"] >= 5


@pytest.fixture
def tiny_disk(tmp_path):
    """Mount a disk of 600 KB; gives a function that mounts it with other options."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("a file system can be mounted by root alone")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "none", folder], capture_output=True
    )
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_disk_full(child, tiny_disk):
    refused(child("full", tiny_disk, 0), "the disk is full")


def test_file_too_large(child, tmp_path):
    refused(child("full", tmp_path, 500_000), "could not be written (File too large)")


def refused(outcome, sentence):
    kind, message, hint = outcome["error"]
    assert kind == "ResourceError"
    assert sentence in message
    assert "query.ppcmi" in message
    assert hint
    assert outcome["left"] == ["query.ppcmi"]
    assert outcome["kept"] == [1, 1]


def test_read_only_disk(helpers, people, tiny_disk):
    subprocess.run(["mount", "-o", "remount,ro", tiny_disk], check=True)
    not_allowed(helpers, people, tiny_disk, "could not be written (Read-only file system)")


def test_read_only_folder(helpers, people, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root may write to any folder")
    tmp_path.chmod(0o500)
    try:
        not_allowed(helpers, people, tmp_path, "writing there is not allowed")
    finally:
        tmp_path.chmod(0o700)


def not_allowed(helpers, people, folder, sentence):
    from ppcmi_sf.errors import ResourceError

    with pytest.raises(ResourceError) as caught:
        helpers.children.write(folder / "query.ppcmi", 1, 1, people["north"], people["server"].card)
    assert sentence in caught.value.message
    assert "query.ppcmi" in caught.value.message
    assert caught.value.hint
    assert list(folder.iterdir()) == []
