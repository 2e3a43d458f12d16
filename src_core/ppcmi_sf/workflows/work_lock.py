"""One command at a time in a site's or server's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ppcmi_sf.errors import ResourceError
from ppcmi_sf.files import sweep_leftovers, write_error

LOCK_FILE = ".ppcmi.lock"


@contextmanager
def work_lock(folder: Path) -> Iterator[None]:
    """Hold a folder's lock. A folder that was made for it and stays empty is removed again.

    Raises
    ------
    ResourceError
        Another command holds it, or the folder cannot be written to.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # thread_local=False: a GUI may close a job from another thread than it ran in.
        lock = FileLock(folder / LOCK_FILE, thread_local=False)
        lock.acquire(blocking=False)
    except Timeout:
        raise ResourceError(
            f"{folder}: another ppcmi command is working in this folder.",
            hint="Wait until it is done, or stop it; then give this command again.",
        ) from None
    except OSError as error:
        raise write_error(folder, error) from error
    sweep_leftovers(folder)  # a killed training's, each as large as its networks
    try:
        yield
    finally:
        with suppress(OSError):  # somebody may have removed the folder meanwhile
            if [path.name for path in folder.iterdir()] == [LOCK_FILE]:
                (folder / LOCK_FILE).unlink()
                folder.rmdir()
        lock.release()
