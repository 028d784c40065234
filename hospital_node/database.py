"""This hospital's own PostgreSQL database: its tables and its pool of connections.

The one rule: what happened and the entry that says so go through one transaction of this database.
"""

from importlib.resources import files
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

import hospital_node.imaging.index as images
from audit import schema
from hospital_node.errors import ConfigurationError
from hospital_node.imaging import outlines, reports

Connection = psycopg.Connection[tuple[Any, ...]]

_SCHEMAS = ("ledger.sql", "node.sql", "review/review.sql")


def prepare(dsn: str) -> None:
    """Create this hospital's tables where they are missing.

    Raises:
        ConfigurationError: the server does not answer or does not let this node in.
    """
    try:
        with psycopg.connect(dsn) as connection, connection.transaction():
            # The lock that the first part takes is held to the end: processes start side by side.
            for part in (schema.Part.LOG, schema.Part.OUTBOX, schema.Part.WITNESS):
                schema.install(connection, part)
            images.prepare(connection)
            reports.prepare(connection)
            outlines.prepare(connection)
            for name in _SCHEMAS:
                connection.execute(files("hospital_node").joinpath(name).read_bytes())
    except psycopg.OperationalError as cause:
        raise ConfigurationError(
            f"database.dsn: PostgreSQL cannot be used: {str(cause).strip()}; "
            "check that the server runs and that the DSN names its host, port, user and database"
        ) from cause


def open_pool(dsn: str) -> ConnectionPool[Connection]:
    """A pool of connections; close it when done."""
    return ConnectionPool(dsn, min_size=1, max_size=8, open=True)
