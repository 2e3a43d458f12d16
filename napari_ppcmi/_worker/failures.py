"""Errors of a job as what a user reads: a sentence, what to do, and details without values."""

from __future__ import annotations

import errno
import traceback

from napari_ppcmi._protocol.message import OUT_OF_MEMORY, Failure
from ppcmi_sf.errors import PPCMIError

# Torch has an error class of its own for a graphics card alone. For the computer's memory there
# is only the text: of Linux, Windows and graphics cards, C++, and (the last two) oneDNN, which
# does not tell that memory was the reason.
_TOLD_OF_MEMORY = (
    "can't allocate memory", "not enough memory", "out of memory", "bad_alloc",
    "could not create a", "could not execute a",
)  # fmt: skip


def failure_of(error: Exception) -> Failure:
    """What a user reads of an error."""
    if isinstance(error, PPCMIError):
        return Failure.of(error)
    if _is_short_of_memory(error):
        return Failure(
            message="There is not enough memory for this.",
            hint="Close other programs or images, then try again.",
            kind=OUT_OF_MEMORY,
        )
    if isinstance(error, ImportError):
        return _unforeseen(
            error,
            message="A library that the plugin needs cannot be loaded.",
            hint="Install the plugin anew, then start napari again; 'ppcmi doctor' tells more.",
        )
    return _unforeseen(error)


def _is_short_of_memory(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    told = str(error).lower() if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or any(words in told for words in _TOLD_OF_MEMORY)


def _unforeseen(
    error: Exception,
    message: str = "Something went wrong inside the plugin; your files are as they were.",
    hint: str = "Try again. If it happens again, report it with the details "
    "(they name no patient).",
) -> Failure:
    """Kinds and places alone: messages of unforeseen errors may hold anything."""
    places = [
        f"{frame.filename.rsplit('site-packages', 1)[-1]}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
    ]
    return Failure(
        message=message,
        hint=hint,
        details="\n".join([type(error).__name__, *places]),
        kind=type(error).__name__,
    )
