"""Entries: signed by whoever acted, in one spelling, so that any change is noticed."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from audit_story import START_US, key_of, whole_story
from hypothesis import given, settings
from hypothesis import strategies as st

from audit.canonical import canonical_json
from audit.entry import (
    MAX_ENTRY_BYTES,
    Actor,
    ActorKind,
    Compliance,
    Entry,
    Meaning,
    Outcome,
    Place,
    sign_entry,
)
from audit.errors import CanonicalError, EntryError
from audit.ids import uuid7
from audit.note import encode_base64

SIGNER = key_of("demo/east")
ID = uuid7(START_US, bytes(10))
PLACE = Place("demo/log", ID, START_US, 0, "")


@dataclass(frozen=True)
class Said:
    type: str = "plan.voted"
    body: dict[str, Any] = field(default_factory=lambda: {"choice": "approve"})
    plan_id: str | None = "sha256:" + "0" * 64
    run_id: str | None = None
    round: int | None = 3
    actor: Actor | None = None
    outcome: int = 0
    compliance: Compliance | None = None
    supersedes: str | None = None


ACTOR = Actor(ActorKind.PERSON, "key:4f", "North hospital", "records-officer", "audit").to_json()
COMPLIANCE = Compliance("GDPR 6(1)(e)", "six-years", Meaning.APPROVED).to_json()


def entry_of(said: Said, **change: Any) -> bytes:
    return sign_entry(said, SIGNER, replace(PLACE, **change))


ENTRY = entry_of(Said())


def test_an_entry_says_what_was_said_and_by_whom() -> None:
    entry = Entry.parse(ENTRY)
    entry.verify(SIGNER.verifier)
    assert (entry.type, entry.body, entry.round) == ("plan.voted", {"choice": "approve"}, 3)
    assert (entry.producer, entry.key_id) == (SIGNER.name, SIGNER.key_id)
    assert (entry.event_id, entry.time_us, entry.seq, entry.prev) == (ID, START_US, 0, "")


def test_an_entry_says_who_acted_with_which_outcome_and_under_which_rule() -> None:
    actor = Actor(ActorKind.PERSON, "key:4f", "North hospital", "records-officer", "audit")
    compliance = Compliance("GDPR 6(1)(e)", "six-years", Meaning.APPROVED)
    said = Said(actor=actor, outcome=Outcome.MINOR_FAILURE, compliance=compliance, supersedes=ID)
    entry = Entry.parse(entry_of(said, clock_offset_us=-5))
    assert (entry.actor, entry.compliance) == (actor, compliance)
    assert (entry.outcome, entry.supersedes) == (4, ID)
    assert (entry.clock_offset_us, entry.origin) == (-5, "demo/log")
    assert Entry.parse(entry_of(Said())).actor is None


@settings(max_examples=400)
@given(st.integers(0, len(ENTRY) * 8 - 1))
def test_any_changed_bit_is_noticed(bit: int) -> None:
    changed = bytearray(ENTRY)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(EntryError):
        Entry.parse(bytes(changed)).verify(SIGNER.verifier)


def test_the_signature_covers_the_canonical_bytes_without_itself() -> None:
    value = json.loads(ENTRY)
    signature = value.pop("signature")
    expected = SIGNER.sign_bytes(b"wardround/entry/v1\n" + canonical_json(value))
    assert signature == encode_base64(expected)


def test_a_body_with_a_member_signature_is_still_verified_whole() -> None:
    """The signature is cut out of the text; the body's own member must stay under it."""
    first = Entry.parse(ENTRY)
    copied = encode_base64(first.signature)
    entry = Entry.parse(entry_of(Said(body={"signature": copied, "z": 1})))
    entry.verify(SIGNER.verifier)
    spoiled = entry.content.replace(f'"signature":"{copied}",'.encode(), b"", 1)
    with pytest.raises(EntryError):
        Entry.parse(spoiled).verify(SIGNER.verifier)


def test_another_keys_entry_is_refused_also_under_the_same_name() -> None:
    with pytest.raises(EntryError, match="expected key"):
        Entry.parse(ENTRY).verify(key_of("demo/north").verifier)
    forged = json.loads(ENTRY) | {"producer": "demo/north"}
    with pytest.raises(EntryError):
        Entry.parse(canonical_json(forged)).verify(key_of("demo/north").verifier)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "wardround/event/v2"},
        {"event_id": "not-a-uuid"},
        {"event_id": "018bcfe5-6800-48de-91ad-0518b1871ef3"},
        {"type": "Plan Voted"},
        {"type": "plan"},
        {"time_us": -1},
        {"time_us": True},
        {"time_us": "1"},
        {"producer": ""},
        {"key_id": "xyz"},
        {"seq": 1},
        {"prev": "0" * 64},
        {"seq": 1, "prev": "A" * 64},
        {"plan_id": 5},
        {"round": -1},
        {"supersedes": "x"},
        {"origin": ""},
        {"origin": None},
        {"clock_offset_us": "1"},
        {"clock_offset_us": True},
        {"outcome": 1},
        {"outcome": "0"},
        {"outcome": False},
        {"outcome": None},
        {"actor": {}},
        {"actor": {**ACTOR, "kind": "doctor"}},
        {"actor": {**ACTOR, "kind": []}},
        {"actor": {**ACTOR, "id": "Ann Lee"}},
        {"actor": {**ACTOR, "role": "naïve"}},
        {"actor": {**ACTOR, "name": "Lee"}},
        {"actor": {**ACTOR, "organisation": None}},
        {"compliance": {**COMPLIANCE, "meaning": "liked"}},
        {"compliance": {**COMPLIANCE, "meaning": []}},
        {"compliance": {**COMPLIANCE, "legal_basis": 6}},
        {"compliance": {"meaning": None}},
        {"body": []},
        {"signature": 5},
        {"signature": "!"},
        {"extra": 1},
    ],
)
def test_a_malformed_envelope_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(EntryError):
        Entry.parse(canonical_json(json.loads(ENTRY) | change))


def test_a_missing_member_is_refused() -> None:
    for name in json.loads(ENTRY):
        value = json.loads(ENTRY)
        del value[name]
        with pytest.raises(EntryError):
            Entry.parse(canonical_json(value))


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff", ENTRY + b"\n", b" " + ENTRY])
def test_bytes_that_are_no_entry_are_refused(content: bytes) -> None:
    with pytest.raises(EntryError):
        Entry.parse(content)


def test_the_longest_entry_has_65535_bytes() -> None:
    room = MAX_ENTRY_BYTES - len(entry_of(Said(body={"text": ""})))
    longest = entry_of(Said(body={"text": "x" * room}))
    assert len(longest) == MAX_ENTRY_BYTES
    Entry.parse(longest).verify(SIGNER.verifier)
    with pytest.raises(EntryError, match="at most 65535"):
        entry_of(Said(body={"text": "x" * (room + 1)}))
    with pytest.raises(EntryError, match="at most 65535"):
        Entry.parse(longest + b" ")


def test_an_entry_that_could_not_be_read_back_is_not_signed() -> None:
    with pytest.raises(EntryError):
        entry_of(Said(), seq=1)
    with pytest.raises(EntryError):
        entry_of(Said(), event_id="5")
    with pytest.raises(EntryError):
        entry_of(Said(type="Nonsense"))
    with pytest.raises(CanonicalError):
        entry_of(Said(body={"share": 0.5}))


def test_protocol_events_are_statements() -> None:
    for content in whole_story().entries:
        Entry.parse(content)
