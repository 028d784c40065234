"""Search: entries by what they say about themselves, a page or a stream at a time.

The one rule: one search sees one state of the log, and says how far that state was searched. Values
are always parameters of the SQL; what may be asked for is the fields of `Search` and nothing else.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from audit.entry import Entry
from audit.searching.projection import projected_size

Connection = psycopg.Connection[Any]

_STREAMED = 500
"""Entries fetched at a time while streaming: at most 32 MiB of the longest."""


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for; what is none is not looked at."""

    type: str | None = None
    """A whole type, or the first words of one with a dot at the end: `privacy.`."""
    plan_id: str | None = None
    run_id: str | None = None
    round: int | None = None
    producer: str | None = None
    actor: str | None = None
    organisation: str | None = None
    outcome: int | None = None
    model: str | None = None
    """Digest of a model that the entry names anywhere."""
    site: str | None = None
    """A hospital that the entry names anywhere."""
    since_us: int | None = None
    until_us: int | None = None
    """Exclusive."""


@dataclass(frozen=True, slots=True)
class Page:
    """Entries found, in log order, and how far the log was searched."""

    entries: tuple[tuple[int, Entry], ...]
    scanned_to: int
    """Every entry below this index was looked at; the `after` of the next page is one less."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One entry as answers use it: its place, and what it says."""

    index: int
    time_us: int
    type: str
    producer: str
    organisation: str | None
    actor: str | None
    outcome: int
    plan_id: str | None
    run_id: str | None
    round: int | None
    body: dict[str, Any]

    def text(self, name: str) -> str | None:
        """A text in the body; none where there is none of this name, as in a body of another form.

        What a producer signed need not be of its kind; an answer shows what can be read of it.
        """
        value = self.body.get(name)
        return value if isinstance(value, str) else None

    def number(self, name: str) -> int | None:
        """An integer in the body, or none."""
        value = self.body.get(name)
        return value if type(value) is int else None

    def texts(self, name: str) -> tuple[str, ...]:
        """The texts of a list in the body, or nothing."""
        value = self.body.get(name)
        return (
            tuple(part for part in value if isinstance(part, str))
            if isinstance(value, list)
            else ()
        )

    def objects(self, name: str) -> tuple[dict[str, Any], ...]:
        """The objects of a list in the body, or nothing."""
        value = self.body.get(name)
        return (
            tuple(part for part in value if isinstance(part, dict))
            if isinstance(value, list)
            else ()
        )

    def inner(self, name: str) -> dict[str, Any]:
        """An object in the body, empty where there is none."""
        value = self.body.get(name)
        return value if isinstance(value, dict) else {}


def find(connection: Connection, wanted: Search, *, after: int = -1, limit: int = 100) -> Page:
    """The first `limit` entries beyond index `after` that `wanted` describes."""
    condition, values = _condition(wanted)
    query = sql.SQL(
        """
        SELECT e.idx, audit_content(e.idx)
        FROM audit_event e
        WHERE e.idx > %(after)s AND {condition}
        ORDER BY e.idx
        LIMIT %(limit)s
        """
    ).format(condition=condition)
    with snapshot(connection):
        scanned_to = projected_size(connection)
        rows = connection.execute(query, {**values, "after": after, "limit": limit}).fetchall()
    if len(rows) == limit:
        scanned_to = rows[-1][0] + 1
    return Page(tuple((index, Entry.parse(content)) for index, content in rows), scanned_to)


def latest(connection: Connection, wanted: Search, *, before: int | None, limit: int) -> Page:
    """The last `limit` entries below index `before` that `wanted` describes, the newest first."""
    condition, values = _condition(wanted)
    query = sql.SQL(
        """
        SELECT e.idx, audit_content(e.idx)
        FROM audit_event e
        WHERE (%(before)s::bigint IS NULL OR e.idx < %(before)s) AND {condition}
        ORDER BY e.idx DESC
        LIMIT %(limit)s
        """
    ).format(condition=condition)
    with snapshot(connection):
        scanned_to = projected_size(connection)
        rows = connection.execute(query, {**values, "before": before, "limit": limit}).fetchall()
    return Page(tuple((index, Entry.parse(content)) for index, content in rows), scanned_to)


