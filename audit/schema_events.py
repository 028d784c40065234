"""The schema on the record: with which tables the log's database was built, and when that changed.

The one rule: the digest of every file that built the log's tables is an entry of the log itself,
written by the audit member when the service meets a database whose last such entry says another.
The files are those that the database remembers, not those that lie beside this program.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from audit.canonical import canonical_json
from audit.entry import Actor, Compliance, Entry, Outcome
from audit.outbox import Outbox

SCHEMA_CHANGED = "log.schema_changed"

Connection = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class SchemaChanged:
    """The tables of the log are other ones than before."""

    body: dict[str, Any]
    type: str = SCHEMA_CHANGED
    plan_id: str | None = None
    run_id: str | None = None
    round: int | None = None
    actor: Actor | None = None
    outcome: int = Outcome.SUCCESS
    compliance: Compliance | None = None
    supersedes: str | None = None


def note_schema(pool: ConnectionPool[Connection], outbox: Outbox) -> Entry | None:
    """Put the schema's digest on the record where the last entry about it says another.

    The entry; none where nothing has changed. Only the log's own process may call it: two at once
    could both find the old one.
    """
    with pool.connection() as connection:
        files = _files(connection)
        digest = "sha256:" + hashlib.sha256(canonical_json(files)).hexdigest()
        last = _last(connection, outbox)
        before = None if last is None else last.body["new_digest"]
        if before == digest:
            return None
        body = {"old_digest": before, "new_digest": digest, "files": files}
        return Entry.parse(outbox.append(connection, SchemaChanged(body)))


def _files(connection: Connection) -> list[dict[str, str]]:
    """Name and digest of every file that built the log's tables, by name."""
    rows = connection.execute(
        """
        SELECT name, digest
        FROM audit_migration
        WHERE name LIKE 'log\\_%'
        ORDER BY name COLLATE "C"
        """
    )
    return [{"name": name, "digest": f"sha256:{digest}"} for name, digest in rows]


def _last(connection: Connection, outbox: Outbox) -> Entry | None:
    """The audit member's last entry about the schema.

    Looked for by its type as the canonical form spells it; a body could spell the same, so what is
    found is read. Once at a start, over the entries of one member.
    """
    rows = connection.execute(
        """
        SELECT content
        FROM outbox_entry
        WHERE log = %s AND producer = %s AND position(%s IN content) > 0
        ORDER BY seq DESC
        """,
        [outbox.log, outbox.signer.name, f'"type":"{SCHEMA_CHANGED}"'.encode()],
    )
    found = (Entry.parse(bytes(content)) for (content,) in rows)
    return next((entry for entry in found if entry.type == SCHEMA_CHANGED), None)
