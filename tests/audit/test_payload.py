"""Payloads are kept for the producers whose entries commit to them, and for nobody else."""

import secrets
import uuid
from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from records_office import Office, new_signer, open_office

from audit.canonical import canonical_json
from audit.commitment import Opening, spell
from audit.entry import Entry
from audit.errors import NoteError
from audit.payloads import store as payload
from audit.payloads.deposit import Deposit
from audit.payloads.errors import (
    ForeignPayloadError,
    PayloadRefusedError,
    PayloadRemovedError,
    RecordsConflictError,
    UnknownRecordError,
)

TYPE = "application/json"


@pytest.fixture
def office(dsn: str) -> Iterator[Office]:
    with open_office(dsn) as office:
        yield office


def opening(content: bytes = b'{"study":"1.2.3"}') -> Opening:
    return Opening(secrets.token_bytes(32), content)


def test_a_payload_is_kept_with_what_its_entry_says(office: Office) -> None:
    mine = opening()
    entry = office.log_commitment(mine, retention="operation", plan_id="p", run_id="r")
    receipt = office.deposit(mine, entry)
    assert (receipt.is_new, receipt.retention) == (True, "operation")
    assert receipt.commitment == spell(mine.commitment)
    with office.pool.connection() as connection:
        kept = payload.find(connection, mine.commitment)
        assert payload.open_payload(connection, mine.commitment) == mine
    assert (kept.event_id, kept.producer) == (entry.event_id, "north/anna")
    assert (kept.plan_id, kept.run_id, kept.time_us) == ("p", "r", entry.time_us)


def test_handing_in_again_keeps_one(office: Office) -> None:
    mine = opening()
    entry = office.log_commitment(mine)
    assert office.deposit(mine, entry).is_new
    assert not office.deposit(mine, entry).is_new
    assert office.count("audit_payload") == 1


def test_a_payload_before_its_entry_is_refused(office: Office) -> None:
    mine = opening()
    entry = Entry.parse(office.north.chain("anna").draft())
    with pytest.raises(UnknownRecordError, match="after the entry"):
        office.deposit(mine, entry)


def test_the_payload_of_another_member_is_refused(office: Office) -> None:
    mine = opening()
    entry = office.log_commitment(mine, "anna")
    with pytest.raises(ForeignPayloadError, match="north/anna"):
        office.deposit(mine, entry, "berg")
    assert office.count("audit_payload") == 0


def test_a_deposit_signed_by_a_key_of_the_same_name_is_refused(office: Office) -> None:
    mine = opening()
    entry = office.log_commitment(mine)
    impostor = new_signer("north/anna")
    deposit = Deposit.sign(mine, impostor, event_id=entry.event_id, media_type=TYPE)
    with pytest.raises(ForeignPayloadError):
        office.intake.take(deposit)


def test_a_payload_that_opens_no_commitment_of_the_entry_is_refused(office: Office) -> None:
    mine = opening()
    entry = office.log_commitment(mine)
    for other in (
        Opening(mine.salt, mine.payload + b" "),
        Opening(bytes(32), mine.payload),
    ):
        with pytest.raises(PayloadRefusedError, match="open no commitment"):
            office.deposit(other, entry)
    assert office.count("audit_payload") == 0


def test_one_salt_for_two_entries_is_refused(office: Office) -> None:
    mine = opening()
    office.deposit(mine, office.log_commitment(mine))
    second = office.log_commitment(mine)
    with pytest.raises(RecordsConflictError, match="fresh salt"):
        office.deposit(mine, second)


def test_what_was_removed_is_not_taken_back(office: Office) -> None:
    mine = opening()
    entry = office.log_commitment(mine)
    office.deposit(mine, entry)
    office.erase(mine.commitment)
    with pytest.raises(PayloadRemovedError, match="not taken back"):
        office.deposit(mine, entry)


def test_a_clock_that_was_set_back_does_not_make_a_payload_older(office: Office) -> None:
    first = office.keep()
    office.clock.ahead_us = -(10**15)
    second = office.keep()
    with office.pool.connection() as connection:
        one, other = (payload.find(connection, each) for each in (first, second))
    assert other.kept_from_us >= one.kept_from_us


@pytest.mark.parametrize("size_bytes", [0, payload.MAX_PAYLOAD_BYTES])
def test_payloads_of_every_allowed_length_are_kept(office: Office, size_bytes: int) -> None:
    commitment = office.keep(bytes(size_bytes))
    with office.pool.connection() as connection:
        assert len(payload.open_payload(connection, commitment).payload) == size_bytes


