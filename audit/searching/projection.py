"""The projection: a searchable side of every entry, filled after the entries are durable.

The one rule: it holds nothing that the entries and the consortium file do not say, so it can be
dropped and filled again. It trails the log; every answer says how far it had been filled
(`scanned_to`). No entry, however odd, may keep it from going on.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psycopg
import structlog
from psycopg.types.json import Jsonb

from audit.entry import Entry
from audit.ordering import store
from audit.searching.oddities import note_oddities
from audit.selection import members_of, models_of

_CHUNK = 2000
"""Entries of one transaction: short enough that queries see progress, long enough to be cheap."""

_LOCK = 0x57415244_00000003
"""Advisory lock under which the projection is written, by the service or whoever rebuilds it."""

_LONGEST_KEY = 200
"""Characters of a text that is searched by. A longer one is no id of ours, and an index entry of
more than 2,700 bytes is refused by PostgreSQL."""

_SITE_MEMBERS = frozenset({"site", "sites", "participants", "signers"})

_COPY = """
COPY audit_event (idx, seq, time_us, round, outcome, type, producer, organisation, actor,
    plan_id, run_id, models, sites, facts)
FROM STDIN (FORMAT BINARY)
"""
_TYPES = ("int8", "int8", "int8", "int8", "int2", *["text"] * 6, "text[]", "text[]", "jsonb")

_log = structlog.get_logger("audit.searching.projection")


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


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the projection has got."""

    size: int
    is_stopped: bool
    """Whether the entry at this index cannot be projected."""


def projected_size(connection: psycopg.Connection) -> int:
    """How many entries have been projected."""
    row = connection.execute("SELECT coalesce(max(idx) + 1, 0) FROM audit_event").fetchone()
    return int(row[0]) if row else 0


def stopped_at(connection: psycopg.Connection) -> int | None:
    """The entry that cannot be projected, so that nothing from it on can be searched; else none."""
    row = connection.execute("SELECT min(idx) FROM audit_unprojected").fetchone()
    return row[0] if row else None


def project(
    connection: psycopg.Connection, organisations: Mapping[str, str], *, most: int = _CHUNK
) -> int:
    """Project the next entries, in a transaction of its own; how many have been projected then.

    `organisations` names each producer's.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        start = projected_size(connection)
        found = store.entries(connection, start=start, end=start + most)
        if not found:
            return start
        with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
            copy.set_types(_TYPES)
            for index, content in enumerate(found, start):
                copy.write_row(_row(index, Entry.parse(content), organisations))
        note_oddities(connection, start=start, end=start + len(found))
        connection.execute("DELETE FROM audit_unprojected")
    return start + len(found)


def project_again(connection: psycopg.Connection, organisations: Mapping[str, str]) -> int:
    """Empty the projection and fill it from the entries; how many there are.

    Until it is full again, answers say how far it has got.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute("TRUNCATE audit_event, audit_oddity")
    return project_all(connection, organisations)


def project_all(connection: psycopg.Connection, organisations: Mapping[str, str]) -> int:
    """Project whatever is not projected yet; how many entries there are then."""
    size = -1
    while (reached := project(connection, organisations)) > size:
        size = reached
    return size


def find(connection: psycopg.Connection, wanted: Filter, *, after: int, limit: int) -> Page:
    """The first `limit` entries beyond index `after` that `wanted` describes."""
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        scanned_to = projected_size(connection)
        rows = connection.execute(
            """
            SELECT idx
            FROM audit_event
            WHERE idx > %(after)s
                AND (%(type)s::text IS NULL OR type = %(type)s)
                AND (%(plan_id)s::text IS NULL OR plan_id = %(plan_id)s)
                AND (%(run_id)s::text IS NULL OR run_id = %(run_id)s)
                AND (%(producer)s::text IS NULL OR producer = %(producer)s)
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
        found = store.entries_at(connection, [index for (index,) in rows])
    if len(found) == limit:
        scanned_to = found[-1][0] + 1
    return Page(tuple(found), scanned_to)


def _row(index: int, entry: Entry, organisations: Mapping[str, str]) -> tuple[object, ...]:
    actor = entry.actor
    organisation = actor.organisation if actor else organisations.get(entry.producer)
    named = members_of(entry.body)
    sites = {text for name, text in named if name in _SITE_MEMBERS and _as_key(text)}
    return (
        index,
        entry.seq,
        entry.time_us,
        entry.round,
        entry.outcome,
        entry.type,
        entry.producer,
        _as_key(organisation),
        actor.id if actor else None,
        _as_key(entry.plan_id),
        _as_key(entry.run_id),
        sorted(models_of(entry.body)),
        sorted(sites),
        Jsonb(_storable(entry.body)),
    )


def _as_key(text: str | None) -> str | None:
    """The text, where it can be an id that somebody searches by."""
    if text is None or len(text) > _LONGEST_KEY or "\0" in text:
        return None
    return text


def _storable(value: Any) -> Any:
    """The value without NUL, which PostgreSQL's jsonb cannot hold."""
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, list):
        return [_storable(part) for part in value]
    if isinstance(value, dict):
        return {name.replace("\0", "\ufffd"): _storable(part) for name, part in value.items()}
    return value


def project_next(connection: psycopg.Connection, organisations: Mapping[str, str]) -> Progress:
    """Project the next entries; where one cannot be, those before it, and note which it is.

    Raises:
        psycopg.OperationalError: the database is away.
    """
    try:
        return Progress(project(connection, organisations), is_stopped=False)
    except psycopg.OperationalError:
        raise
    except Exception:  # noqa: BLE001 - which entry it is, and what is wrong with it, is found below
        return _project_up_to_fault(connection, organisations)


def _project_up_to_fault(
    connection: psycopg.Connection, organisations: Mapping[str, str]
) -> Progress:
    size = projected_size(connection)
    connection.commit()
    while True:
        try:
            reached = project(connection, organisations, most=1)
        except psycopg.OperationalError:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever it is, it is said, and tried again
            _log.exception("an entry cannot be projected; nothing beyond can be searched", idx=size)
            connection.execute(
                """
                INSERT INTO audit_unprojected (idx, fault) VALUES (%s, %s)
                ON CONFLICT DO NOTHING
                """,
                [size, type(fault).__name__],
            )
            connection.commit()
            return Progress(size, is_stopped=True)
        if reached == size:
            return Progress(size, is_stopped=False)
        size = reached
