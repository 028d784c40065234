"""Payloads in PostgreSQL: what entries commit to, beside the tree, each until it is removed.

The one rule: a payload is kept whole, with the salt that opens its commitment, or its row says by
which proposal it was emptied. Functions take a connection and leave transactions to their caller,
so that any log in any database can have its payloads beside it. Who may hand in, read or remove is
decided elsewhere; the tables refuse what nobody decided.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import psycopg

from audit.commitment import Opening, spell
from audit.entry import Entry
from audit.payloads.errors import PayloadRemovedError, RecordsConflictError, UnknownRecordError

MAX_PAYLOAD_BYTES = 65_536
"""As long as an entry may be: who has more to keep commits to its digest."""

DEFAULT_RETENTION = "default"
"""Retention class of what an entry commits to without naming one."""

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class Payload:
    """One payload, without what is in it."""

    commitment: bytes
    event_id: str
    """The entry that commits to it; what follows is copied from there."""
    producer: str
    type: str
    plan_id: str | None
    run_id: str | None
    time_us: int
    retention: str
    """Name of its retention class."""
    media_type: str
    received_us: int
    removed_by: str | None = None
    """The proposal on whose confirmation it was emptied."""

    @classmethod
    def of(cls, entry: Entry, commitment: bytes, *, media_type: str, received_us: int) -> Self:
        """The payload of one of an entry's commitments."""
        named = entry.compliance.retention if entry.compliance else None
        return cls(
            commitment=commitment,
            event_id=entry.event_id,
            producer=entry.producer,
            type=entry.type,
            plan_id=entry.plan_id,
            run_id=entry.run_id,
            time_us=entry.time_us,
            retention=named or DEFAULT_RETENTION,
            media_type=media_type,
            received_us=received_us,
        )

    @property
    def kept_from_us(self) -> int:
        """When its retention period began: the later of entry and receipt.

        An entry may be old and a clock may be set back; neither shortens the period.
        """
        return max(self.time_us, self.received_us)


_COLUMNS = """
commitment, event_id::text, producer, type, plan_id, run_id, time_us, retention, media_type,
received_us, removed_by::text
"""


def read_entry(connection: Connection, event_id: str) -> Entry | None:
    """The log's entry with this event id, or none."""
    row = connection.execute("SELECT audit_content(audit_index(%s::uuid))", [event_id]).fetchone()
    return Entry.parse(bytes(row[0])) if row and row[0] else None


def commits_to(entry: Entry, commitment: bytes) -> bool:
    """Whether some text in the entry's body is this commitment."""
    return spell(commitment) in _texts(entry.body)


def keep(connection: Connection, payload: Payload, opening: Opening) -> bool:
    """Keep a payload with its salt; whether it was not kept before.

    Raises:
        PayloadRemovedError: it was removed; what two persons removed does not come back.
        RecordsConflictError: it is kept for another entry.
    """
    kept = connection.execute(
        """
        INSERT INTO audit_payload (
            commitment, event_id, producer, type, plan_id, run_id, time_us, retention, media_type,
            received_us, salt, content
        ) VALUES (%s, %s::uuid, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT (commitment) DO NOTHING
        """,
        [
            payload.commitment,
            payload.event_id,
            payload.producer,
            payload.type,
            payload.plan_id,
            payload.run_id,
            payload.time_us,
            payload.retention,
            payload.media_type,
            payload.received_us,
            opening.salt,
            opening.payload,
        ],
    ).rowcount
    if not kept:
        _check_same(find(connection, payload.commitment), payload)
    return bool(kept)


def find(connection: Connection, commitment: bytes) -> Payload:
    """A payload, kept or removed, without what is in it.

    Raises:
        UnknownRecordError: nothing was ever handed in for this commitment.
    """
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM audit_payload WHERE commitment = %s",  # noqa: S608 - constant
        [commitment],
    ).fetchone()
    if row is None:
        raise UnknownRecordError(f"no payload was handed in for {spell(commitment)}")
    return Payload(*row)


def find_several(connection: Connection, commitments: list[bytes]) -> list[Payload]:
    """The payloads of these commitments that are known here, in the order of the commitments."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM audit_payload "  # noqa: S608 - constant
        "WHERE commitment = ANY(%s) ORDER BY commitment",
        [commitments],
    )
    return [Payload(*row) for row in rows]


def open_payload(connection: Connection, commitment: bytes) -> Opening:
    """The salt and the payload of a commitment.

    Raises:
        UnknownRecordError: nothing was ever handed in for it.
        PayloadRemovedError: it was removed.
    """
    row = connection.execute(
        "SELECT salt, content, removed_by::text FROM audit_payload WHERE commitment = %s",
        [commitment],
    ).fetchone()
    if row is None:
        raise UnknownRecordError(f"no payload was handed in for {spell(commitment)}")
    if row[2] is not None:
        raise PayloadRemovedError(f"{spell(commitment)}: removed on proposal {row[2]}")
    opening = Opening(bytes(row[0]), bytes(row[1]))
    opening.verify(commitment)
    return opening


def find_kept_before(
    connection: Connection, retention: str, *, before_us: int, limit: int
) -> list[Payload]:
    """Payloads of a retention class kept since before a moment, oldest first, under no hold."""
    rows = connection.execute(
        f"""
        SELECT {_COLUMNS} FROM audit_payload p
        WHERE removed_by IS NULL AND retention = %s AND greatest(time_us, received_us) <= %s
            AND records_hold_on(p) IS NULL
        ORDER BY greatest(time_us, received_us), commitment
        LIMIT %s
        """,  # noqa: S608 - constant
        [retention, before_us, limit],
    )
    return [Payload(*row) for row in rows]


def count_by_retention(connection: Connection) -> dict[str, int]:
    """How many payloads of each retention class are kept."""
    rows = connection.execute(
        """
        SELECT retention, count(*) FROM audit_payload
        WHERE removed_by IS NULL
        GROUP BY retention ORDER BY retention
        """
    )
    return dict(rows.fetchall())


def newest_us(connection: Connection) -> int:
    """When the last payload came; 0 before the first."""
    row = connection.execute("SELECT coalesce(max(received_us), 0) FROM audit_payload").fetchone()
    return int(row[0]) if row else 0


def empty(connection: Connection, proposal: str) -> int:
    """Remove salt and content of what a confirmed proposal names; how many there were."""
    row = connection.execute("SELECT audit_empty_payloads(%s::uuid)", [proposal]).fetchone()
    return int(row[0]) if row else 0


def sweep(connection: Connection) -> bool:
    """Write the table's files anew, without the bytes of what was emptied; whether it was done.

    In a transaction of its own, which waits three seconds at most for those who use the table. What
    stays in the write-ahead log, replicas and backups is their operator's to remove.
    """
    try:
        with connection.transaction():
            connection.execute("SELECT audit_sweep_payloads()")
    except psycopg.errors.LockNotAvailable:
        return False
    return True


def _check_same(known: Payload, offered: Payload) -> None:
    if known.removed_by is not None:
        raise PayloadRemovedError(
            f"{spell(known.commitment)}: removed on proposal {known.removed_by}; "
            "what two persons removed is not taken back"
        )
    if known.event_id != uuid_text(offered.event_id):
        raise RecordsConflictError(
            f"{spell(known.commitment)} is kept for event {known.event_id}; "
            "draw a fresh salt for each entry"
        )


def uuid_text(text: str) -> str:
    """An id as the database spells it."""
    return str(uuid.UUID(text))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
