"""Files are whole or not there."""

import contextlib
import errno
import os
import stat
import subprocess
import sys
import textwrap
import threading
import warnings

import pytest
import torch

from ppcmi_sf.errors import KeyFileError, ResourceError
from ppcmi_sf.files import (
    atomic_path,
    observe_temporaries,
    remove_leftover,
    shared_secrets_told,
    sweep_leftovers,
    warn_if_shared,
    write_bytes,
    write_error,
    write_tensors,
    write_text,
)


def names(folder):
    return sorted(item.name for item in folder.iterdir())


def test_writes_and_replaces_whole_files(tmp_path):
    target = tmp_path / "new" / "a.txt"
    write_text(target, "one ü")
    write_bytes(target, b"two")
    assert target.read_bytes() == b"two"
    assert names(target.parent) == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_a_private_file_is_private_from_its_first_byte(tmp_path):
    with atomic_path(tmp_path / "a", mode=0o600) as temporary:
        write_bytes(temporary, b"x", mode=0o600)
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, GeneratorExit])
def test_whatever_stops_it_the_old_file_stays(error, tmp_path):
    target = tmp_path / "a.nii.gz"
    target.write_bytes(b"old")
    with pytest.raises(error), atomic_path(target) as temporary:
        assert temporary.name.endswith("a.nii.gz")
        temporary.write_bytes(b"half")
        raise error
    assert target.read_bytes() == b"old"
    assert names(tmp_path) == ["a.nii.gz"]


def test_a_body_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(ResourceError), atomic_path(tmp_path / "a"):
        pass
    assert names(tmp_path) == []


def test_a_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(ResourceError, match="could not be written"):
        write_text(tmp_path / "file" / "a", "x")
    with pytest.raises(ResourceError, match="could not be written"):
        write_text(tmp_path / "file" / "deeper" / "a", "x")


def test_a_target_that_is_a_folder_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(ResourceError):
        write_text(tmp_path / "a", "x")
    assert names(tmp_path) == ["a"]


@pytest.fixture(params=["links", "no links"])
def file_system(request, monkeypatch):
    """File systems with and without hard links."""
    if request.param == "no links":

        def refuse(*_places):
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("file_system")
def test_a_new_secret_never_takes_the_place_of_a_file(tmp_path):
    target = tmp_path / "new" / "a.ppcmikey"
    write_bytes(target, b"first", mode=0o600, new=True)
    if os.name == "posix":
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
    with pytest.raises(KeyFileError, match="never overwritten") as caught:
        write_text(target, "second", mode=0o600, new=True)
    assert str(target) in caught.value.message and caught.value.hint
    assert target.read_bytes() == b"first"
    assert names(target.parent) == ["a.ppcmikey"]


@pytest.mark.usefixtures("file_system")
def test_of_two_that_write_at_once_one_is_told(tmp_path):
    """Both have looked, and found no file there."""
    target, told = tmp_path / "a", []

    def write(number, together):
        try:
            with atomic_path(target, new=True) as temporary:
                temporary.write_bytes(bytes([number]))
                together.wait()
        except KeyFileError as error:
            told.append(error)

    together = threading.Barrier(8)
    threads = [threading.Thread(target=write, args=(n, together)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 7
    assert names(tmp_path) == ["a"] and len(target.read_bytes()) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "x"), "the disk is full"),
        (OSError(errno.EDQUOT, "x"), "the disk is full"),
        (PermissionError(errno.EACCES, "x"), "not allowed"),
        (OSError(errno.EIO, "broken"), "broken"),
        (OSError(), "unknown reason"),
    ],
)
def test_reasons_in_plain_words(error, words, tmp_path):
    told = write_error(tmp_path / "a", error)
    assert words in told.message
    assert str(tmp_path / "a") in told.message
    assert told.hint


def test_a_file_that_grows_too_large_leaves_nothing(tmp_path):
    """A limit of the operating system, since a test cannot fill the disk everywhere."""
    pytest.importorskip("resource")
    script = textwrap.dedent(
        """
        import resource, signal, sys
        from pathlib import Path
        import torch
        from ppcmi_sf.errors import ResourceError
        from ppcmi_sf.files import write_bytes, write_tensors

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        folder = Path(sys.argv[1])
        for write in (
            lambda: write_bytes(folder / "a", bytes(5000)),
            lambda: write_tensors(folder / "b", {"x": torch.zeros(5000)}, {}),
        ):
            try:
                write()
            except ResourceError as error:
                print(error.message)
        """
    )
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("File too large") == 2
    assert names(tmp_path) == []


