"""Any entry becomes a valid FHIR audit event that says no more than the entry does."""

import json
import string
from base64 import b64decode

import pytest
from audit_parties import Consortium, Said
from fhir.resources.R4B.auditevent import AuditEvent
from fhir.resources.R4B.operationoutcome import OperationOutcome
from hypothesis import given
from hypothesis import strategies as st

from audit import receipts, schema_events
from audit.desk import statements
from audit.desk.fhir import codes
from audit.desk.fhir.capability import operation_outcome
from audit.desk.fhir.resource import Placed, audit_event
from audit.desk.fhir.search import Cursor, SearchError, parse_search
from audit.desk.records import statements as records_statements
from audit.entry import Actor, ActorKind, Compliance, Entry, Meaning, Outcome
from protocol.events import Kind

PARTIES = Consortium()

DIGEST = "sha256:" + "ab" * 32
WORDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:()/ -]{0,30}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
KEYS = st.text(string.printable, max_size=12)
BODIES = st.dictionaries(
    st.one_of(KEYS, st.sampled_from(["site", "sites", "reason", "route", "model_digest", "plan"])),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), TEXTS, st.just(DIGEST)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    max_size=6,
)
ACTORS = st.builds(
    Actor,
    kind=st.sampled_from(ActorKind),
    id=st.from_regex(r"[A-Za-z0-9._:-]{1,40}", fullmatch=True),
    organisation=TEXTS,
    role=st.none() | WORDS,
    purpose=st.none() | WORDS,
)
SAID = st.builds(
    Said,
    type=st.sampled_from([*codes.KNOWN_KINDS, "study.opened", "anomaly.new", "strange.kind"]),
    body=BODIES,
    plan_id=st.none() | TEXTS,
    run_id=st.none() | TEXTS,
    round=st.none() | st.integers(0, 2**53),
    actor=st.none() | ACTORS,
    outcome=st.sampled_from(Outcome),
    compliance=st.none()
    | st.builds(
        Compliance,
        legal_basis=st.none() | WORDS,
        retention=st.none() | WORDS,
        meaning=st.none() | st.sampled_from(Meaning),
    ),
)


def entry_of(said: Said, **changes: int) -> Entry:
    return Entry.parse(PARTIES.chain().draft(said, **changes))


@given(SAID, st.integers(0, 2**53), st.integers(0, 2**62))
def test_any_entry_becomes_a_valid_resource(said, time_us, index):
    entry = entry_of(said, time_us=time_us)
    resource = audit_event(Placed(index, entry, "proof\n"))
    json.dumps(resource).encode()
    AuditEvent.model_validate(resource)
    assert resource["id"] == entry.event_id
    assert resource["outcome"] == str(entry.outcome)
    assert [agent["requestor"] for agent in resource["agent"]].count(True) == 1
    held = {part["url"]: part for part in resource["extension"][0]["extension"]}
    assert b64decode(held["entry"]["valueBase64Binary"]) == entry.content
    assert held["index"]["valueString"] == str(index)


def test_the_table_has_the_kinds_that_are_written_and_no_others():
    """The kind of an entry is named by a constant of the module that writes it."""
    own = {
        value
        for module in (receipts, schema_events, statements, records_statements)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, str) and "." in value
    }
    assert len(own) == 14
    assert set(codes.KNOWN_KINDS) == own | set(Kind)


def test_a_lifted_hold_and_a_read_payload_are_called_what_they_are():
    assert codes.kind_of("retention.hold_lifted").code == "unhold"
    assert codes.kind_of("payload.read").code == "access"


@pytest.mark.parametrize("kind", codes.KNOWN_KINDS)
def test_every_kind_has_codings_that_fhir_knows(kind):
    found = codes.kind_of(kind)
    assert found.action in "CRUDE"
    assert found.system in {codes.DICOM, codes.LIFECYCLE, codes.AUDIT_TYPE}
    resource = audit_event(Placed(0, entry_of(Said(type=kind)), "proof"))
    assert resource["subtype"][-1] == {"system": codes.KIND_SYSTEM, "code": kind}
    AuditEvent.model_validate(resource)


@given(st.sampled_from(Outcome), st.none() | ACTORS)
def test_the_profile_is_claimed_only_where_its_rules_hold(outcome, actor):
    """IHE BALP 1.1 Query: rest, search, E, success; client, server with network; a query."""
    said = Said(type="audit.query", outcome=outcome, actor=actor, body={"route": "GET /v1/x"})
    resource = audit_event(Placed(0, entry_of(said), "proof"))
    claimed = resource.get("meta", {}).get("profile") == [codes.BALP_QUERY]
    assert claimed == (outcome == Outcome.SUCCESS and actor is not None)
    if claimed:
        assert resource["type"]["code"] == "rest"
        assert resource["subtype"][0] == codes.coding(codes.INTERACTION, "search", "search")
        assert (resource["action"], resource["outcome"]) == ("E", "0")
        ends = [a for a in resource["agent"] if a["type"]["coding"][0]["system"] == codes.DICOM]
        assert [a["type"]["coding"][0]["code"] for a in ends] == ["110153", "110152"]
        assert all("who" in a and "network" in a for a in ends)
        (query,) = [e for e in resource["entity"] if e["role"]["code"] == "24"]
        assert query["type"]["code"] == "2"
        assert "_query" in query
        assert not {"what", "lifecycle", "detail", "name"} & query.keys()


def test_digests_and_parties_become_entities_that_can_be_searched():
    body = {"sites": ["east", "west"], "charge": {"model_digest": DIGEST}, "text": "nothing"}
    entry = entry_of(Said(body=body, plan_id="p", run_id="r", round=3))
    entities = audit_event(Placed(0, entry, "proof"))["entity"]
    named = [
        (e["what"]["identifier"]["system"], e["what"]["identifier"]["value"]) for e in entities
    ]
    assert named == [
        (f"{codes.IDENTIFIER}/plan", "p"),
        (f"{codes.IDENTIFIER}/run", "r"),
        (f"{codes.IDENTIFIER}/round", "r/3"),
        (f"{codes.IDENTIFIER}/model-digest", DIGEST),
        (f"{codes.IDENTIFIER}/site", "east"),
        (f"{codes.IDENTIFIER}/site", "west"),
    ]


@given(
    st.lists(st.tuples(st.sampled_from(["date", "type", "_count", "_sort", "_cursor", "x"]), TEXTS))
)
def test_whatever_is_asked_is_understood_passed_over_or_refused(parameters):
    resource = audit_event(Placed(0, entry_of(Said()), "proof"))
    try:
        criteria = parse_search(parameters)
    except SearchError as error:
        OperationOutcome.model_validate(operation_outcome("error", "invalid", str(error)))
    else:
        assert criteria.describe(resource) in {True, False}
        assert len(criteria.understood) + len(criteria.ignored) == len(parameters)


@given(st.integers(0, 2**53), st.integers(0, 10**17))
def test_a_cursor_is_read_as_it_was_printed(time_us, index):
    assert Cursor.parse(str(Cursor(time_us, index))) == Cursor(time_us, index)
