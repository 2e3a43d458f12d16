"""What every message has in common, and how one becomes a frame and back."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Annotated, Any, ClassVar

from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, SecretStr

from napari_ppcmi._protocol.window_words import in_window_words
from ppcmi_sf.errors import PPCMIError

Array = NDArray[Any]

OUT_OF_MEMORY = "MemoryError"
"""Kind of a failure after which the worker is replaced, so that all its memory is given back."""

EVENT_WRITING, EVENT_WRITTEN = "writing", "written"
"""Told by the worker: a temporary file may be there from now on, and is not there any more."""

EXIT_OTHER_VERSION = 3
"""How the worker's process ends when it was told what it does not understand."""

Secret = Annotated[
    SecretStr, PlainSerializer(lambda secret: secret.get_secret_value(), when_used="json")
]
"""Shown as stars everywhere but on the pipe to the worker, which is the user's own process."""


NoiseLevel = Annotated[float, Field(ge=0, le=100)]
"""Of the noise on latents that leave the site, as a multiple of their size; 0 is none."""


class Message(BaseModel):
    """A frozen record that goes through JSON; arrays go beside the text.

    Attributes
    ----------
    arrays
        What is too large for a text, numpy's or of its kind (dask). Each subclass says what
        they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    arrays: Annotated[tuple[Any, ...], Field(exclude=True, repr=False)] = ()


class Request(Message):
    """Something to do. ``quick`` ones do not wait for a long job to end."""

    quick: ClassVar[bool] = False


class Answer(Message):
    """What came of a request."""


class Done(Answer):
    """It went well, and there is nothing else to tell."""


class Step(Answer):
    """Progress of a job, as :class:`ppcmi_sf.progress.Progress`; ``seconds_left`` if known."""

    done: int
    total: int
    message: str
    values: dict[str, float] = {}
    seconds_left: float | None = None

    @property
    def fraction(self) -> float:
        """Share of the job that is done, in [0, 1]."""
        return self.done / self.total if self.total else 1.0


class Failure(Answer):
    """Why something did not work, in words for a user.

    Attributes
    ----------
    message, hint
        What happened, and what to do; one plain sentence each.
    details
        For a report to the developers: kinds of errors and places in the code, no values.
    kind
        The engine's error class, or ``Crash`` when the worker itself ended.
    """

    message: str
    hint: str = ""
    details: str = ""
    kind: str = "PPCMIError"

    @classmethod
    def of(cls, error: PPCMIError) -> Failure:
        """What a user reads of an error of the engine."""
        return cls(
            message=in_window_words(error.message),
            hint=in_window_words(error.hint),
            kind=type(error).__name__,
        )

    @property
    def text(self) -> str:
        """Both sentences."""
        return f"{self.message} {self.hint}".strip()


def to_head(message: Message) -> dict[str, Any]:
    """The text of a message, with its class's name."""
    return {"class": type(message).__name__, "body": message.model_dump(mode="json")}


def from_head(head: dict[str, Any], arrays: tuple[Array, ...]) -> Message:
    """The message of a frame.

    Raises
    ------
    KeyError, ValueError
        It is none of ours: the two sides are of different versions.
    """
    return _vocabulary()[head["class"]].model_validate({**head["body"], "arrays": arrays})


@cache
def _vocabulary() -> dict[str, type[Message]]:
    for topic in ("keys", "images", "bundles", "joining", "training", "audit"):
        import_module(f"napari_ppcmi._protocol.{topic}")
    return _classes(Message)


def _classes(base: type[Message]) -> dict[str, type[Message]]:
    found = {base.__name__: base}
    for sub in base.__subclasses__():
        found |= _classes(sub)
    return found
