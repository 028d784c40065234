"""A witness's own database, apart from the log's."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg_pool import ConnectionPool

from audit.witnesses import witness


@contextmanager
def witness_memory(dsn: str, postgres: str, suffix: str = "w") -> Iterator[ConnectionPool]:
    """A pool over a new database beside the one at `dsn`, dropped on leaving."""
    name = f"{psycopg.conninfo.conninfo_to_dict(dsn)['dbname']}_{suffix}"
    database = sql.Identifier(name)
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(database))
        try:
            other = psycopg.conninfo.make_conninfo(dsn, dbname=name)
            with ConnectionPool(other, min_size=1, max_size=8, open=True) as pool:
                with pool.connection() as connection:
                    witness.install(connection)
                yield pool
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
