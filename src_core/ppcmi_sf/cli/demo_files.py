"""Which files a demo made, so that a new run replaces these and never a user's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from ppcmi_sf.errors import InputFileError
from ppcmi_sf.files import write_text

SHOWN = 3


def clear(folder: Path, record: str, parts: Sequence[str] = (".",)) -> None:
    """Remove what an earlier run made in ``parts`` of a folder.

    Raises
    ------
    InputFileError
        There is something else: a file that is not in the record of that run,
        or was changed since. Nothing is removed then.
    """
    if folder.exists() and not folder.is_dir():
        raise InputFileError(folder, "this is a file, not a folder.", hint="Choose another name.")
    made = _read(folder / record)
    found = [path for part in parts for path in _files(folder / part) if path.name != record]
    foreign = [path for path in found if made.get(_name(path, folder)) != _digest(path)]
    if foreign:
        names = ", ".join(_name(path, folder) for path in foreign[:SHOWN])
        more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        raise InputFileError(
            folder,
            f"there is something in this folder that no finished demo made: {names}{more}.",
            hint="Choose another folder, or delete this one yourself if you need nothing in it.",
        )
    for path in found:
        path.unlink()
        for parent in path.parents:
            if parent == folder or any(parent.iterdir()):
                break
            parent.rmdir()
    (folder / record).unlink(missing_ok=True)


def remember(folder: Path, record: str, seed: int, parts: Sequence[str] = (".",)) -> None:
    """Note every file in ``parts`` of a folder as made by this run."""
    found = [path for part in parts for path in _files(folder / part) if path.name != record]
    files = {_name(path, folder): _digest(path) for path in sorted(found)}
    write_text(folder / record, json.dumps({"seed": seed, "sha256": files}, indent=1) + "\n")


def _files(folder: Path) -> Iterator[Path]:
    """Everything but folders, at any depth; links are not followed."""
    return (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _digest(path: Path) -> str:
    if path.is_symlink() or not path.is_file():
        return "not a plain file"
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _read(record: Path) -> dict[str, str]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        return {str(name): str(digest) for name, digest in _fields(record).items()}
    return {}


def _fields(record: Path) -> dict[object, object]:
    files = json.loads(record.read_text(encoding="utf-8"))["sha256"]
    if not isinstance(files, dict):
        raise TypeError
    return files
