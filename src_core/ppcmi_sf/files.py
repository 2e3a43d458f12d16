"""Writing files so that nothing is ever half-written.

A file is written under a temporary name beside its target, flushed to disk and
renamed. When anything fails or is cancelled, the temporary file goes away and
whatever stood at the target stays as it was.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from ppcmi_sf.errors import KeyFileError, ResourceError

DAY_SECONDS = 86400
KEPT_OF_NAME = 40  # a file's name may have 255 bytes, and a temporary one is longer
MAX_SECRET_BYTES = 16 * 1024
_DATABASE = b"SQLite format 3\0"
_TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.part\.")
_kept_warnings: ContextVar[list[str] | None] = ContextVar("kept_warnings", default=None)
_observers: list[Callable[[Path, bool], None]] = []

if TYPE_CHECKING:
    from torch import Tensor  # slow to import, and most users of this module need none


@contextmanager
def atomic_path(
    target: Path, *, mode: int | None = None, new: bool = False, secret: bool = False
) -> Iterator[Path]:
    """Give a temporary path to write to; rename it to ``target`` on success.

    The temporary name ends as the target's own, since libraries choose a format by suffix.

    Parameters
    ----------
    target
        Where the file goes. Its folder is made when it is missing.
    mode
        File mode for the result, such as ``0o600`` for a key.
    new
        Never replace a file, not even one that another program makes meanwhile: for secrets, of
        which there may be no copy.
    secret
        What is written is a client key or an identity. Nothing else replaces one, nor a registry.

    Raises
    ------
    KeyFileError
        ``new``, and there is a file; or it would replace a secret that cannot be made again.
    ResourceError
        No space is left, or the folder cannot be written to.
    """
    target = Path(target)
    if not secret:
        _require_no_secret(target)
    temporary = target.parent / f".{secrets.token_hex(6)}.part.{target.name[-KEPT_OF_NAME:]}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _tell_observers(temporary, True)
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        if mode is not None:
            temporary.chmod(mode)
        if new:
            _publish_new(temporary, target)
        else:
            temporary.replace(target)
        _flush_folder(target.parent)
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        with suppress(OSError):  # there is nothing to remove where nothing could be made
            temporary.unlink()
        _tell_observers(temporary, False)


def _require_no_secret(target: Path) -> None:
    """A name typed or completed wrongly must not cost a site its key, of which there is no other.

    By content: neither has to have its suffix.
    """
    try:
        if not target.is_file():
            return
        with target.open("rb") as handle:
            start = handle.read(MAX_SECRET_BYTES + 1)
    except OSError:  # writing will tell
        return
    sealed = len(start) <= MAX_SECRET_BYTES and b'"sealed"' in start and b'"argon2id"' in start
    if sealed or start.startswith(_DATABASE):
        kind = "client key or an identity" if sealed else "registry"
        raise KeyFileError(
            f"{target}: this is a {kind}, and nothing else is written in its place.",
            hint="Choose another name.",
        )


def _publish_new(temporary: Path, target: Path) -> None:
    """Give a written file its name, if nothing has it."""
    try:
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise
        except OSError:  # a file system without links, such as FAT: reserve the name instead
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            temporary.replace(target)
    except FileExistsError:
        raise KeyFileError(
            f"{target}: there is a file already, and it is never overwritten; nothing was written.",
            hint="Perhaps another window or program has just made it. Use that one, or choose "
            "another name.",
        ) from None


def observe_temporaries(observer: Callable[[Path, bool], None]) -> None:
    """Tell somebody of every temporary file of this process, so that they can tidy up after it.

    For a process that may be ended by force: nothing in it can remove a file then.

    Parameters
    ----------
    observer
        Called with the path and ``True`` before a file is made, and with ``False`` once it is
        renamed or removed; in the thread that writes.
    """
    _observers.append(observer)


def _tell_observers(temporary: Path, is_there: bool) -> None:
    for observer in _observers:
        observer(temporary.absolute(), is_there)


def _flush_folder(folder: Path) -> None:
    """Make a new name last through a power cut; where that cannot be asked for, it is not."""
    if os.name != "posix":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def warn_if_shared(path: Path, mode: int, noun: str) -> None:
    """Warn of a secret that other users of the computer can read."""
    # Windows has no such modes: it reports 0666 for every file.
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        text = f"{path}: other users of this computer can read this {noun}; run 'chmod 600' on it."
        kept = _kept_warnings.get()
        if kept is None:
            warnings.warn(text, stacklevel=2)
        else:
            kept.append(text)


@contextmanager
def shared_secrets_told() -> Iterator[list[str]]:
    """Give the warnings of :func:`warn_if_shared` as a list instead, for this thread alone.

    Python's own filters are the whole process's: another thread that imports torch meanwhile
    would switch them back.
    """
    kept: list[str] = []
    token = _kept_warnings.set(kept)
    try:
        yield kept
    finally:
        _kept_warnings.reset(token)


def remove_leftover(path: Path) -> None:
    """Remove a temporary file whose writer has ended; a file of any other name stays."""
    if _TEMPORARY.match(path.name):
        with suppress(OSError):
            path.unlink()


def sweep_leftovers(folder: Path) -> None:
    """Remove temporary files that a killed program left in a folder more than a day ago."""
    with suppress(OSError):
        for path in folder.glob(".*.part.*"):
            if _TEMPORARY.match(path.name) and time.time() - path.stat().st_mtime > DAY_SECONDS:
                path.unlink(missing_ok=True)


def write_bytes(
    target: Path,
    data: bytes,
    *,
    mode: int | None = None,
    new: bool = False,
    secret: bool = False,
) -> None:
    """Write a whole file atomically; see :func:`atomic_path`."""
    with atomic_path(target, mode=mode, new=new, secret=secret) as temporary:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode or 0o666)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)


def write_text(target: Path, text: str, *, mode: int | None = None, new: bool = False) -> None:
    """Write a whole UTF-8 file atomically; see :func:`atomic_path`."""
    write_bytes(target, text.encode(), mode=mode, new=new)


def write_tensors(target: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file atomically; see :func:`atomic_path`."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with atomic_path(target) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata=metadata)
        except SafetensorError as error:
            # It tells the system's reason as text alone: "... (os error 28)".
            number = re.search(r"os error (\d+)", str(error))
            code = int(number[1]) if number else errno.EIO
            raise OSError(code, os.strerror(code)) from error


def write_error(target: Path, error: OSError) -> ResourceError:
    """Put into plain words why a file could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceError(
            f"{target}: the disk is full, so the file was not written.",
            hint="Free some space or choose another folder, then run the same command again.",
        )
    if isinstance(error, PermissionError):
        return ResourceError(
            f"{target}: writing there is not allowed.",
            hint="Choose a folder that you can write to.",
        )
    return ResourceError(
        f"{target}: the file could not be written ({error.strerror or 'unknown reason'}).",
        hint="Choose another folder, then run the same command again.",
    )


def size_in_words(byte_count: int) -> str:
    """``512 bytes``, ``12 KiB``, ``3.4 MiB``."""
    if byte_count < 2**10:
        return f"{byte_count} bytes"
    if byte_count < 2**20:
        return f"{byte_count / 2**10:.0f} KiB"
    return f"{byte_count / 2**20:.1f} MiB"
