"""The hospital's and the centre's tables, made by whoever comes first."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

import hospital_node.database
import services.database

AT_ONCE = 6


@pytest.mark.parametrize("party", [hospital_node.database, services.database])
def test_processes_that_start_side_by_side_make_the_tables_once(dsn, party):
    with ThreadPoolExecutor(AT_ONCE) as starting:
        for done in [starting.submit(party.prepare, dsn) for _ in range(AT_ONCE)]:
            done.result()
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM outbox_head").fetchone()
    assert row == (0,)
