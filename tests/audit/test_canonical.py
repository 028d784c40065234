"""Canonical JSON: one value, one spelling; every other spelling is refused."""

import contextlib
import json

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from audit.canonical import MAX_DEPTH, MAX_INTEGER, canonical_json, parse_canonical
from audit.errors import CanonicalError
from protocol.record import canonical_bytes

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
KEYS = st.text(st.characters(min_codepoint=0, max_codepoint=127), max_size=8)
SCALARS = st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
INSIDE_DOUBLES = st.recursive(
    st.none() | st.booleans() | st.integers(1 - MAX_INTEGER, MAX_INTEGER - 1) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_printed_is_parsed_to_the_same_value(value: object) -> None:
    assert parse_canonical(canonical_json(value)) == value


@given(INSIDE_DOUBLES)
def test_the_bytes_are_those_of_rfc_8785(value: object) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)


@given(VALUES)
def test_the_bytes_are_those_of_the_protocol_records(value: object) -> None:
    assert canonical_json(value) == canonical_bytes(value)


@given(st.binary(max_size=60))
def test_whatever_is_accepted_prints_to_itself(content: bytes) -> None:
    try:
        value = parse_canonical(content)
    except CanonicalError:
        return
    assert canonical_json(value) == content


@given(st.dictionaries(KEYS, SCALARS, min_size=1), st.integers(0, 7), st.data())
def test_a_changed_bit_is_another_value_or_refused(value: dict, bit: int, data) -> None:
    content = bytearray(canonical_json(value))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << bit
    with contextlib.suppress(CanonicalError):
        assert parse_canonical(bytes(content)) != value


@pytest.mark.parametrize(
    "text",
    [
        '{"b":1,"a":2}',
        '{"a": 1}',
        '{"a":1,"a":1}',
        '{"a":1.0}',
        '{"a":1e3}',
        '{"a":-0}',
        '{"a":NaN}',
        '{"a":"\\u0041"}',
        '{"a":"\\/"}',
        '{"ä":1}',
        '{"a":9007199254740993}',
        "[" * 100_000,
        '"\\ud800"',
        "9" * 5000,
        "\ufeff1",
        "",
        "1\n",
    ],
)
def test_a_second_spelling_is_refused(text: str) -> None:
    with pytest.raises(CanonicalError):
        parse_canonical(text.encode())


@pytest.mark.parametrize("value", [1.5, {1: 2}, {"a": b"x"}, 2**53 + 1, "\ud800", {"é": 1}])
def test_a_value_without_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(CanonicalError):
        canonical_json(value)


def test_bytes_that_are_not_utf_8_are_refused() -> None:
    with pytest.raises(CanonicalError):
        parse_canonical(json.dumps("x").encode() + b"\xff")


def test_the_depth_of_a_value_is_bounded_by_a_number_and_not_by_the_interpreter():
    value: object = 0
    for _ in range(MAX_DEPTH):
        value = [value]
    assert parse_canonical(canonical_json(value)) == value
    with pytest.raises(CanonicalError, match="at most 64 levels"):
        canonical_json([value])
    with pytest.raises(CanonicalError, match="at most 64 levels"):
        parse_canonical(b"[" * (MAX_DEPTH + 1) + b"0" + b"]" * (MAX_DEPTH + 1))