def test_tensors_come_back(tmp_path):
    from safetensors import safe_open

    write_tensors(tmp_path / "t", {"x": torch.arange(6.0).reshape(2, 3)}, {"k": "v"})
    with safe_open(tmp_path / "t", framework="pt") as handle:
        assert handle.metadata() == {"k": "v"}
        assert torch.equal(handle.get_tensor("x"), torch.arange(6.0).reshape(2, 3))


def test_leftovers_of_a_killed_program_go_after_a_day(tmp_path):
    old, new = (tmp_path / f".{name}.part.a.ppcmi" for name in ("0" * 12, "1" * 12))
    mine = tmp_path / ".notes.part.1"
    for path in (old, new, mine):
        path.write_text("x")
    for path in (old, mine):
        os.utime(path, (1, 1))
    sweep_leftovers(tmp_path)
    sweep_leftovers(tmp_path / "nowhere")
    assert sorted(tmp_path.iterdir()) == sorted([new, mine])


@pytest.fixture
def told(monkeypatch):
    """What an observer of this process is told; nobody is told after the test."""
    monkeypatch.setattr("ppcmi_sf.files._observers", [])
    heard = []
    observe_temporaries(lambda path, is_there: heard.append((path, is_there)))
    return heard


@pytest.mark.parametrize("error", [None, OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_an_observer_is_told_of_a_temporary_file_before_it_is_there_and_after_it_is_gone(
    tmp_path, told, error
):
    with contextlib.suppress(ResourceError, KeyboardInterrupt), atomic_path(tmp_path / "a") as part:
        assert told == [(part, True)] and names(tmp_path) == []
        part.write_text("x")
        if error is not None:
            raise error
    assert told == [(part, True), (part, False)]
    assert names(tmp_path) == ([] if error else ["a"])


def test_only_temporary_files_are_removed_as_leftovers(tmp_path):
    part, mine = tmp_path / f".{'0' * 12}.part.a.ppcmi", tmp_path / "a.ppcmi"
    for path in (part, mine):
        path.write_text("x")
        remove_leftover(path)
    remove_leftover(part)  # there is none any more
    assert list(tmp_path.iterdir()) == [mine]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_a_shared_secret_is_told_whatever_other_threads_do_with_the_warnings(tmp_path):
    def another_thread():
        warn_if_shared(tmp_path / "theirs", 0o644, "key")
        warnings.simplefilter("ignore")  # as an import of torch does for a while

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with shared_secrets_told() as told:
            thread = threading.Thread(target=another_thread)
            thread.start()
            thread.join()
            with shared_secrets_told() as inner:
                warn_if_shared(tmp_path / "inner", 0o644, "key")
            warn_if_shared(tmp_path / "ours", 0o640, "key")
            warn_if_shared(tmp_path / "private", 0o600, "key")
    assert told == [
        f"{tmp_path / 'ours'}: other users of this computer can read this key; "
        "run 'chmod 600' on it."
    ]
    assert len(inner) == 1 and "inner" in inner[0]
    assert [str(one.message).split(":")[0] for one in caught] == [str(tmp_path / "theirs")]
    with pytest.warns(UserWarning, match="other users"):
        warn_if_shared(tmp_path / "after", 0o644, "key")


@pytest.mark.parametrize("letter", ["x", "ü", "字"])
def test_the_longest_name_that_a_file_may_have(letter, tmp_path):
    name = letter * ((255 - len(".nii.gz")) // len(letter.encode())) + ".nii.gz"
    with atomic_path(tmp_path / name) as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_bytes(b"x")
    assert names(tmp_path) == [name]


def test_a_secret_is_replaced_by_a_secret_alone(tmp_path):
    key, text = tmp_path / "a", '{"seal": {"kdf": "argon2id"}, "sealed": "00"}'
    write_bytes(key, text.encode(), secret=True)
    with pytest.raises(KeyFileError, match="client key or an identity"):
        write_text(key, "seq,at")
    assert key.read_text() == text
    write_bytes(key, b"new", secret=True)
    write_text(key, "no secret any more")
