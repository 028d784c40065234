"""What identifies a patient is planted wherever it could get into an event; none comes through.

The kinds are those of the code itself: a new one without its sample fails here first.
What a form cannot tell is not claimed: a surname in lower-case letters has the form of a site's
name (those come from the pinned consortium file), and a number has the form of a number.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from event_samples import SAMPLES, D
from hypothesis import given, settings
from hypothesis import strategies as st

from audit import errors as audit_errors
from audit.commitment import Opening
from audit.desk import statements as desk
from audit.desk.callers import Caller, Refused, Role, Via
from audit.desk.records import statements as records
from audit.desk.records.store import Matter, Proposal, Scope, Why
from audit.desk.seals import Seal, spell_parameters
from audit.entry import Entry, Place, sign_entry
from audit.ids import uuid7
from audit.note import Signer
from audit.payloads.store import Payload
from hospital_node.actors import person
from hospital_node.imaging.dataset import ImageRef, Patient, commit, commit_read
from hospital_node.imaging.deidentify import instance_digest, pseudonym
from hospital_node.imaging.index import Labelled
from hospital_node.local_events import LocalKind
from protocol import events
from protocol.budget import Partition
from protocol.errors import LayoutError, RecordError
from protocol.events import Kind
from services.coordinator import intake

SIGNER = Signer("north/amber", Ed25519PrivateKey.from_private_bytes(bytes(32)))

ID = "0199c82c-c000-7202-8202-020202020202"

NAMES = (
    "Müller^Anna^Maria^^",
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "Иванов^Пётр",
    "عبد^الله",
    "Hong^Gildong=洪^吉洞=홍^길동",
    "O'BRIEN^Séamus",
)
STREETS = ("14 Rue de l'Église, 75011 Paris", "Hauptstraße 7, 10115 Berlin", "東京都千代田区1-1")

digits = st.integers(10**6, 10**10 - 1).map(str)
dates = st.dates()
identifiers = st.one_of(
    st.sampled_from(NAMES),
    st.sampled_from(STREETS),
    digits,
    digits.map("MRN-{}".format),
    digits.map("ACC{}".format),
    dates.map(lambda day: day.strftime("%Y%m%d") if day.year > 999 else "18991231"),
    dates.map(str),
    digits.map("1.2.840.113619.2.55.3.{}".format),
    digits.map("+49 30 {}".format),
    digits.map("anna.{}@clinic.example".format),
    digits.map("/data/pacs/MÜLLER_ANNA/{}.dcm".format),
    digits.map("C:\\PACS\\Müller\\{}.dcm".format),
)

TYPED_AT_THE_CENTRE = {
    "plan.proposed": r"title|purpose|cohort\.(label|positive)",
    "consortium.founded": r"members\.\d+\.organisation",
    "site.enrolled": r"organisation",
}
"""Texts that people at the centre write about the plan and the members; no hospital's program puts
anything of its own into them."""

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*[1-9])?", re.ASCII)


def needles(identifier: str) -> set[bytes]:
    """The identifier in every form in which it might hide."""
    raw = identifier.encode()
    found = {raw, raw[::-1], raw.hex().encode(), quote(identifier, safe="").encode()}
    found |= {json.dumps(identifier)[1:-1].encode(), base64.b32encode(raw).rstrip(b"=")}
    for word in (raw, raw.upper(), raw.lower()):
        digest = hashlib.sha256(word).digest()
        found |= {digest.hex()[:16].encode(), base64.b64encode(digest)[:12]}  # however cut short
    for shift in range(3):
        text = base64.b64encode(bytes(shift) + raw)
        found.add(text[-(-shift * 8 // 6) : len(text) - 4])
    return {needle for needle in found if len(needle) >= 6}


def assert_absent(identifier: str, content: bytes) -> None:
    for needle in needles(identifier):
        assert needle not in content
        assert needle.lower() not in content.lower()


def signed(statement: Any) -> bytes:
    return sign_entry(statement, SIGNER, Place("north/log", uuid7(1, bytes(10)), 1, 0, ""))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The path and value of every member that is a text or nothing."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        here = f"{path}.{key}" if path else str(key)
        if isinstance(item, dict | list):
            yield from leaves(item, here)
        elif isinstance(item, str) or item is None:
            yield here, item


def planted(body: Any, path: str, identifier: str) -> Any:
    """The body with the identifier in one place."""
    body = json.loads(json.dumps(body))
    *way, last = path.split(".")
    inner = body
    for step in way:
        inner = inner[int(step)] if isinstance(inner, list) else inner[step]
    inner[int(last) if isinstance(inner, list) else last] = identifier
    return body


def test_there_is_a_sample_of_every_kind() -> None:
    assert set(SAMPLES) == {*Kind, *LocalKind}


@pytest.mark.parametrize("kind", SAMPLES, ids=str)
def test_an_honest_event_is_one_and_has_its_kind(kind: str) -> None:
    sample = SAMPLES[kind]
    entry = Entry.parse(signed(sample.build(sample.record)))
    assert entry.type == kind
    assert type(sample.record).from_json(entry.body) == sample.record
    assert not any(isinstance(value, float) for _, value in leaves(entry.body))


@pytest.mark.parametrize("kind", SAMPLES, ids=str)
@given(identifier=identifiers)
@settings(max_examples=25, deadline=None)
def test_no_record_takes_an_identifier(kind: str, identifier: str) -> None:
    sample = SAMPLES[kind]
    body = sample.record.to_json()
    open_texts = re.compile(TYPED_AT_THE_CENTRE.get(kind, r"(?!)"))
    for path, value in leaves(body):
        is_a_number = isinstance(value, str) and NUMBER.fullmatch(value)
        if open_texts.fullmatch(path) or (is_a_number and NUMBER.fullmatch(identifier)):
            continue
        with pytest.raises(RecordError):
            type(sample.record).from_json(planted(body, path, identifier))


@given(identifiers)
@settings(max_examples=50, deadline=None)
def test_the_text_of_a_fault_never_reaches_the_record(identifier: str) -> None:
    faults = (
        audit_errors.AuditError(identifier),
        RecordError(identifier),
        LayoutError(identifier),
    )
    opening = SAMPLES[Kind.ROUND_OPENED].record
    for fault in faults:
        exclusion = intake._bad_update("amber", fault)
        assert_absent(identifier, signed(events.update_rejected(opening, exclusion)))
        assert identifier not in exclusion.explanation


@given(identifiers)
@settings(max_examples=50, deadline=None)
def test_what_stands_for_a_person_or_an_image_is_keyed(identifier: str) -> None:
    key, salt = b"k" * 32, b"s" * 32
    actor = person(identifier, key=key, organisation="Amber hospital", purpose="vote")
    ballot = SAMPLES[Kind.PLAN_VOTED].record
    assert_absent(identifier, signed(events.plan_voted(ballot, actor)))
    image = ImageRef(identifier, Path(identifier), D)
    seen = Labelled(identifier, identifier, Partition.TRAIN, identifier, D, "yes")
    made = (
        commit_read([Patient(identifier, 1, (image,))], salt),
        commit([seen], salt),
        instance_digest(key, identifier),
        pseudonym(key, identifier),
    )
    plain = hashlib.sha256(identifier.encode()).hexdigest()
    for commitment in made:
        assert_absent(identifier, commitment.encode())
        assert plain not in commitment
    assert commit_read([Patient(identifier, 1, (image,))], b"t" * 32) != made[0]


@given(identifiers)
@settings(max_examples=50, deadline=None)
def test_what_an_auditor_typed_is_on_the_record_in_no_words(identifier: str) -> None:
    typed = spell_parameters({"run_id": identifier}, [("q", identifier)], identifier.encode())
    seal, again = (Seal.draw(b"k" * 32, random) for random in (bytes, lambda n: b"r" * n))
    call = desk.Call(
        "GET /v1/runs/{run_id}/timeline", seal.close(typed), seal.nonce, HTTPStatus.FORBIDDEN
    )
    caller = Caller("key.1", "Authority", Role.AUDITOR, Via.KEY)
    made = signed(desk.call_made(call, caller))
    assert_absent(identifier, made)
    assert seal.salt.hex().encode() not in made
    for content in (typed, identifier.encode()):
        assert hashlib.sha256(content).hexdigest().encode() not in made
    assert again.close(typed) != seal.close(typed), "who asks the same sees no more"
    refused = desk.access_refused(call, next(iter(Refused)), caller=None, count=1)
    assert_absent(identifier, signed(refused))


@given(identifiers)
@settings(max_examples=50, deadline=None)
def test_no_reference_of_a_records_officer_and_no_payload_is_on_the_record(identifier: str) -> None:
    opening = Opening(b"s" * 32, identifier.encode())
    officer = Caller("key.1", "Authority", Role.RECORDS_OFFICER, Via.KEY)
    why, scope = Why("litigation", identifier), Scope(commitments=(opening.commitment,))
    kept = Payload(opening.commitment, ID, "north/amber", "t", None, None, 0, "default", "a/b", 0)
    said = [
        records.hold_set(ID, scope, why, officer=officer),
        records.payload_read(kept, officer, purpose="legal"),
    ]
    for matter in Matter:
        one = (opening.commitment,)
        proposal = Proposal(ID, matter, None, one, why, "key.2", 0, ID)
        said += [
            records.proposed(proposal, officer, legal_basis=None),
            records.confirmed(proposal, officer, legal_basis=None),
            records.withdrawn(proposal, officer),
        ]
    for statement in said:
        assert_absent(identifier, signed(statement))
