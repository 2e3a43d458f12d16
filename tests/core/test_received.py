"""Opening what somebody else sent: plain files alone, never waiting, never following a link."""

import os
import socket
import time
from pathlib import Path

import pytest

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.received import open_received, read_received

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")


def refused(path: Path, limit: int = 100) -> str:
    """The reason, from both functions, within half a second."""
    before = time.perf_counter()
    with pytest.raises(InputFileError) as caught:
        read_received(path, limit, "contact card")
    assert time.perf_counter() - before < 0.5
    assert caught.value.path == path
    assert caught.value.hint
    return caught.value.message.removeprefix(f"{path}: ")


def refused_to_open(path: Path) -> str:
    with pytest.raises(InputFileError):
        open_received(path, "contact card")
    return refused(path)


def open_files() -> int:
    descriptors = Path("/proc/self/fd")
    return len(list(descriptors.iterdir())) if descriptors.exists() else 0


def test_a_plain_file_is_read_whole(tmp_path):
    (tmp_path / "card").write_bytes(bytes(range(100)))
    assert read_received(tmp_path / "card", 100, "contact card") == bytes(range(100))
    with open_received(tmp_path / "card", "contact card") as handle:
        assert (handle.read(3), handle.seek(98), handle.read()) == (b"\0\1\2", 98, b"bc")
    (tmp_path / "empty").touch()
    assert read_received(tmp_path / "empty", 100, "contact card") == b""


def test_a_file_of_one_byte_too_many_is_refused(tmp_path):
    (tmp_path / "card").write_bytes(bytes(101))
    assert refused(tmp_path / "card") == "too large for a contact card."


def test_a_file_of_many_gigabytes_is_refused_without_being_read(tmp_path):
    with (tmp_path / "card").open("wb") as handle:
        handle.truncate(2**40)
    assert refused(tmp_path / "card") == "too large for a contact card."


def test_a_link_is_refused_even_to_a_good_file(tmp_path):
    (tmp_path / "card").write_bytes(b"good")
    for name, target in (("good", "card"), ("dangling", "none"), ("loop", "loop"), ("dir", ".")):
        (tmp_path / name).symlink_to(target)
        assert refused_to_open(tmp_path / name) == "not a file but a link."


def test_a_link_put_there_after_the_look_is_refused_too(tmp_path, monkeypatch):
    (tmp_path / "card").write_bytes(b"good")
    (tmp_path / "link").symlink_to("card")
    monkeypatch.setattr("os.path.islink", lambda path: False)
    assert refused_to_open(tmp_path / "link") == "the contact card cannot be read."


def test_a_pipe_is_refused_at_once_with_or_without_a_writer(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert refused_to_open(pipe) == "not a file but a pipe or a device."
    writer = os.open(pipe, os.O_RDWR)
    os.write(writer, b"waiting")
    assert refused_to_open(pipe) == "not a file but a pipe or a device."
    os.close(writer)


def test_a_folder_is_refused(tmp_path):
    assert refused_to_open(tmp_path) == "not a file but a folder."


@pytest.mark.parametrize("name", ["zero", "null", "random", "tty"])
def test_a_device_is_refused(name):
    device = Path("/dev", name)
    if not device.exists():
        pytest.skip(f"there is no {device} here")
    assert refused_to_open(device) in {
        "not a file but a pipe or a device.",
        "the contact card cannot be read.",  # no terminal
    }


def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # its name has at most 107 letters
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert refused_to_open(tmp_path / "socket") == "the contact card cannot be read."


@pytest.mark.parametrize("name", ["none", "none/card", "card/card", "nul\0l"])
def test_what_is_not_there_cannot_be_read(name, tmp_path):
    (tmp_path / "card").touch()
    assert refused_to_open(tmp_path / name) == "the contact card cannot be read."


def test_a_name_that_is_too_long_leaves_as_an_error_of_this_program(tmp_path):
    assert refused_to_open(tmp_path / ("x" * 300)) == "the contact card cannot be read."


def test_a_file_without_the_right_to_read_cannot_be_read(tmp_path):
    (tmp_path / "card").write_bytes(b"secret")
    (tmp_path / "card").chmod(0)
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    assert refused_to_open(tmp_path / "card") == "the contact card cannot be read."


def test_refusing_leaves_no_file_open(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(bytes(101))
    before = open_files()
    for _ in range(50):
        for name in ("pipe", ".", "large", "none"):
            with pytest.raises(InputFileError):
                read_received(tmp_path / name, 100, "contact card")
    assert open_files() == before
