"""Messages over a pipe: a JSON text and, after it, the bytes of arrays.

Why not :mod:`multiprocessing`: its ``spawn`` runs the user's ``__main__`` once more in the
child, which opens a second viewer wherever a script has no ``if __name__ == "__main__"``, and
its pipes speak pickle (docs/decisions/0018).

A frame is the length of the text (4 bytes, big-endian), the text, then each array's bytes in C
order. The text names the arrays' types and shapes.
"""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_LENGTH = struct.Struct(">I")
_MAX_TEXT = 64 * 2**20

Array = NDArray[Any]


@dataclass(frozen=True)
class Frame:
    """One message: what stands in it, and its arrays."""

    head: dict[str, Any]
    arrays: tuple[Array, ...] = ()


class Closed(Exception):
    """The other side is gone."""


class Wire:
    """Two pipes as one connection. Several threads may send; one receives.

    Parameters
    ----------
    source, sink
        Binary streams.
    """

    def __init__(self, source: BufferedReader, sink: IO[bytes]) -> None:
        self._source, self._sink = source, sink
        self._sending = threading.Lock()

    def send(self, head: dict[str, Any], arrays: Sequence[Array] = ()) -> None:
        """Send a message; waits while the other side is busy reading.

        Raises
        ------
        Closed
            The other side is gone.
        """
        plain = [np.ascontiguousarray(array) for array in arrays]
        kinds = [{"dtype": array.dtype.str, "shape": array.shape} for array in plain]
        text = json.dumps({"head": head, "arrays": kinds}).encode()
        try:
            with self._sending:
                self._sink.write(_LENGTH.pack(len(text)) + text)
                for array in plain:
                    if array.nbytes:
                        self._sink.write(array.reshape(-1).view(np.uint8).data)
                self._sink.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            raise Closed from error

    def receive(self) -> Frame:
        """Wait for the next message.

        Raises
        ------
        Closed
            The other side is gone.
        """
        (length,) = _LENGTH.unpack(self._take(_LENGTH.size))
        if length > _MAX_TEXT:
            raise Closed
        said = json.loads(bytes(self._take(length)))
        arrays = tuple(
            np.frombuffer(self._take(_nbytes(kind)), kind["dtype"]).reshape(kind["shape"])
            for kind in said["arrays"]
        )
        return Frame(said["head"], arrays)

    def _take(self, count: int) -> bytearray:
        taken = bytearray(count)
        view, at = memoryview(taken), 0
        while at < count:
            try:
                got = self._source.readinto(view[at:])
            except (OSError, ValueError) as error:
                raise Closed from error
            if not got:
                raise Closed
            at += got
        return taken

    def close(self) -> None:
        """Close the sending side, which the other one notices."""
        with suppress(OSError):
            self._sink.close()


def _nbytes(kind: dict[str, Any]) -> int:
    return int(np.dtype(kind["dtype"]).itemsize * np.prod(kind["shape"], dtype=np.int64))
