"""The centre's own PostgreSQL database: its tables and its pool of connections.

The one rule: a state change and its event go through one transaction of this database.
"""

from importlib.resources import files
from typing import Any

import psycopg
from psycopg_pool import ConnectionPool

from audit.outbox import install
from services.errors import ConfigurationError

Connection = psycopg.Connection[tuple[Any, ...]]

_SCHEMAS = (("services.registry", "schema.sql"), ("services.coordinator", "schema.sql"))
"""In the order in which tables refer to one another."""


def prepare(dsn: str) -> None:
    """Create the centre's tables where they are missing.

    Raises:
        ConfigurationError: the server does not answer or does not let the centre in.
    """
    try:
        with psycopg.connect(dsn) as connection, connection.transaction():
            # The lock that the first part takes is held to the end: processes start side by side.
            install(connection)
            for package, name in _SCHEMAS:
                connection.execute(files(package).joinpath(name).read_bytes())
    except psycopg.OperationalError as cause:
        raise ConfigurationError(
            f"database.dsn: PostgreSQL cannot be used: {str(cause).strip()}; "
            "check that the server runs and that the DSN names its host, port, user and database"
        ) from cause


def open_pool(dsn: str) -> ConnectionPool[Connection]:
    """A pool of connections; close it when done."""
    return ConnectionPool(dsn, min_size=1, max_size=8, open=True)
