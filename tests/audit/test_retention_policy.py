"""The retention policy: read whole or refused, and it only ever lengthens what is kept."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.desk.records.policy import RetentionClass, RetentionPolicy
from audit.payloads.store import Payload
from audit.settings import SettingsError

TIMES = st.integers(0, 2**52)


def kept(retention: str, time_us: int, received_us: int) -> Payload:
    return Payload(
        bytes(32), "e", "p", "t", None, None, time_us, retention, "text/plain", received_us
    )


def test_the_shipped_policy_keeps_as_long_as_the_laws_it_names() -> None:
    classes = RetentionPolicy.read().classes
    assert classes["operation"].least_days >= 184  # the longest six months in a row
    assert classes["documentation"].least_days >= 6 * 365 + 2  # with two leap days
    assert classes["default"].least_days == max(one.least_days for one in classes.values())


@given(TIMES, TIMES, st.integers(1, 5000))
def test_a_payload_is_due_its_period_after_the_later_of_entry_and_receipt(
    time_us: int, received_us: int, days: int
) -> None:
    policy = RetentionPolicy(
        {"a": RetentionClass(least_days=days, legal_basis="x", erasable_early=False)}
    )
    payload = kept("a", time_us, received_us)
    due_us = max(time_us, received_us) + days * 86_400_000_000
    assert policy.due_from_us(payload) == due_us
    assert [policy.is_due(payload, due_us + step) for step in (-1, 0, 1)] == [False, True, True]
    assert policy.may_erase(payload, due_us - 1) is False
    assert policy.may_erase(payload, due_us) is True


@given(TIMES)
def test_what_the_policy_does_not_name_is_never_due(now_us: int) -> None:
    assert not RetentionPolicy({}).is_due(kept("a", 0, 0), now_us)


@pytest.mark.parametrize(
    ("text", "explanation"),
    [
        ("[a", "not TOML"),
        ("[a]\nleast_days = 0\nlegal_basis = 'x'\nerasable_early = true", "a.least_days"),
        ("[a]\nleast_days = 1.5\nlegal_basis = 'x'\nerasable_early = true", "a.least_days"),
        ("[a]\nlegal_basis = 'x'\nerasable_early = true", "a.least_days"),
        ("[a]\nleast_days = 1\nlegal_basis = ''\nerasable_early = true", "a.legal_basis"),
        ("[a]\nleast_days = 1\nlegal_basis = 'x'\nerasable_early = 1", "a.erasable_early"),
        ("[a]\nleast_days = 1\nlegal_basis = 'x'\nerasable_early = true\nmost = 2", "a.most"),
        ("['A b']\nleast_days = 1\nlegal_basis = 'x'\nerasable_early = true", "A b"),
    ],
)
def test_a_policy_that_is_not_of_its_form_is_refused_with_the_place(
    tmp_path: Path, text: str, explanation: str
) -> None:
    path = tmp_path / "retention.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=explanation):
        RetentionPolicy.read(path)


def test_a_policy_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"gone\.toml: cannot be read"):
        RetentionPolicy.read(tmp_path / "gone.toml")
