"""Pages of a FHIR search: found in the database, proven under one checkpoint, put into a Bundle.

The one rule: what the database narrows is looked at again as the resource that is shown, so that a
search means what FHIR says and not what a column happens to hold. A page may be short and still
have a next one: a search looks at a bounded number of entries at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, LiteralString
from urllib.parse import urlencode

import psycopg
from psycopg import sql

from audit.desk.desk import Desk
from audit.desk.fhir.resource import Placed, Resource, audit_event
from audit.desk.fhir.search import Criteria, Cursor, Narrowed
from audit.desk.reading import Reading, Standing
from audit.desk.search import snapshot
from audit.entry import Entry
from audit.proof import format_proof

_BATCH = 500
_LOOKED_AT = 10_000
"""Entries that one page looks at: some tenths of a second."""

_CONDITIONS: dict[str, LiteralString] = {
    "since_us": "e.time_us >= %(since_us)s",
    "until_us": "e.time_us < %(until_us)s",
    "type": "e.type = %(type)s",
    "producer": "e.producer = %(producer)s",
    "actor": "e.actor = %(actor)s",
    "outcome": "e.outcome = %(outcome)s",
    "event_id": "e.idx = audit_index(%(event_id)s::uuid)",
}

Connection = psycopg.Connection[Any]


@dataclass(frozen=True, slots=True)
class FhirPage:
    """One page of a search."""

    resources: tuple[Resource, ...]
    next: Cursor | None
    """Where the next page begins, none where everything was looked at."""


def resource_of(reading: Reading, name: str) -> Resource:
    """The `AuditEvent` of an entry, by event id or index.

    Raises:
        UnknownEntryError: the log holds no such entry.
    """
    index, entry = reading.entry(name)
    return _placed(reading, index, entry, standing=reading.standing(index + 1))


def find_resources(desk: Desk, criteria: Criteria) -> FhirPage:
    """The next page of what the criteria describe."""
    with desk.pool.connection() as connection, snapshot(connection):
        found, after = _look(connection, criteria)
        reach = max((index + 1 for index, _ in found), default=0)
        if not found:
            return FhirPage((), after)
        standing = desk.reading.standing_in(connection, reach)
    resources = (_placed(desk.reading, index, entry, standing=standing) for index, entry in found)
    return FhirPage(tuple(resources), after)


def bundle(
    page: FhirPage, criteria: Criteria, *, url: str, warning: Resource | None = None
) -> Resource:
    """The searchset of a page; `url` is the address of `AuditEvent`, without a query.

    `Bundle.total` is left out: to count is to look at everything.
    """
    links = [{"relation": "self", "url": _link(url, criteria.understood)}]
    if page.next is not None:
        asked = [(name, value) for name, value in criteria.understood if name != "_cursor"]
        links.append({"relation": "next", "url": _link(url, [*asked, ("_cursor", str(page.next))])})
    entries: list[Resource] = [
        {"fullUrl": f"{url}/{resource['id']}", "resource": resource, "search": {"mode": "match"}}
        for resource in page.resources
    ]
    if warning is not None:
        entries.append({"resource": warning, "search": {"mode": "outcome"}})
    value: Resource = {"resourceType": "Bundle", "type": "searchset", "link": links}
    return {**value, "entry": entries} if entries else value


def _placed(reading: Reading, index: int, entry: Entry, *, standing: Standing) -> Resource:
    hashes = reading.inclusion(index, standing.size)
    return audit_event(Placed(index, entry, format_proof(index, hashes, standing.note)))


def _look(
    connection: Connection, criteria: Criteria
) -> tuple[list[tuple[int, Entry]], Cursor | None]:
    """What was found, and where to go on; none where everything has been looked at."""
    found: list[tuple[int, Entry]] = []
    after = criteria.after
    for _ in range(_LOOKED_AT // _BATCH):
        rows = _batch(connection, criteria, after)
        for index, time_us, content in rows:
            after = Cursor(time_us, index)
            entry = Entry.parse(content)
            if criteria.describe(audit_event(Placed(index, entry, ""))):
                found.append((index, entry))
            if len(found) == criteria.count:
                return found, after
        if len(rows) < _BATCH:
            return found, None
    return found, after


def _batch(
    connection: Connection, criteria: Criteria, after: Cursor | None
) -> list[tuple[int, int, bytes]]:
    values = dict(_narrowed(criteria.narrow()))
    parts: list[sql.Composable] = [sql.SQL(_CONDITIONS[name]) for name in values]
    if after is not None:
        beyond = "<" if criteria.newest_first else ">"
        parts.append(sql.SQL(f"(e.time_us, e.idx) {beyond} (%(after_us)s, %(after)s)"))
        values |= {"after_us": after.time_us, "after": after.index}
    query = sql.SQL(
        """
        SELECT e.idx, e.time_us, audit_content(e.idx)
        FROM audit_event e
        WHERE {condition}
        ORDER BY e.time_us {order}, e.idx {order}
        LIMIT %(limit)s
        """
    ).format(
        condition=sql.SQL(" AND ").join(parts) if parts else sql.SQL("true"),
        order=sql.SQL("DESC" if criteria.newest_first else "ASC"),
    )
    return connection.execute(query, {**values, "limit": _BATCH}).fetchall()


def _narrowed(narrowed: Narrowed) -> Iterator[tuple[str, object]]:
    for name in _CONDITIONS:
        value = getattr(narrowed, name)
        if value is not None:
            yield name, value


def _link(url: str, parameters: list[tuple[str, str]]) -> str:
    return f"{url}?{urlencode(parameters)}" if parameters else url
