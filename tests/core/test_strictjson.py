"""JSON that is received: one spelling alone, and nothing hidden in it."""

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ppcmi_sf.strictjson import MAX_DEPTH, MAX_INTEGER, dumps, loads

LIMIT = 100_000

# Invisible, direction-changing, private and unassigned characters, by what they are.
HIDDEN = {
    "NUL": "\x00",
    "bell": "\x07",
    "tab": "\t",
    "new line": "\n",
    "delete": "\x7f",
    "C1 next line": "\x85",
    "soft hyphen": "\xad",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "right-to-left mark": "\u200f",
    "right-to-left override": "\u202e",
    "right-to-left isolate": "\u2067",
    "Arabic letter mark": "\u061c",
    "byte order mark": "\ufeff",
    "line separator": "\u2028",
    "paragraph separator": "\u2029",
    "tag letter": "\U000e0041",
    "private use": "\ue000",
    "unassigned": "\u0378",
    "no character": "\uffff",
    "lone high surrogate": "\ud800",
    "lone low surrogate": "\udfff",
}


def refused(text, *, canonical=False, limit=LIMIT) -> str:
    """Why a text is refused; that it quotes nothing is checked on the way."""
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(ValueError) as caught:
        loads(data, limit=limit, canonical=canonical)
    assert type(caught.value) is ValueError
    assert "SECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
    return str(caught.value)


def nested(levels: int, opening: str = "[", closing: str = "]") -> str:
    """An object, with so many lists within it."""
    return '{"a":' + opening * levels + closing * levels + "}"


def test_the_canonical_spelling_has_sorted_keys_no_spaces_and_ascii_alone():
    value = {"b": [1, True, None], "a": "Zürich", "B": {"y": -1, "x": ""}}
    assert dumps(value) == rb'{"B":{"x":"","y":-1},"a":"Z\u00fcrich","b":[1,true,null]}'
    assert loads(dumps(value), limit=LIMIT) == value


def test_two_orders_of_keys_are_one_spelling():
    assert dumps({"a": 1, "b": 2}) == dumps({"b": 2, "a": 1})


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        '{ "a":1}',
        '{"a":1}\n',
        ' {"a":1}',
        '{"b":1,"a":1}',
        '{"a":"\\u0061"}',
        '{"a":"\\/"}',
        '{"a":"ü"}',
        '{"a":"\\u00FC"}',
        '{"a":-0}',
    ],
)
def test_another_spelling_of_the_same_value_is_refused_unless_it_is_allowed(text):
    assert refused(text, canonical=True) == "not in the canonical spelling"
    assert set(loads(text.encode(), limit=LIMIT, canonical=False)) <= {"a", "b"}


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"a":1,"a":1}',
        '{"SECRET":1,"SECRET":1}',
        '{"a":1,"\\u0061":1}',
        '{"x":{"a":1,"b":2,"a":3}}',
        '{"x":[[{"a":1,"a":1}]]}',
    ],
)
def test_a_field_that_appears_twice_is_refused_at_every_level(text):
    for canonical in (True, False):
        assert refused(text, canonical=canonical) == "a field appears twice"


def test_as_many_levels_as_are_allowed_pass_and_one_more_does_not():
    deepest = nested(MAX_DEPTH - 1)
    assert loads(deepest.encode(), limit=LIMIT) == json.loads(deepest)
    assert refused(nested(MAX_DEPTH)) == "nested too deeply"
    objects = '{"a":' * (MAX_DEPTH + 1) + "1" + "}" * (MAX_DEPTH + 1)
    assert refused(objects) == "nested too deeply"


@pytest.mark.parametrize("opening", ["[", '{"a":'])
@pytest.mark.parametrize("closed", [True, False])
def test_nesting_that_would_exhaust_the_stack_is_refused_at_once(opening, closed):
    text = nested(15_000, opening, "]" if closed and opening == "[" else "")
    before = time.perf_counter()
    assert refused(text) in {"nested too deeply", "not JSON"}
    assert time.perf_counter() - before < 0.5


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_number_is_refused(number):
    assert refused(f'{{"a":{number}}}') == "not a number"
    assert refused(f'{{"a":[{{"b":{number}}}]}}') == "not a number"


def test_what_is_no_number_is_not_written_either():
    for number in (float("nan"), float("inf")):
        with pytest.raises(ValueError):
            dumps({"a": number})


