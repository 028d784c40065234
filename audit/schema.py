"""Tables: numbered SQL files, each carried out once and never edited after.

The one rule: what a database was built from is written in it, with the digest of each file, and a
file that has changed since is refused. A party installs only the parts it uses: `log`, `outbox`,
`witness`.
"""

import hashlib
from enum import StrEnum
from pathlib import Path

import psycopg
from psycopg import sql

from audit.errors import AuditError

_FOLDER = Path(__file__).parent / "migrations"

_LOCK = 0x57415244_00000001
"""Advisory lock under which tables are made, so that two processes starting at once take turns."""


class SchemaError(AuditError):
    """The database was built from other files than these."""


class Part(StrEnum):
    """A group of tables that belong together."""

    LOG = "log"
    OUTBOX = "outbox"
    WITNESS = "witness"


def install(connection: psycopg.Connection, part: Part) -> None:
    """Carry out the files of `part` that the database has not seen yet, in one transaction.

    Raises:
        SchemaError: a file was edited after it had been carried out here.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        connection.execute(_BOOK)
        connection.execute(_BOOK_COMMENT)
        rows = connection.execute("SELECT name, digest FROM audit_migration")
        known: dict[str, str] = dict(rows.fetchall())
        for name, text in _files(part):
            digest = hashlib.sha256(text.encode()).hexdigest()
            if name in known:
                _check_unchanged(name, found=digest, recorded=known[name])
                continue
            connection.execute(sql.SQL(text))
            connection.execute(
                "INSERT INTO audit_migration (name, digest) VALUES (%s, %s)", [name, digest]
            )


_BOOK = """
CREATE TABLE IF NOT EXISTS audit_migration (
    name text PRIMARY KEY,
    digest text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

_BOOK_COMMENT = """
COMMENT ON TABLE audit_migration IS
    'Which files built this database. Written when a party''s process starts and finds one missing.'
"""


def _files(part: Part) -> list[tuple[str, str]]:
    found = sorted(_FOLDER.glob(f"{part}_*.sql"))
    return [(file.name, file.read_text(encoding="utf-8")) for file in found]


def _check_unchanged(name: str, *, found: str, recorded: str) -> None:
    if found != recorded:
        raise SchemaError(
            f"{name}: this file has digest {found[:12]}, the database was built with "
            f"{recorded[:12]}; add a new numbered file and leave the old one as it was"
        )
