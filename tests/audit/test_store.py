"""The log's tables hold what was written, and refuse to be changed: tested by trying."""

import psycopg
import pytest
from audit_parties import Consortium, running_log
from psycopg import sql

from audit import schema
from audit.ordering import store
from audit.schema import Part, SchemaError

APPEND_ONLY = (
    "audit_bundle",
    "audit_event_id",
    "audit_producer",
    "audit_chain_end",
    "audit_tile",
    "audit_checkpoint",
    "audit_cosignature",
    "audit_witnessed",
    "audit_claim",
)


@pytest.fixture
def filled(dsn: str) -> str:
    """A log with a full tile in it."""
    north = Consortium(quorum=0)
    with running_log(dsn, north.terms()) as parts:
        parts.sequencer.submit(north.chain().several(260))
    return dsn


def changes(table: str) -> list[sql.Composed]:
    columns = {
        "audit_bundle": "content",
        "audit_event_id": "ids",
        "audit_producer": "name",
        "audit_chain_end": "idx",
        "audit_tile": "content",
        "audit_cosignature": "line",
    }
    column = columns.get(table, "note")
    names = {"table": sql.Identifier(table), "column": sql.Identifier(column)}
    return [
        sql.SQL("UPDATE {table} SET {column} = {column}").format(**names),
        sql.SQL("DELETE FROM {table}").format(**names),
        sql.SQL("TRUNCATE {table}").format(**names),
    ]


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_even_an_administrator_is_stopped_by_the_triggers(filled: str, table: str) -> None:
    for change in changes(table):
        with psycopg.connect(filled) as admin, pytest.raises(psycopg.Error, match="append-only"):
            admin.execute(change)


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_the_role_that_owns_the_tables_lacks_the_right_to_change_them(dsn: str, table: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE logkeeper_under_test NOLOGIN")
        try:
            admin.execute("GRANT ALL ON SCHEMA public TO logkeeper_under_test")
            with psycopg.connect(dsn) as owner:
                owner.execute("SET ROLE logkeeper_under_test")
                schema.install(owner, Part.LOG)
                for change in changes(table):
                    denied = pytest.raises(psycopg.errors.InsufficientPrivilege, match="denied")
                    with denied, owner.transaction():
                        owner.execute(change)
        finally:
            admin.execute("DROP OWNED BY logkeeper_under_test CASCADE")
            admin.execute("DROP ROLE logkeeper_under_test")


def test_a_role_without_the_right_to_change_can_still_run_the_log(dsn: str) -> None:
    north = Consortium(quorum=0)
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE plain_under_test LOGIN PASSWORD 'plain'")
        try:
            admin.execute("GRANT ALL ON SCHEMA public TO plain_under_test")
            plain = psycopg.conninfo.make_conninfo(dsn, user="plain_under_test", password="plain")
            with running_log(plain, north.terms()) as parts:
                assert parts.sequencer.submit(north.chain().several(300))[-1] == 299
        finally:
            admin.execute("DROP OWNED BY plain_under_test CASCADE")
            admin.execute("DROP ROLE plain_under_test")


def test_preparing_a_database_twice_changes_nothing(filled: str) -> None:
    store.prepare(filled)
    with psycopg.connect(filled) as connection:
        assert store.entry_count(connection) == 260


def test_every_table_says_who_writes_it_and_when(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        for part in Part:
            schema.install(connection, part)
        silent = connection.execute(
            """
            SELECT relname FROM pg_class
            WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace
                AND obj_description(oid) IS NULL
            """
        ).fetchall()
    assert silent == []


def test_a_migration_that_was_edited_afterwards_is_refused(filled: str) -> None:
    with psycopg.connect(filled) as connection:
        connection.execute("UPDATE audit_migration SET digest = 'another'")
    with pytest.raises(SchemaError, match="log_0001_tree"):
        store.prepare(filled)
