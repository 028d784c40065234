"""Nothing is removed without two persons, a recorded decision and the absence of any hold."""

import secrets
import uuid
from collections.abc import Iterator

import psycopg
import pytest
from audit_parties import now_us
from records_office import DAY_US, ODA, PIA, Office, ask, is_kept, open_office

from audit.commitment import spell
from audit.desk.records import store as records_store
from audit.desk.records.store import Matter, Scope
from audit.payloads import store as payload
from audit.payloads.errors import (
    HeldError,
    NotDueError,
    PayloadRemovedError,
    RecordsConflictError,
    SecondPersonError,
    UnknownRecordError,
)

SIX_MONTHS_US = 184 * DAY_US


@pytest.fixture
def office(dsn: str) -> Iterator[Office]:
    with open_office(dsn) as office:
        yield office


def types(office: Office) -> list[str]:
    return [entry.type for entry in office.said()]


# Two persons.


def test_who_proposes_an_erasure_cannot_confirm_it(office: Office) -> None:
    commitment = office.keep()
    proposal = office.records.propose_erasure(ask(ODA), commitment)
    with pytest.raises(SecondPersonError):
        office.records.confirm(ODA, Matter.ERASURE, proposal.id, digest=proposal.digest)
    assert is_kept(office, commitment)
    assert types(office) == ["erasure.proposed"]


def test_the_tables_refuse_one_person_even_where_the_code_does_not(office: Office) -> None:
    proposal = office.records.propose_erasure(ask(ODA), office.keep())
    with (
        office.pool.connection() as connection,
        pytest.raises(psycopg.Error, match="takes a second person"),
    ):
        connection.execute(
            "INSERT INTO records_decision VALUES (%s, 'confirmed', %s, 1, %s)",
            [proposal.id, ODA.id, proposal.event_id],
        )


def test_the_tables_refuse_a_decision_that_no_entry_records(office: Office) -> None:
    proposal = office.records.propose_erasure(ask(ODA), office.keep())
    with (
        office.pool.connection() as connection,
        pytest.raises(psycopg.Error, match="no entry of the outbox says it"),
    ):
        connection.execute(
            "INSERT INTO records_decision VALUES (%s, 'confirmed', %s, 1, %s)",
            [proposal.id, PIA.id, str(uuid.uuid4())],
        )


def test_the_door_of_the_tables_opens_for_no_undecided_proposal(office: Office) -> None:
    commitment = office.keep()
    proposal = office.records.propose_erasure(ask(ODA), commitment)
    with (
        office.pool.connection() as connection,
        pytest.raises(psycopg.Error, match="no recorded decision of two persons"),
    ):
        payload.empty(connection, proposal.id)
    assert is_kept(office, commitment)


@pytest.mark.parametrize("table", ["records_hold", "records_proposal", "records_decision"])
def test_what_officers_did_cannot_be_changed(office: Office, table: str) -> None:
    office.lift(office.hold(Scope(since_us=0)))
    for change in ("DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET event_id = event_id"):
        with office.pool.connection() as connection:
            with pytest.raises(psycopg.Error, match="append-only"):
                connection.execute(change.format(table))  # type: ignore[arg-type]
            connection.rollback()


def test_a_hold_is_lifted_by_two(office: Office) -> None:
    hold = office.hold(Scope(since_us=0))
    proposal = office.records.propose_lift(ask(ODA), hold)
    with pytest.raises(SecondPersonError):
        office.records.confirm(ODA, Matter.LIFT, proposal.id, digest=proposal.digest)
    office.records.confirm(PIA, Matter.LIFT, proposal.id, digest=proposal.digest)
    with pytest.raises(RecordsConflictError, match="lifted already"):
        office.records.propose_lift(ask(ODA), hold)
    assert types(office) == [
        "retention.hold_set",
        "retention.lift_proposed",
        "retention.hold_lifted",
    ]


# Erasure.


def test_an_erasure_leaves_the_commitment_and_says_who_decided(office: Office) -> None:
    commitment = office.keep()
    other = office.keep()
    proposal = office.erase(commitment)
    with office.pool.connection() as connection:
        found = payload.find(connection, commitment)
        with pytest.raises(PayloadRemovedError):
            payload.open_payload(connection, commitment)
    assert found.removed_by == proposal.id
    assert is_kept(office, other)
    said = office.said()[-1]
    assert said.type == "erasure.performed"
    assert said.body["commitments"] == [spell(commitment)]
    assert (said.body["proposed_by"], said.body["confirmed_by"]) == (ODA.id, PIA.id)
    assert said.actor is not None
    assert said.actor.id == PIA.id


