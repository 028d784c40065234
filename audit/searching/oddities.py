"""Oddities: what only shows when an entry is held against those before it, noted once.

The one rule: each entry is looked at once, with the last one of its producer and the latest time
before it, so that a log of millions answers as fast as a short one. What they mean is not known
here; like the projection, they can be dropped and found again.
"""

from enum import StrEnum

import psycopg

LATE_US = 3_600_000_000
"""An entry dated an hour before one that stands before it came late: an outbox waits seconds."""


class Oddity(StrEnum):
    """What is odd about an entry."""

    GAP = "gap"
    """Its number does not follow that of its producer's entry before it."""
    LATE = "late"
    """It is dated long before an entry that stands before it."""
    CLOCK = "clock"
    """It is dated before its producer's own entry before it."""


def note_oddities(connection: psycopg.Connection, *, start: int, end: int) -> None:
    """Note what is odd about the projected entries from `start` to `end`, which were not looked at.

    In the caller's transaction, which projected them.
    """
    connection.execute(_NOTE, {"start": start, "end": end, "late_us": LATE_US})


_NOTE = """
WITH fresh AS MATERIALIZED (
    SELECT idx, producer, seq, time_us
    FROM audit_event
    WHERE idx >= %(start)s AND idx < %(end)s
), earlier AS (
    SELECT last.idx, last.producer, last.seq, last.time_us
    FROM (SELECT DISTINCT producer FROM fresh) AS named,
        LATERAL (
            SELECT idx, producer, seq, time_us
            FROM audit_event
            WHERE audit_event.producer = named.producer AND idx < %(start)s
            ORDER BY idx DESC
            LIMIT 1
        ) AS last
), chained AS (
    SELECT idx, producer, seq, time_us,
        lag(idx) OVER chain AS last_idx,
        lag(seq, 1, -1) OVER chain AS last_seq,
        lag(time_us) OVER chain AS last_us
    FROM (SELECT * FROM fresh UNION ALL SELECT * FROM earlier) AS both_parts
    WINDOW chain AS (PARTITION BY producer ORDER BY idx)
), latest AS (
    SELECT max(time_us) AS time_us
    FROM (
        SELECT time_us FROM audit_event WHERE idx < %(start)s ORDER BY time_us DESC LIMIT 1
    ) AS one
), dated AS (
    SELECT idx, producer, time_us,
        greatest(max(time_us) OVER (ORDER BY idx), (SELECT time_us FROM latest)) AS latest_us
    FROM fresh
)
INSERT INTO audit_oddity (kind, idx, producer, time_us, last_idx, amount)
SELECT 'gap', idx, producer, time_us, last_idx, seq - last_seq - 1
FROM chained
WHERE idx >= %(start)s AND seq <> last_seq + 1
UNION ALL
SELECT 'clock', idx, producer, time_us, last_idx, last_us - time_us
FROM chained
WHERE idx >= %(start)s AND time_us < last_us
UNION ALL
SELECT 'late', idx, producer, time_us, NULL, latest_us - time_us
FROM dated
WHERE latest_us - time_us > %(late_us)s
"""