@pytest.mark.parametrize("number", ["1.5", "1.0", "1e3", "1E400", "-0.0", "1e-400"])
def test_fractions_and_exponents_are_refused(number):
    assert refused(f'{{"a":{number}}}') == "a number with a fraction"


def test_integers_are_those_that_every_program_can_hold():
    for number in (MAX_INTEGER, -MAX_INTEGER, 0, -1):
        assert loads(dumps({"a": number}), limit=LIMIT) == {"a": number}
    for number in (MAX_INTEGER + 1, -MAX_INTEGER - 1, 10**17, 2**64):
        assert refused(dumps({"a": number})) == "a number that is too large"


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_number_of_very_many_digits_is_refused_before_it_is_converted(sign):
    before = time.perf_counter()
    assert refused(f'{{"a":{sign}{"9" * 90_000}}}') == "a number that is too large"
    assert time.perf_counter() - before < 0.5


@pytest.mark.parametrize(
    "data",
    [
        b'{"a":"SECRET\xff"}',
        b'{"a":"\xc3"}',
        b'{"a":"\xc0\xaf"}',
        b'{"a":"\xed\xa0\x80"}',
        '{"a":"SECRET"}'.encode("utf-16-le") + b"\xd8\x00",
        b"\x80\x04\x95SECRET.",
    ],
)
def test_what_is_not_utf_8_is_refused(data):
    assert refused(data) == "not UTF-8"


@pytest.mark.parametrize(
    "text", ["\ufeff{}", '{"a":1', '{"a":1}x', "{}{}", "{'a':1}", '{"a":1,}', "", "\x00", "PK\x03"]
)
def test_what_is_not_json_is_refused(text):
    assert refused(text) == "not JSON"


@pytest.mark.parametrize("text", ["[]", "1", '"SECRET"', "null", "true", '[{"a":1}]'])
def test_what_is_no_object_is_refused(text):
    assert refused(text) == "not a JSON object"


@pytest.mark.parametrize("name", HIDDEN)
@pytest.mark.parametrize(
    "place",
    [lambda c: {"a": c}, lambda c: {c: 1}, lambda c: {"a": [{"b": c}]}, lambda c: {"a": [{c: 1}]}],
    ids=["value", "key", "nested value", "nested key"],
)
def test_a_hidden_character_is_refused_in_keys_and_values(name, place):
    text = dumps(place(f"SEC{HIDDEN[name]}RET"))
    for canonical in (True, False):
        assert refused(text, canonical=canonical) == ("a text with invisible or control characters")


def test_a_pair_of_surrogates_that_makes_a_character_is_that_character():
    assert loads(b'{"a":"\\ud83e\\udec0"}', limit=LIMIT) == {"a": "\U0001fac0"}


def test_letters_of_other_scripts_are_text_like_any():
    value = {"место": "Universitätsklinikum", "病院": "القلب 12"}
    assert loads(dumps(value), limit=LIMIT) == value


def test_not_one_byte_more_than_the_limit_is_looked_at():
    data = dumps({"a": "x" * 50})
    assert loads(data, limit=len(data)) == {"a": "x" * 50}
    assert refused(data, limit=len(data) - 1) == f"longer than {len(data) - 1} bytes"
    assert refused(b"\xff" * 101, limit=100) == "longer than 100 bytes"


texts = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), max_size=8)
leaves = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | texts
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def depth(value) -> int:
    if not isinstance(value, dict | list):
        return 0
    inner = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inner), default=0)


@given(st.dictionaries(texts, values, max_size=4).filter(lambda value: depth(value) <= MAX_DEPTH))
def test_every_value_comes_back_and_has_one_spelling(value):
    data = dumps(value)
    found = loads(data, limit=LIMIT)
    assert found == value
    assert dumps(found) == data
    loose = json.dumps(value, indent=3, ensure_ascii=False).encode()
    assert dumps(loads(loose, limit=LIMIT, canonical=False)) == data


@given(st.binary(max_size=60))
@example(b'{"a":"\\ud800"}')
@example(b'{"\\ud800":1}')
def test_any_bytes_are_an_object_or_a_value_error(data):
    for canonical in (True, False):
        try:
            assert isinstance(loads(data, limit=LIMIT, canonical=canonical), dict)
        except ValueError as error:
            assert type(error) is ValueError
