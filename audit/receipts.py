"""A party's receipts: demanded for what its outbox delivers, kept, and missed when they fall due.

The one rule: a receipt is kept before an index is asked for, so that a log which swallows an entry
has signed for it; and one that fell due without an index is reported once, in the journal and in
the party's own chain. Whether the log broke its promise is for a verifier to say, not for us.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import structlog
from psycopg_pool import ConnectionPool

from audit import outbox
from audit.entry import Actor, Compliance, Outcome
from audit.note import Note
from audit.outbox import Connection, Outbox, Waiting
from audit.receipt import Receipt

OVERDUE = "anomaly.receipt_overdue"

_LONGEST_TRIP_US = 2_000_000
"""A clock is read off an answer that came within two seconds: the error is half of that at most."""

_log = structlog.get_logger("audit.receipts")


class Promising(Protocol):
    """A log that signs for what it is handed."""

    def promise(self, entries: Sequence[bytes]) -> str:
        """The receipt for these entries, verified."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """A receipt whose deadline has passed."""

    producer: str
    first_seq: int
    last_seq: int
    deadline_us: int
    digest: str
    """SHA-256 of the receipt as kept, in hex."""


@dataclass(frozen=True, slots=True)
class Missed:
    """The statement that a receipt fell due and its entries had no index."""

    body: dict[str, Any]
    type: str = OVERDUE
    outcome: int = Outcome.SERIOUS_FAILURE
    plan_id: str | None = None
    run_id: str | None = None
    round: int | None = None
    actor: Actor | None = None
    compliance: Compliance | None = None
    supersedes: str | None = None


class Receipts:
    """Demands and keeps the receipts for one outbox."""

    def __init__(self, pool: ConnectionPool[Connection], source: Promising, box: Outbox) -> None:
        self._pool = pool
        self._source = source
        self._box = box

    def cover(self, producer: str, waiting: Sequence[Waiting]) -> Sequence[Waiting]:
        """Those first of the waiting entries that one kept receipt or more speak of.

        Where none does, one is demanded for all. What an earlier one speaks of goes first and
        alone: a log that lost it would take nothing that follows it.

        Raises:
            AuditError: the log is away, refuses an entry, or gives no receipt.
        """
        with self._pool.connection() as connection:
            promised_to = last_promised(connection, self._box.log, producer=producer)
        covered = [one for one in waiting if one.seq <= promised_to]
        if covered or not waiting:
            return covered
        sent_us = self._box.clock_us()
        note = self._source.promise([one.content for one in waiting])
        answered_us = self._box.clock_us()
        receipt = Receipt.parse(Note.parse(note).text)
        with self._pool.connection() as connection:
            keep(connection, self._box.log, receipt=receipt, note=note)
            if 0 <= answered_us - sent_us <= _LONGEST_TRIP_US:
                offset_us = receipt.received_us - (sent_us + answered_us) // 2
                keep_offset(connection, self._box.log, offset_us=offset_us, now_us=answered_us)
        return waiting

    def report_overdue(self) -> None:
        """Put on record, once for each, the receipts that fell due without an index."""
        with self._pool.connection() as connection:
            offset_us = outbox.clock_offset_us(connection, self._box.log) or 0
            now_us = self._box.clock_us() + offset_us
            for missed in overdue(connection, self._box.log, now_us=now_us):
                if _note_missed(connection, self._box.log, missed):
                    self._box.append(connection, _statement(missed))
                    _log.error(
                        "receipt overdue",
                        producer=missed.producer,
                        first_seq=missed.first_seq,
                        last_seq=missed.last_seq,
                        receipt=missed.digest,
                    )


def last_promised(connection: Connection, log: str, *, producer: str) -> int:
    """The highest number of a chain that a kept receipt speaks of; -1 before the first."""
    row = connection.execute(
        "SELECT coalesce(max(last_seq), -1) FROM outbox_receipt WHERE log = %s AND producer = %s",
        [log, producer],
    ).fetchone()
    return int(row[0]) if row else -1


def keep(connection: Connection, log: str, *, receipt: Receipt, note: str) -> None:
    """Keep a verified receipt; the first for a range counts."""
    numbers = [one.seq for one in receipt.promised]
    connection.execute(
        """
        INSERT INTO outbox_receipt (log, producer, first_seq, last_seq, deadline_us, note)
        VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        [log, receipt.producer, min(numbers), max(numbers), receipt.deadline_us, note],
    )


def keep_offset(connection: Connection, log: str, *, offset_us: int, now_us: int) -> None:
    """Keep how far this party's clock was found to be behind the log's."""
    connection.execute(
        """
        INSERT INTO outbox_clock (log, offset_us, measured_us) VALUES (%s, %s, %s)
        ON CONFLICT (log) DO UPDATE
        SET offset_us = excluded.offset_us, measured_us = excluded.measured_us
        """,
        [log, offset_us, now_us],
    )


def kept(connection: Connection, log: str, *, producer: str) -> list[str]:
    """The receipts kept for a chain, in order: what a party hands to a verifier."""
    rows = connection.execute(
        "SELECT note FROM outbox_receipt WHERE log = %s AND producer = %s ORDER BY first_seq",
        [log, producer],
    )
    return [note for (note,) in rows]


def overdue(connection: Connection, log: str, *, now_us: int) -> list[Overdue]:
    """The receipts that fell due before `now_us` without an index, and were not reported yet."""
    rows = connection.execute(
        """
        SELECT r.producer, r.first_seq, r.last_seq, r.deadline_us, r.note
        FROM outbox_receipt r
        LEFT JOIN outbox_overdue o USING (log, producer, first_seq)
        WHERE r.log = %(log)s AND r.deadline_us < %(now)s AND o.log IS NULL
            AND r.last_seq > (
                SELECT coalesce(max(d.seq), -1)
                FROM outbox_delivery d
                WHERE d.log = r.log AND d.producer = r.producer
            )
        ORDER BY r.producer, r.first_seq
        """,
        {"log": log, "now": now_us},
    )
    return [
        Overdue(producer, first, last, deadline_us, hashlib.sha256(note.encode()).hexdigest())
        for producer, first, last, deadline_us, note in rows
    ]


def _note_missed(connection: Connection, log: str, missed: Overdue) -> bool:
    """Note that a receipt is being reported; whether nobody else has."""
    done = connection.execute(
        """
        INSERT INTO outbox_overdue (log, producer, first_seq) VALUES (%s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        [log, missed.producer, missed.first_seq],
    )
    return done.rowcount == 1


def _statement(missed: Overdue) -> Missed:
    return Missed(
        {
            "producer": missed.producer,
            "first_seq": missed.first_seq,
            "last_seq": missed.last_seq,
            "deadline_us": missed.deadline_us,
            "receipt_digest": missed.digest,
        }
    )