def test_an_erasure_under_hold_is_refused_with_the_reason(office: Office) -> None:
    commitment = office.keep()
    hold = office.hold(Scope(producer="north/anna"))
    with pytest.raises(HeldError, match=rf"hold {hold} \(litigation\)"):
        office.records.propose_erasure(ask(ODA), commitment)
    office.lift(hold)
    office.erase(commitment)
    assert not is_kept(office, commitment)


def test_a_hold_that_is_set_after_the_proposal_stops_the_confirmation(office: Office) -> None:
    commitment = office.keep()
    proposal = office.records.propose_erasure(ask(ODA), commitment)
    office.hold(Scope(commitments=(commitment,)))
    with pytest.raises(HeldError):
        office.records.confirm(PIA, Matter.ERASURE, proposal.id, digest=proposal.digest)
    assert is_kept(office, commitment)
    assert "erasure.performed" not in types(office)


def test_the_tables_keep_what_is_held_even_where_the_code_does_not(office: Office) -> None:
    commitment = office.keep()
    proposal = office.records.propose_erasure(ask(ODA), commitment)
    office.hold(Scope(commitments=(commitment,)))
    with office.pool.connection() as connection:
        connection.execute(
            "INSERT INTO records_decision VALUES (%s, 'confirmed', %s, 1, %s)",
            [proposal.id, PIA.id, proposal.event_id],
        )
        with pytest.raises(psycopg.Error, match="stands"):
            payload.empty(connection, proposal.id)


def test_what_the_law_has_kept_is_not_erased_before_its_time(office: Office) -> None:
    commitment = office.keep(retention="documentation")
    with pytest.raises(NotDueError, match=r"45 CFR 164\.316.*2192 days"):
        office.records.propose_erasure(ask(ODA), commitment)
    office.clock.ahead_us = 2193 * DAY_US
    office.erase(commitment)


def test_an_unknown_commitment_is_refused(office: Office) -> None:
    with pytest.raises(UnknownRecordError, match="no payload was handed in"):
        office.records.propose_erasure(ask(ODA), secrets.token_bytes(32))


def test_a_second_erasure_of_the_same_payload_is_refused(office: Office) -> None:
    commitment = office.keep()
    second = office.records.propose_erasure(ask(ODA), commitment)
    office.erase(commitment)
    with pytest.raises(PayloadRemovedError):
        office.records.confirm(PIA, Matter.ERASURE, second.id, digest=second.digest)
    with pytest.raises(PayloadRemovedError):
        office.records.propose_erasure(ask(ODA), commitment)


# Disposal.


def test_only_what_is_due_and_free_is_released_for_disposal(office: Office) -> None:
    held = office.keep(retention="operation", run_id="kept")
    due = office.keep(retention="operation")
    longer = office.keep(retention="documentation")
    office.hold(Scope(run_id="kept"))
    with pytest.raises(NotDueError, match="no payload of class operation is due"):
        office.records.propose_disposal(ask(ODA), retention="operation")
    office.clock.ahead_us = SIX_MONTHS_US + DAY_US
    proposal = office.records.propose_disposal(ask(ODA), retention="operation")
    assert proposal.commitments == (due,)
    office.records.confirm(PIA, Matter.DISPOSAL, proposal.id, digest=proposal.digest)
    assert [is_kept(office, one) for one in (held, due, longer)] == [True, False, True]
    said = office.said()[-1]
    assert said.type == "retention.disposed"
    assert (said.body["count"], said.body["commitments"]) == (1, [spell(due)])
    assert said.compliance is not None
    assert said.compliance.legal_basis == "AI Act 26(6)"


def test_the_period_is_over_to_the_microsecond_and_not_before(office: Office) -> None:
    commitment = office.keep(retention="operation")
    with office.pool.connection() as connection:
        kept = payload.find(connection, commitment)
    due_us = kept.kept_from_us + SIX_MONTHS_US
    assert not office.records.policy.is_due(kept, due_us - 1)
    assert office.records.policy.is_due(kept, due_us)


def test_what_is_not_due_cannot_be_named_into_a_disposal(office: Office) -> None:
    commitment = office.keep(retention="operation")
    with pytest.raises(NotDueError, match="1 of 1"):
        office.records.propose_disposal(ask(ODA), retention="operation", commitments=[commitment])


def test_a_class_that_the_policy_does_not_name_is_never_due(office: Office) -> None:
    commitment = office.keep(retention="eternal")
    office.clock.ahead_us = 40_000 * DAY_US
    with pytest.raises(UnknownRecordError, match="no class eternal"):
        office.records.propose_disposal(ask(ODA), retention="eternal")
    with pytest.raises(NotDueError):
        office.records.propose_disposal(ask(ODA), retention="eternal", commitments=[commitment])