def each(connection: Connection, wanted: Search, *, size: int) -> Iterator[tuple[int, Entry]]:
    """Index and entry of everything that `wanted` describes among the first `size`, in order.

    Fetched as it is used, in one transaction; the connection is busy until the end.
    """
    condition, values = _condition(wanted)
    query = sql.SQL(
        """
        SELECT e.idx, audit_content(e.idx)
        FROM audit_event e
        WHERE e.idx < %(size)s AND {condition}
        ORDER BY e.idx
        """
    ).format(condition=condition)
    with snapshot(connection), connection.cursor("desk_stream") as cursor:
        cursor.itersize = _STREAMED
        cursor.execute(query, {**values, "size": size})
        for index, content in cursor:
            yield index, Entry.parse(content)


def facts(
    connection: Connection,
    wanted: Search,
    types: tuple[str, ...] = (),
    *,
    limit: int | None = None,
) -> list[Fact]:
    """What every entry says that `wanted` describes, of these types where some are given.

    Where there is a limit, the first so many.
    """
    condition, values = _condition(wanted)
    query = sql.SQL(
        """
        SELECT e.idx, time_us, type, producer, organisation, actor, outcome,
            plan_id, run_id, round, facts
        FROM audit_event e
        WHERE {condition} AND (cardinality(%(types)s::text[]) = 0 OR type = ANY(%(types)s))
        ORDER BY e.idx
        LIMIT %(limit)s
        """
    ).format(condition=condition)
    rows = connection.execute(query, {**values, "types": list(types), "limit": limit})
    return [Fact(*row) for row in rows]


def types(connection: Connection, beginning: str) -> tuple[str, ...]:
    """The types with this beginning that the log has entries of, by one step of the index each."""
    rows = connection.execute(
        """
        WITH RECURSIVE known AS (
            SELECT min(type) AS type FROM audit_event
            UNION ALL
            SELECT (SELECT min(e.type) FROM audit_event e WHERE e.type > known.type)
            FROM known
            WHERE known.type IS NOT NULL
        )
        SELECT type FROM known WHERE starts_with(type, %s)
        """,
        [beginning],
    )
    return tuple(name for (name,) in rows)


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """A transaction that sees one state of the log and can write nothing.

    Inside another transaction it changes nothing.
    """
    is_outermost = connection.info.transaction_status is TransactionStatus.IDLE
    with connection.transaction():
        if is_outermost:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield


_CONDITIONS: dict[str, LiteralString] = {
    "plan_id": "e.plan_id = %(plan_id)s",
    "run_id": "e.run_id = %(run_id)s",
    "round": "e.round = %(round)s",
    "producer": "e.producer = %(producer)s",
    "actor": "e.actor = %(actor)s",
    "organisation": "e.organisation = %(organisation)s",
    "outcome": "e.outcome = %(outcome)s",
    "model": "e.models @> ARRAY[%(model)s::text]",
    "site": "e.sites @> ARRAY[%(site)s::text]",
    "since_us": "e.time_us >= %(since_us)s",
    "until_us": "e.time_us < %(until_us)s",
}


def _condition(wanted: Search) -> tuple[sql.Composable, dict[str, object]]:
    """The WHERE clause of a search, and its values."""
    values: dict[str, object] = {
        name: getattr(wanted, name) for name in _CONDITIONS if getattr(wanted, name) is not None
    }
    parts: list[sql.Composable] = [sql.SQL(_CONDITIONS[name]) for name in values]
    if wanted.type is not None:
        is_family = wanted.type.endswith(".")
        parts.append(sql.SQL("starts_with(e.type, %(type)s)" if is_family else "e.type = %(type)s"))
        values["type"] = wanted.type
    return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true"), values
