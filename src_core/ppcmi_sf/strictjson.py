"""JSON as it is exchanged: one spelling for each value, and nothing that could hide something.

Python's parser accepts repeated keys (the last wins), NaN, numbers of any
length and any nesting. Two programs may then read one text in two ways, which is
how signatures are got round. Everything that crosses a border is read here.
"""

from __future__ import annotations

import json
import unicodedata
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)

MAX_DEPTH = 6
MAX_INTEGER = 2**53 - 1  # what every JSON implementation can hold (RFC 8259, section 6)

# Control characters, invisible and direction-changing ones, halves of pairs, line separators.
_REFUSED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def is_invisible(letter: str) -> bool:
    """Whether a character is a control character, is not seen, or turns the direction of text.

    Such characters could drive a terminal, or make one name look like another.
    """
    return unicodedata.category(letter) in _REFUSED


def dumps(value: Any) -> bytes:
    """Spell a value in the one canonical way: sorted keys, no spaces, ASCII alone."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text.encode("ascii")


def read_as(model: type[Model], fields: dict[str, Any]) -> Model:
    """Fields as a record that says neither more nor less.

    A model alone would take ``true`` for 1 and put in defaults. But what is signed are the
    fields as they came, so what is kept must be the same.

    Raises
    ------
    ValueError
        A field is missing, unknown, not valid, or spelled in another way than it should be.
    """
    record = model.model_validate(fields)
    if dumps(record.model_dump(mode="json")) != dumps(fields):
        raise ValueError("a field is missing or spelled in another way than it should be")
    return record


def loads(data: bytes, *, limit: int, canonical: bool = True) -> dict[str, Any]:
    """Parse an object.

    Parameters
    ----------
    data
        UTF-8 text.
    limit
        Most bytes that are looked at.
    canonical
        Refuse any spelling but that of :func:`dumps`.

    Raises
    ------
    ValueError
        Why the text is refused, in a few plain words. It quotes nothing of the text.
    """
    if len(data) > limit:
        raise ValueError(f"longer than {limit} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_float=_no_fraction,
            parse_int=_integer,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError:
        raise ValueError("not JSON") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    _check(value, MAX_DEPTH)
    if canonical and dumps(value) != data:
        raise ValueError("not in the canonical spelling")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field appears twice")
    return fields


def _no_constant(_text: str) -> NoReturn:
    raise ValueError("not a number")


def _no_fraction(_text: str) -> NoReturn:
    raise ValueError("a number with a fraction")


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise ValueError("a number that is too large")
    return int(text)


def _check(value: Any, depth: int) -> None:
    if isinstance(value, str):
        if any(is_invisible(letter) for letter in value):
            raise ValueError("a text with invisible or control characters")
    elif isinstance(value, dict | list):
        if depth == 0:
            raise ValueError("nested too deeply")
        if isinstance(value, dict):
            _check(list(value), 1)
            value = list(value.values())
        for item in value:
            _check(item, depth - 1)
