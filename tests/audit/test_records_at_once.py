"""What officers ask twice, at once or amid a crash is done once, whole or not at all."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import psycopg
import pytest
from records_office import DAY_US, ODA, PIA, Office, ask, is_kept, open_office

from audit.desk.records.store import Matter, Scope
from audit.payloads.errors import (
    ClockBehindError,
    HeldError,
    RecordsConflictError,
)

SIX_MONTHS_US = 184 * DAY_US


@pytest.fixture
def office(dsn: str) -> Iterator[Office]:
    with open_office(dsn) as office:
        yield office


def types(office: Office) -> list[str]:
    return [entry.type for entry in office.said()]


def test_the_same_request_twice_is_one(office: Office) -> None:
    commitment = office.keep()
    asked = ask(ODA)
    one = office.records.propose_erasure(asked, commitment)
    assert office.records.propose_erasure(asked, commitment).event_id == one.event_id
    done = office.records.confirm(PIA, Matter.ERASURE, one.id, digest=one.digest)
    again = office.records.confirm(PIA, Matter.ERASURE, one.id, digest=one.digest)
    assert again.decision == done.decision
    assert types(office) == ["erasure.proposed", "erasure.performed"]


def test_one_id_for_two_requests_is_refused(office: Office) -> None:
    asked = ask(ODA)
    office.records.propose_erasure(asked, office.keep())
    with pytest.raises(RecordsConflictError, match="another proposal"):
        office.records.propose_erasure(asked, office.keep())


def test_a_disposal_sent_again_is_the_set_that_was_frozen(office: Office) -> None:
    office.keep(retention="operation")
    office.clock.ahead_us = SIX_MONTHS_US + DAY_US
    asked = ask(ODA)
    one = office.records.propose_disposal(asked, retention="operation")
    office.clock.ahead_us = 0
    office.keep(retention="operation")
    office.clock.ahead_us = 2 * SIX_MONTHS_US + DAY_US
    assert office.records.propose_disposal(asked, retention="operation") == one


def test_of_officers_who_confirm_at_once_one_does(office: Office) -> None:
    commitment = office.keep()
    proposal = office.records.propose_erasure(ask(ODA), commitment)
    start = threading.Barrier(2)

    def confirm(name: str) -> str:
        officer = PIA if name == PIA.id else type(PIA)(name, "x", PIA.role, PIA.via)
        start.wait()
        try:
            office.records.confirm(officer, Matter.ERASURE, proposal.id, digest=proposal.digest)
        except RecordsConflictError:
            return "refused"
        return "confirmed"

    with ThreadPoolExecutor(2) as threads:
        outcomes = sorted(threads.map(confirm, [PIA.id, "key.ria"]))
    assert outcomes == ["confirmed", "refused"]
    assert types(office).count("erasure.performed") == 1


def test_a_hold_and_a_confirmation_at_once_never_both_pass(office: Office) -> None:
    for _ in range(5):
        commitment = office.keep()
        confirm_and_hold_at_once(office, commitment)
        if not is_kept(office, commitment):
            assert types(office)[-2:] == ["erasure.performed", "retention.hold_set"]


def confirm_and_hold_at_once(office: Office, commitment: bytes) -> None:
    proposal = office.records.propose_erasure(ask(ODA), commitment)
    start = threading.Barrier(2)

    def confirm() -> None:
        start.wait()
        with suppress(HeldError):
            office.records.confirm(PIA, Matter.ERASURE, proposal.id, digest=proposal.digest)

    def hold() -> None:
        start.wait()
        office.records.set_hold(ask(ODA), Scope(commitments=(commitment,)))

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(confirm), threads.submit(hold)]:
            done.result()


@pytest.mark.parametrize("table", ["outbox_entry", "records_decision", "audit_payload"])
@pytest.mark.parametrize("moment", ["BEFORE", "AFTER"])
def test_a_crash_at_any_step_of_a_confirmation_leaves_all_or_nothing(
    office: Office, table: str, moment: str
) -> None:
    commitment = office.keep()
    proposal = office.records.propose_erasure(ask(ODA), commitment)
    event = "UPDATE" if table == "audit_payload" else "INSERT"
    with office.pool.connection() as connection:
        connection.execute(
            "CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END $$"
        )
        connection.execute(
            f"CREATE TRIGGER crash {moment} {event} ON {table} "  # type: ignore[arg-type]
            "FOR EACH ROW EXECUTE FUNCTION crash()"
        )
    with pytest.raises(psycopg.OperationalError):
        office.records.confirm(PIA, Matter.ERASURE, proposal.id, digest=proposal.digest)
    assert is_kept(office, commitment)
    assert office.count("records_decision") == 0
    assert types(office) == ["erasure.proposed"]
    with office.pool.connection() as connection:
        connection.execute("DROP FUNCTION crash CASCADE")
    office.records.confirm(PIA, Matter.ERASURE, proposal.id, digest=proposal.digest)
    assert not is_kept(office, commitment)


def test_a_clock_that_was_set_back_removes_nothing(office: Office) -> None:
    commitment = office.keep()
    proposal = office.records.propose_erasure(ask(ODA), commitment)
    office.clock.ahead_us = -DAY_US
    with pytest.raises(ClockBehindError, match="set the clock right"):
        office.records.confirm(PIA, Matter.ERASURE, proposal.id, digest=proposal.digest)
    assert is_kept(office, commitment)