def test_a_payload_that_is_too_long_is_refused_before_it_is_sent() -> None:
    long = opening(bytes(payload.MAX_PAYLOAD_BYTES + 1))
    with pytest.raises(PayloadRefusedError, match="at most 65536"):
        Deposit.sign(long, new_signer("north/anna"), event_id="0" * 36, media_type=TYPE)


@given(st.binary(max_size=100), st.binary(min_size=32, max_size=32))
def test_a_deposit_is_read_back_as_it_was_written(content: bytes, salt: bytes) -> None:
    event_id = "0199c82c-c000-7202-8202-020202020202"
    deposit = Deposit.sign(
        Opening(salt, content), new_signer("north/anna"), event_id=event_id, media_type=TYPE
    )
    assert Deposit.from_json(deposit.to_json()) == deposit


@pytest.mark.parametrize(
    "change",
    [
        {"event_id": "0199c82c-c000-7202-8202-020202020203"},
        {"media_type": "text/plain"},
        {"payload": "AAAA"},
        {"salt": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="},
    ],
)
def test_any_changed_part_of_a_deposit_spoils_its_signature(change: dict[str, str]) -> None:
    signer = new_signer("north/anna")
    event_id = "0199c82c-c000-7202-8202-020202020202"
    deposit = Deposit.sign(opening(), signer, event_id=event_id, media_type=TYPE)
    changed = Deposit.from_json({**deposit.to_json(), **change})
    with pytest.raises(ForeignPayloadError):
        changed.verify(signer.verifier)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {},
        {"event_id": 1, "media_type": 1, "payload": 1, "salt": 1, "signature": 1},
        {"event_id": "x", "media_type": "a/b", "payload": "", "salt": "", "signature": ""},
        {"event_id": "x", "media_type": "a/b", "payload": "%", "salt": "", "signature": ""},
    ],
)
def test_what_is_no_deposit_is_refused_with_a_reason(value: object) -> None:
    with pytest.raises(PayloadRefusedError):
        Deposit.from_json(value)


def test_the_tables_refuse_a_payload_without_its_entry(office: Office) -> None:
    mine = opening()
    entry = office.log_commitment(opening())
    kept = payload.Payload.of(entry, mine.commitment, media_type=TYPE, received_us=1)
    with (
        office.pool.connection() as connection,
        pytest.raises(psycopg.Error, match="no entry of the log commits to it"),
    ):
        payload.keep(connection, kept, mine)


def test_the_tables_refuse_a_payload_that_does_not_open_its_commitment(office: Office) -> None:
    mine = opening()
    entry = office.log_commitment(mine)
    kept = payload.Payload.of(entry, mine.commitment, media_type=TYPE, received_us=1)
    with office.pool.connection() as connection, pytest.raises(psycopg.errors.CheckViolation):
        payload.keep(connection, kept, replace(mine, payload=b"another"))


CHANGES = (
    "UPDATE audit_payload SET salt = NULL, content = NULL, removed_by = gen_random_uuid()",
    "UPDATE audit_payload SET salt = NULL, content = NULL",
    "UPDATE audit_payload SET content = 'another'",
    "UPDATE audit_payload SET retention = 'operation'",
    "UPDATE audit_payload SET received_us = 0",
    "DELETE FROM audit_payload",
    "TRUNCATE audit_payload",
)


@pytest.mark.parametrize("change", CHANGES)
def test_not_even_an_administrator_changes_a_payload(office: Office, change: str) -> None:
    commitment = office.keep()
    with office.pool.connection() as connection:
        with pytest.raises(psycopg.Error, match=r"is refused|append-only"):
            connection.execute(change)  # type: ignore[arg-type]
        connection.rollback()
        payload.open_payload(connection, commitment)


def test_an_emptied_payload_cannot_be_filled_again(office: Office) -> None:
    office.erase(office.keep())
    with (
        office.pool.connection() as connection,
        pytest.raises(psycopg.Error, match="kept whole or emptied, once"),
    ):
        connection.execute("UPDATE audit_payload SET removed_by = gen_random_uuid()")


def test_a_signature_under_a_deposit_is_one_under_nothing_else() -> None:
    opening = Opening(b"s" * 32, b"{}")
    signer = new_signer("north/anna")
    deposit = Deposit.sign(opening, signer, event_id=str(uuid.uuid4()), media_type="a/b")
    said = {
        "commitment": spell(opening.commitment),
        "event_id": deposit.event_id,
        "media_type": deposit.media_type,
    }
    message = canonical_json(said)
    signer.verifier.verify(deposit.signature, b"wardround/payload/v1\n" + message)
    with pytest.raises(NoteError):
        signer.verifier.verify(deposit.signature, message)
