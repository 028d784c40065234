"""The log's tables on its own record: said once, and again when they change."""

import os
from collections.abc import Iterator

import psycopg
import pytest
from audit_parties import Consortium, Said, now_us
from psycopg_pool import ConnectionPool

from audit import outbox
from audit.ordering import store
from audit.outbox import Outbox
from audit.schema_events import SCHEMA_CHANGED, note_schema


@pytest.fixture
def pool(dsn: str) -> Iterator[ConnectionPool]:
    store.prepare(dsn)
    with psycopg.connect(dsn) as connection:
        outbox.install(connection)
    with ConnectionPool(dsn, min_size=1, open=True) as opened:
        yield opened


@pytest.fixture
def own() -> Outbox:
    return Outbox(Consortium().events["audit"], now_us, os.urandom, "north/log")


def add_file(pool: ConnectionPool, name: str) -> None:
    with pool.connection() as connection:
        connection.execute(
            "INSERT INTO audit_migration (name, digest) VALUES (%s, %s)", [name, 64 * "a"]
        )


def test_a_new_database_says_what_it_was_built_from(pool: ConnectionPool, own: Outbox) -> None:
    entry = note_schema(pool, own)
    assert entry is not None
    assert (entry.type, entry.body["old_digest"]) == (SCHEMA_CHANGED, None)
    names = [file["name"] for file in entry.body["files"]]
    assert names == sorted(names)
    assert all(name.startswith("log_") for name in names)
    assert len(names) >= 2


def test_a_restart_says_nothing_new(pool: ConnectionPool, own: Outbox) -> None:
    assert note_schema(pool, own) is not None
    assert note_schema(pool, own) is None


def test_a_further_file_is_a_change_that_names_what_was_before(
    pool: ConnectionPool, own: Outbox
) -> None:
    first = note_schema(pool, own)
    add_file(pool, "log_0999_more.sql")
    second = note_schema(pool, own)
    assert first is not None
    assert second is not None
    assert second.body["old_digest"] == first.body["new_digest"]
    assert second.body["files"][-1] == {
        "name": "log_0999_more.sql",
        "digest": "sha256:" + 64 * "a",
    }
    assert note_schema(pool, own) is None


def test_tables_of_other_parts_are_no_change_of_the_log(pool: ConnectionPool, own: Outbox) -> None:
    note_schema(pool, own)
    add_file(pool, "logbook_0001_other.sql")
    assert note_schema(pool, own) is None


def test_a_body_that_looks_like_the_type_is_not_taken_for_the_last_entry(
    pool: ConnectionPool, own: Outbox
) -> None:
    first = note_schema(pool, own)
    with pool.connection() as connection:
        own.append(connection, Said(body={"inner": {"type": SCHEMA_CHANGED}, "new_digest": "x"}))
    assert first is not None
    assert note_schema(pool, own) is None
