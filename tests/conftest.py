"""Fixtures shared by every part: a real PostgreSQL, and a fresh database for each test."""

import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import structlog
from psycopg import sql

from deploy.postgres_server import postgres_server, with_database

# A test's data need not survive a crash; that the real settings do is tested apart.
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@pytest.fixture(autouse=True)
def own_journal() -> Iterator[None]:
    """A command that a test calls starts its journal on that test's standard error alone."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DSN of a server's administrator: `WARDROUND_TEST_DSN`, or an embedded server."""
    given = os.environ.get("WARDROUND_TEST_DSN")
    if given:
        yield given
        return
    folder: Path = tmp_path_factory.mktemp("postgres")
    with postgres_server(folder, settings=_FAST) as server:
        yield server.dsn
    # Its data may lie outside the folder that pytest keeps and clears.
    shutil.rmtree(server.folder)


@pytest.fixture
def dsn(postgres: str) -> Iterator[str]:
    """DSN of a new, empty database, dropped after the test."""
    name = f"test_{secrets.token_hex(8)}"
    database = sql.Identifier(name)
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(database))
        yield with_database(postgres, name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
