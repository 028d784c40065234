"""A record has one byte form, and nothing else is read as that record."""

import json
from decimal import Decimal

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st
from protocol_strategies import a_plan, plans

from protocol.ballot import Rule
from protocol.errors import RecordError
from protocol.plan import Plan
from protocol.record import MAX_RECORD_BYTES, canonical_bytes, decimal_text

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(alphabet=st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="ascii")), inner, max_size=4)
    ),
)


@given(json_values)
def test_the_byte_form_is_that_of_rfc_8785(value: object) -> None:
    assert canonical_bytes(value) == rfc8785.dumps(value)


@given(plans)
def test_printing_then_parsing_gives_the_same_plan(plan: Plan) -> None:
    assert Plan.from_bytes(plan.to_bytes()) == plan


@given(plans, plans)
def test_plans_share_an_id_only_if_they_are_equal(one: Plan, other: Plan) -> None:
    assert (one.id == other.id) == (one == other)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: " " + text,
        lambda text: text + "\n",
        lambda text: text.replace('","', '", "', 1),
        lambda text: json.dumps(dict(reversed(json.loads(text).items())), separators=(",", ":")),
        lambda text: text.replace("Opacities", "Opacitie\\u0073"),
    ],
    ids=["leading blank", "trailing newline", "inner blank", "unsorted keys", "needless escape"],
)
def test_another_spelling_of_the_same_record_is_refused(change) -> None:
    text = a_plan().to_bytes().decode()
    altered = change(text)
    assert altered != text
    with pytest.raises(RecordError, match="canonical"):
        Plan.from_bytes(altered.encode())


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "EOF"),
        (b"\xff\xfe", "Plan"),
        (b"[]", "Plan"),
        (b'{"approvals":1}', "Field required|Extra inputs"),
        (b" " * (MAX_RECORD_BYTES + 1), "at most"),
    ],
)
def test_what_is_not_a_plan_is_refused_with_a_reason(content: bytes, complaint: str) -> None:
    with pytest.raises(RecordError, match=complaint):
        Plan.from_bytes(content)


def test_an_unknown_field_is_refused() -> None:
    body = Rule(approvals=1).to_json() | {"surprise": 1}
    with pytest.raises(RecordError, match="surprise"):
        Rule.from_json(body)


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    with pytest.raises(RecordError) as caught:
        Rule.from_json({"approvals": "Jane Doe 1970", "refusals_allowed": 0})
    assert "Jane" not in str(caught.value)


@pytest.mark.parametrize("value", [0.5, 2**53 + 1, {"é": 1}, {1: 2}, b"x", "\ud800", {"a": [0.1]}])
def test_a_value_without_a_canonical_form_is_refused(value: object) -> None:
    with pytest.raises(RecordError):
        canonical_bytes(value)


@given(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12))
def test_decimal_text_keeps_the_number_exactly(number: float) -> None:
    text = decimal_text(number)
    assert float(text) == number
    assert "e" not in text.lower()
    assert decimal_text(Decimal(text)) == text


@pytest.mark.parametrize("text", ["0.50", "01", ".5", "1.", "1e3", "-0", "+1", "NaN", "", "0.0"])
def test_a_number_in_any_but_its_shortest_form_is_refused(text: str) -> None:
    body = a_plan().privacy.to_json() | {"epsilon": text}
    with pytest.raises(RecordError):
        type(a_plan().privacy).from_json(body)
