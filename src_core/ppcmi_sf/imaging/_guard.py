"""What every reader needs: limits before allocation, one error per failure, no native noise."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ppcmi_sf.errors import InputFileError, PPCMIError, ResourceError, SeveralFramesError

MAX_VALUES = 2**31
"""Most values (voxels times channels) that a header may announce."""

_redirected = threading.Lock()


def check_readable(path: Path) -> None:
    """Refuse a path that is no readable, non-empty file.

    Raises
    ------
    InputFileError
        Missing, a folder, empty, or not allowed to be read.
    """
    if path.is_dir():
        raise InputFileError(path, "this is a folder, not an image file.", hint="Give one file.")
    try:
        with path.open("rb") as handle:
            first = handle.read(1)
    except FileNotFoundError as error:
        raise InputFileError(path, "there is no such file.", hint="Check the path.") from error
    except OSError as error:
        raise InputFileError(
            path,
            f"the file cannot be opened ({error.strerror or 'unknown reason'}).",
            hint="Check that you may read it.",
        ) from error
    if not first:
        raise InputFileError(path, "the file is empty.", hint="Export or copy it again.")


def check_size(path: Path, counts: Sequence[int]) -> None:
    """Refuse a header whose array is empty or larger than :data:`MAX_VALUES`."""
    if any(count < 1 for count in counts):
        raise InputFileError(
            path, f"its header says {_times(counts)} voxels.", hint="Export or copy it again."
        )
    if math.prod(counts) > MAX_VALUES:
        raise InputFileError(
            path,
            f"its header says {_times(counts)} values, more than the limit of {MAX_VALUES}.",
            hint="Crop or resample the image first, or export it again if that size is wrong.",
        )


def check_finite(path: Path | str, data: NDArray[np.float32]) -> None:
    """Refuse an array that holds NaN or infinite values, naming how many.

    Parameters
    ----------
    path
        The image's file, or its name where it is none.

    Raises
    ------
    InputFileError
        It does.
    """
    require_finite(path, data.size - int(np.count_nonzero(np.isfinite(data))), data.size)


def require_finite(path: Path | str, bad: int, count: int) -> None:
    """Refuse an image of ``count`` values of which ``bad`` are NaN or infinite."""
    if bad:
        raise InputFileError(
            path,
            f"{bad} of {count} values are not finite numbers (NaN or infinite).",
            hint="Replace them, by the background value for instance, and save the image again.",
        )


@contextmanager
def reading(path: Path, kind: str) -> Iterator[None]:
    """Turn whatever a library throws while it reads ``path`` into one plain error."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except PPCMIError:
        raise
    except MemoryError as error:
        raise ResourceError(
            f"{path}: the image does not fit into the memory of this computer.",
            hint="Close other programs, crop the image, or use a computer with more memory.",
        ) from error
    except Exception as error:
        raise InputFileError(
            path,
            f"cannot be read as {kind}: it is damaged, cut short or of another kind.",
            hint="Open it in another program to check it, then export or copy it again.",
        ) from error


@contextmanager
def native_quiet() -> Iterator[None]:
    """Keep what ITK and GDCM print off the terminal.

    Their failures arrive as exceptions anyway. They write to file descriptor 2
    directly, so that is what is redirected; a second thread at the same time
    goes on without, rather than waiting.
    """
    if not _redirected.acquire(blocking=False):
        yield
        return
    saved = None
    try:
        try:
            if sys.stderr is not None:
                sys.stderr.flush()
            saved = os.dup(2)
        except (OSError, ValueError):  # a GUI started without a terminal has no descriptor 2
            yield
            return
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 2)
        os.close(sink)
        yield
    finally:
        if saved is not None:
            os.dup2(saved, 2)
            os.close(saved)
        _redirected.release()


def choose_frame(path: Path, shape: Sequence[int], count: int, frame: int | None, axis: str) -> int:
    """Which of ``count`` frames to read: the chosen one, or the only one.

    Parameters
    ----------
    shape
        Of the whole file, for the message.
    axis
        What the frames are along, such as ``"axis 3"``, for the message.

    Raises
    ------
    SeveralFramesError
        There are several and none was chosen.
    InputFileError
        The chosen one does not exist.
    """
    choice = f"Choose one with --frame N, N from 0 to {count - 1}."
    if count == 1:
        choice = "Leave out --frame."
    if frame is None:
        if count == 1:
            return 0
        raise SeveralFramesError(
            path,
            f"the image has size {_times(shape)}; {axis} (length {count}) is not a space axis.",
            hint=choice,
            count=count,
        )
    if not 0 <= frame < count:
        raise InputFileError(path, f"there is no frame {frame} among {count}.", hint=choice)
    return frame


def _times(counts: Sequence[int]) -> str:
    return " x ".join(str(count) for count in counts)
