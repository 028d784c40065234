"""The outbox: a party's signed entries, in the transaction of the change they record.

The one rule: the change and its entry commit together or not at all. The entry is numbered and
signed under the lock of its chain's head, so one party's processes never sign two entries in one
place. Delivery is the relay's business.
"""

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import psycopg

from audit import schema
from audit.entry import Entry, Place, Statement, sign_entry
from audit.errors import EvidenceError
from audit.ids import RANDOM_BYTES, uuid7
from audit.merkle import leaf_hash
from audit.note import Signer

CONSORTIUM = "consortium"
"""The name of the consortium's log in an outbox."""

CHANNEL = "audit_outbox"
"""PostgreSQL notification by which a commit wakes the relay."""

Connection = psycopg.Connection[tuple[Any, ...]]


def install(connection: Connection) -> None:
    """Make the outbox's tables in a party's own database, where they are missing."""
    schema.install(connection, schema.Part.OUTBOX)


@dataclass(frozen=True, slots=True)
class Outbox:
    """Signs what one party says to one log."""

    signer: Signer
    clock_us: Callable[[], int]
    random_bytes: Callable[[int], bytes]
    origin: str
    """Name of the log as its own checkpoints give it; every entry says which log it is for."""
    log: str = CONSORTIUM
    """Which log the entries are for; each has a chain of its own."""

    def append(self, connection: Connection, statement: Statement) -> bytes:
        """Sign `statement` and keep it, in the caller's transaction; the entry's bytes.

        Until the caller commits, others who append to the same chain wait.

        Raises:
            EntryError: the statement is malformed or too long for an entry.
            CanonicalError: its body has no canonical form.
        """
        producer = self.signer.name
        seq, prev = _lock_head(connection, self.log, producer)
        time_us = self.clock_us()
        event_id = uuid7(time_us, self.random_bytes(RANDOM_BYTES))
        offset_us = clock_offset_us(connection, self.log)
        place = Place(self.origin, event_id, time_us, seq, prev.hex(), offset_us)
        entry = sign_entry(statement, self.signer, place)
        connection.execute(
            """
            INSERT INTO outbox_entry (log, producer, seq, event_id, content)
            VALUES (%s, %s, %s, %s, %s)
            """,
            [self.log, producer, seq, uuid.UUID(event_id), entry],
        )
        connection.execute(
            "UPDATE outbox_head SET seq = %s, leaf = %s WHERE log = %s AND producer = %s",
            [seq, leaf_hash(entry), self.log, producer],
        )
        connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, self.log])
        return entry


def restore(connection: Connection, log: str, *, producer: str, entries: Iterable[bytes]) -> int:
    """Put the lost end of a chain back, from its first entry or any later one; how many were lost.

    The caller has verified the signatures.

    Raises:
        EvidenceError: an entry is not the next of the chain, or another one stands in its place.
    """
    following, leaf = _lock_head(connection, log, producer)
    first = following
    for content in entries:
        entry = Entry.parse(content)
        if entry.producer == producer and entry.seq < first:
            if find(connection, log, producer=producer, seq=entry.seq) != content:
                raise EvidenceError(
                    f"this database has another entry {entry.seq} of {producer}: it has begun a "
                    "chain of its own; restore into an empty database, or an older copy of this one"
                )
            continue
        if (entry.producer, entry.seq, entry.prev) != (producer, following, leaf.hex()):
            raise EvidenceError(
                f"entry {entry.seq} is not the next one of {producer}, which is {following}: the "
                "copy leaves something out, or is of another chain"
            )
        connection.execute(
            """
            INSERT INTO outbox_entry (log, producer, seq, event_id, content)
            VALUES (%s, %s, %s, %s, %s)
            """,
            [log, producer, entry.seq, uuid.UUID(entry.event_id), content],
        )
        following, leaf = following + 1, leaf_hash(content)
    connection.execute(
        "UPDATE outbox_head SET seq = %s, leaf = %s WHERE log = %s AND producer = %s",
        [following - 1, leaf, log, producer],
    )
    connection.execute("SELECT pg_notify(%s, %s)", [CHANNEL, log])
    return following - first


