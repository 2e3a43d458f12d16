"""Copying bundle files that somebody dropped on the window into a folder of the site."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import BinaryIO

from ppcmi_sf.bundle import SUFFIX
from ppcmi_sf.errors import InputFileError
from ppcmi_sf.files import atomic_path
from ppcmi_sf.received import open_received

MAX_BYTES = 4 * 2**30
_BLOCK = 2**20
_USUAL_NAME = re.compile(r"[0-9a-f]{32}\.ppcmi")
_NOUN = "latent bundle"


def copy_in(path: Path, folder: Path) -> Path | None:
    """Copy a bundle; nothing if the very file is there already. No other file is overwritten.

    Raises
    ------
    InputFileError
        It is no plain file, too large, or has another suffix.
    ResourceError
        It cannot be written.
    """
    if path.suffix != SUFFIX:
        raise InputFileError(path, "not a latent bundle.", hint=f"Take files ending in {SUFFIX}.")
    with open_received(path, _NOUN) as handle:
        if os.fstat(handle.fileno()).st_size > MAX_BYTES:
            raise InputFileError(path, "larger than 4 GiB.", hint="Ask the sender for parts of it.")
        digest = _digest(handle)
        usual = _USUAL_NAME.fullmatch(path.name) is not None
        target = folder / (path.name if usual else f"{digest[:32]}{SUFFIX}")
        if os.path.lexists(target) and not _is(target, digest):
            target = folder / f"{digest[:32]}{SUFFIX}"
        if os.path.lexists(target):
            if _is(target, digest):
                return None
            raise InputFileError(
                target, "another file has that name.", hint="Move it away, then try again."
            )
        handle.seek(0)
        with atomic_path(target) as temporary, temporary.open("xb") as copy:
            shutil.copyfileobj(handle, copy, _BLOCK)
    return target


def _digest(handle: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := handle.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _is(path: Path, digest: str) -> bool:
    try:
        with open_received(path, _NOUN) as handle:
            return _digest(handle) == digest
    except InputFileError:
        return False