def test_the_set_is_frozen_when_it_is_proposed(office: Office) -> None:
    first = office.keep(retention="operation")
    office.clock.ahead_us = SIX_MONTHS_US + DAY_US
    proposal = office.records.propose_disposal(ask(ODA), retention="operation")
    office.clock.ahead_us = 0
    second = office.keep(retention="operation")
    office.clock.ahead_us = 2 * SIX_MONTHS_US + DAY_US
    office.records.confirm(PIA, Matter.DISPOSAL, proposal.id, digest=proposal.digest)
    assert not is_kept(office, first)
    assert is_kept(office, second)


def test_who_confirms_says_what_they_have_seen(office: Office) -> None:
    commitment = office.keep()
    proposal = office.records.propose_erasure(ask(ODA), commitment)
    other = office.records.propose_erasure(ask(ODA), office.keep())
    with pytest.raises(RecordsConflictError, match="names another set"):
        office.records.confirm(PIA, Matter.ERASURE, proposal.id, digest=other.digest)
    assert is_kept(office, commitment)


def test_a_proposal_is_confirmed_as_what_it_is(office: Office) -> None:
    proposal = office.records.propose_erasure(ask(ODA), office.keep())
    with pytest.raises(UnknownRecordError, match="of disposal"):
        office.records.confirm(PIA, Matter.DISPOSAL, proposal.id, digest=proposal.digest)


def test_a_withdrawn_proposal_is_not_confirmed(office: Office) -> None:
    commitment = office.keep()
    proposal = office.records.propose_erasure(ask(ODA), commitment)
    office.records.withdraw(ODA, Matter.ERASURE, proposal.id)
    with pytest.raises(RecordsConflictError, match="decided already"):
        office.records.confirm(PIA, Matter.ERASURE, proposal.id, digest=proposal.digest)
    assert is_kept(office, commitment)
    assert types(office) == ["erasure.proposed", "retention.withdrawn"]


# Holds cover what their scope says.


@pytest.mark.parametrize(
    ("scope", "covers"),
    [
        (Scope(plan_id="p"), True),
        (Scope(run_id="r"), True),
        (Scope(producer="north/anna"), True),
        (Scope(type="data.manifest"), True),
        (Scope(since_us=0), True),
        (Scope(until_us=1), False),
        (Scope(since_us=now_us() + DAY_US), False),
        (Scope(producer="north/berg"), False),
        (Scope(plan_id="p", producer="north/berg"), False),
        (Scope(commitments=(bytes(32),)), False),
    ],
)
def test_a_hold_covers_what_all_of_its_scope_describes(
    office: Office, scope: Scope, covers: bool
) -> None:
    commitment = office.keep(plan_id="p", run_id="r")
    office.keep(member="berg")
    office.hold(scope)
    with office.pool.connection() as connection:
        assert (commitment in records_store.holds_on(connection, [commitment])) == covers


def test_of_two_holds_one_lifted_leaves_the_other(office: Office) -> None:
    commitment = office.keep()
    first, _ = office.hold(Scope(since_us=0)), office.hold(Scope(producer="north/anna"))
    office.lift(first)
    with pytest.raises(HeldError):
        office.records.propose_erasure(ask(ODA), commitment)


def test_a_hold_on_a_name_that_no_entry_has_is_refused(office: Office) -> None:
    office.keep()
    with pytest.raises(UnknownRecordError, match="no entry of the log has this run_id"):
        office.hold(Scope(run_id="jane doe"))
    assert types(office) == []


# Reading.


def test_reading_a_payload_is_on_record_with_its_purpose(office: Office) -> None:
    commitment = office.keep(b'{"study":"1.2.3"}', plan_id="p")
    found, opening = office.records.open(ODA, commitment, purpose="patient-request")
    assert opening.payload == b'{"study":"1.2.3"}'
    said = office.said()[-1]
    assert (said.type, said.plan_id) == ("payload.read", "p")
    assert said.actor is not None
    assert (said.actor.id, said.actor.purpose) == (ODA.id, "patient-request")
    assert said.body == {"commitment": spell(commitment), "event_id": found.event_id}


def test_a_removed_payload_is_not_read(office: Office) -> None:
    commitment = office.keep()
    office.erase(commitment)
    with pytest.raises(PayloadRemovedError):
        office.records.open(ODA, commitment, purpose="legal")
    assert "payload.read" not in types(office)