def clock_offset_us(connection: Connection, log: str) -> int | None:
    """How far this party's clock is behind the log's, as last measured; none where never."""
    row = connection.execute("SELECT offset_us FROM outbox_clock WHERE log = %s", [log]).fetchone()
    return None if row is None else int(row[0])


def _lock_head(connection: Connection, log: str, producer: str) -> tuple[int, bytes]:
    """Number of the chain's next entry and leaf hash of its last; the chain stays locked."""
    connection.execute(
        """
        INSERT INTO outbox_head (log, producer, seq, leaf) VALUES (%s, %s, -1, '')
        ON CONFLICT DO NOTHING
        """,
        [log, producer],
    )
    row = connection.execute(
        "SELECT seq, leaf FROM outbox_head WHERE log = %s AND producer = %s FOR UPDATE",
        [log, producer],
    ).fetchone()
    if row is None:
        raise RuntimeError(f"the head of {producer}'s chain vanished while it was being locked")
    return row[0] + 1, row[1]


@dataclass(frozen=True, slots=True)
class Waiting:
    """One entry that its log has not confirmed."""

    seq: int
    content: bytes


def producers(connection: Connection, log: str) -> list[str]:
    """The producers that have written for a log."""
    rows = connection.execute(
        "SELECT producer FROM outbox_head WHERE log = %s ORDER BY producer", [log]
    )
    return [producer for (producer,) in rows]


def waiting(connection: Connection, log: str, *, producer: str, limit: int) -> list[Waiting]:
    """The next entries of a chain that are not confirmed, in order."""
    rows = connection.execute(
        """
        SELECT seq, content
        FROM outbox_entry
        WHERE log = %(log)s AND producer = %(producer)s AND seq > (
            SELECT coalesce(max(seq), -1)
            FROM outbox_delivery
            WHERE log = %(log)s AND producer = %(producer)s
        )
        ORDER BY seq
        LIMIT %(limit)s
        """,
        {"log": log, "producer": producer, "limit": limit},
    )
    return [Waiting(seq, content) for seq, content in rows]


def last_index(connection: Connection, log: str, *, producer: str) -> int:
    """The highest index that a log has confirmed for a chain; -1 before the first."""
    row = connection.execute(
        "SELECT coalesce(max(idx), -1) FROM outbox_delivery WHERE log = %s AND producer = %s",
        [log, producer],
    ).fetchone()
    return int(row[0]) if row else -1


def last_entry(connection: Connection, log: str, *, producer: str) -> bytes | None:
    """The bytes of the last entry of a chain; none before the first."""
    row = connection.execute(
        """
        SELECT content FROM outbox_entry WHERE log = %s AND producer = %s
        ORDER BY seq DESC LIMIT 1
        """,
        [log, producer],
    ).fetchone()
    return bytes(row[0]) if row else None


def find(connection: Connection, log: str, *, producer: str, seq: int) -> bytes | None:
    """The bytes of one entry of a chain; none where this database does not hold it."""
    row = connection.execute(
        "SELECT content FROM outbox_entry WHERE log = %s AND producer = %s AND seq = %s",
        [log, producer, seq],
    ).fetchone()
    return bytes(row[0]) if row else None


def confirm(
    connection: Connection, log: str, *, producer: str, delivered: list[tuple[int, int]]
) -> None:
    """Note the index that the log gave to each entry, by number in the chain; once is enough."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """
            INSERT INTO outbox_delivery (log, producer, seq, idx) VALUES (%s, %s, %s, %s)
            ON CONFLICT DO NOTHING
            """,
            [(log, producer, seq, index) for seq, index in delivered],
        )
