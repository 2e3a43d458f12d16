"""Opening files that came from somebody else: plain files alone, of a bounded size."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

from ppcmi_sf.errors import InputFileError


def open_received(path: Path, noun: str) -> BinaryIO:
    """Open a plain file for reading. It never blocks and follows no link.

    Raises
    ------
    InputFileError
        There is no such file, or it is a link, a folder, a pipe or a device.
    """
    flags = os.O_RDONLY
    for name in ("O_NONBLOCK", "O_NOFOLLOW", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, name, 0)
    try:
        if os.path.islink(path):  # noqa: PTH114 - as below; Windows has no O_NOFOLLOW
            raise _not_plain(path, noun, "a link")
        descriptor = os.open(path, flags)
    except (OSError, ValueError) as error:
        if os.path.isdir(path):  # noqa: PTH112 - Path.is_dir may raise; Windows does not open folders at all
            raise _not_plain(path, noun, "a folder") from error
        raise _unreadable(path, noun) from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise _not_plain(path, noun, kind)
    return _ReceivedFile(io.FileIO(descriptor, "rb"), path, noun)


class _ReceivedFile(io.BufferedReader):
    """Tells in words when the disk or the network fails while it is read."""

    def __init__(self, raw: io.FileIO, path: Path, noun: str) -> None:
        super().__init__(raw)
        self._path, self._noun = path, noun

    def read(self, size: int | None = -1, /) -> bytes:
        try:
            return super().read(size)
        except OSError as error:
            raise _unreadable(self._path, self._noun) from error


def _unreadable(path: Path, noun: str) -> InputFileError:
    return InputFileError(
        path, f"the {noun} cannot be read.", hint="Check the path and the permissions."
    )


def read_received(path: Path, limit: int, noun: str) -> bytes:
    """Read a small file whole.

    Raises
    ------
    InputFileError
        It cannot be read, is no plain file, or has more than ``limit`` bytes.
    """
    with open_received(path, noun) as handle:
        data = handle.read(limit + 1)
    if len(data) > limit:
        raise InputFileError(
            path, f"too large for a {noun}.", hint="Ask the sender for the file again."
        )
    return data


def _not_plain(path: Path, noun: str, kind: str) -> InputFileError:
    what = noun.removesuffix(" file")
    return InputFileError(path, f"not a file but {kind}.", hint=f"Give the {what} file itself.")
