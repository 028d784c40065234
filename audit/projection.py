"""The projection: a few columns of every entry to search by, filled after the entries are durable.

The one rule: it holds nothing that the entries do not say, so it can be dropped and filled again.
It trails the log; every answer says how far it had been filled (`scanned_to`).
"""

import threading
import time
from dataclasses import dataclass

import psycopg
import structlog
from psycopg_pool import ConnectionPool

from audit import store
from audit.entry import Entry
from audit.watermarks import Mark, Watermarks

_CHUNK = 2000
"""Entries of one transaction: short enough that queries see progress, long enough to be cheap."""

_RETRY_S = 0.5
_IDLE_S = 60.0

_log = structlog.get_logger("audit.projection")


@dataclass(frozen=True, slots=True)
class Filter:
    """What to look for; what is none is not looked at."""

    type: str | None = None
    plan_id: str | None = None
    run_id: str | None = None
    producer: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Entries found, in log order, and how far the log was searched."""

    entries: tuple[tuple[int, bytes], ...]
    scanned_to: int
    """Every entry below this index was looked at; the `after` of the next page is one less."""


def projected_size(connection: psycopg.Connection) -> int:
    """How many entries have been projected."""
    row = connection.execute("SELECT coalesce(max(idx) + 1, 0) FROM audit_event").fetchone()
    return int(row[0]) if row else 0


def project(connection: psycopg.Connection) -> int:
    """Project the next entries, in a transaction of its own; how many have been projected then."""
    with connection.transaction():
        start = projected_size(connection)
        found = store.entries(connection, start=start, end=start + _CHUNK)
        with connection.cursor() as cursor:
            cursor.executemany(
                """
                INSERT INTO audit_event (idx, type, producer, time_us, plan_id, run_id, round)
                VALUES (%s, %s, %s, %s, %s, %s, %s)
                """,
                [_row(index, content) for index, content in enumerate(found, start)],
            )
    return start + len(found)


def find(connection: psycopg.Connection, wanted: Filter, *, after: int, limit: int) -> Page:
    """The first `limit` entries beyond index `after` that `wanted` describes."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        scanned_to = projected_size(connection)
        rows = connection.execute(
            """
            SELECT idx, content
            FROM audit_event JOIN audit_entry USING (idx)
            WHERE idx > %(after)s
                AND (%(type)s::text IS NULL OR type = %(type)s)
                AND (%(plan_id)s::text IS NULL OR plan_id = %(plan_id)s)
                AND (%(run_id)s::text IS NULL OR run_id = %(run_id)s)
                AND (%(producer)s::text IS NULL OR audit_event.producer = %(producer)s)
            ORDER BY idx
            LIMIT %(limit)s
            """,
            {
                "after": after,
                "limit": limit,
                "type": wanted.type,
                "plan_id": wanted.plan_id,
                "run_id": wanted.run_id,
                "producer": wanted.producer,
            },
        ).fetchall()
    if len(rows) == limit:
        scanned_to = rows[-1][0] + 1
    return Page(tuple(rows), scanned_to)


def _row(index: int, content: bytes) -> tuple[object, ...]:
    entry = Entry.parse(content)
    return (
        index,
        entry.type,
        entry.producer,
        entry.time_us,
        entry.plan_id,
        entry.run_id,
        entry.round,
    )


class Projector:
    """A thread that keeps the projection close behind the log."""

    def __init__(self, pool: ConnectionPool, watermarks: Watermarks) -> None:
        self._pool = pool
        self._watermarks = watermarks
        self._thread = threading.Thread(target=self._run, name="projector", daemon=True)

    def start(self) -> None:
        """Begin; the thread ends when the watermarks close."""
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended, if it was started."""
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        projected = 0
        while not self._watermarks.is_closed:
            try:
                with self._pool.connection() as connection:
                    projected = project(connection)
            except psycopg.OperationalError as fault:
                _log.warning("projection waits for the database", fault=str(fault).strip())
                time.sleep(_RETRY_S)
                continue
            self._watermarks.advance(Mark.PROJECTED, projected)
            self._watermarks.wait_beyond(Mark.SIGNED, projected, timeout_s=_IDLE_S)
