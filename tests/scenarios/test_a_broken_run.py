"""A run that breaks down with the centre's database: later runs are not kept out."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

import psycopg
import pytest
from federation import Federation, small_plan, wait_until
from psycopg import sql
from psycopg_pool import ConnectionPool

from audit.entry import Place, sign_entry
from audit.ids import uuid7
from protocol import events
from protocol.ballot import Ballot, Choice
from services import database
from services.centre import Centre
from services.coordinator import store
from services.coordinator.grid import Grid, GridError
from services.coordinator.runs import create_run
from services.coordinator.worker import Worker
from services.registry.store import insert_plan, mark_active

pytestmark = pytest.mark.scenario

PLAN = small_plan("A plan that breaks down")


@pytest.fixture
def centre(people: Federation, dsn: str) -> Iterator[Centre]:
    """The centre on a database of its own, which may go away without hurting the others."""
    database.prepare(dsn)
    with ConnectionPool(dsn, min_size=1, timeout=0.2, reconnect_timeout=0.2) as pool:
        with pool.connection() as connection:
            insert_plan(connection, PLAN, proposed_us=1)
            mark_active(connection, PLAN.id, signers=("north",), ballots=(vote_of(people),))
        yield replace(people.centre, pool=pool)


def vote_of(people: Federation) -> bytes:
    ballot = Ballot(plan_id=PLAN.id, site="north", choice=Choice.REFUSE)
    signer = people.sites["north"].outbox.signer
    return sign_entry(
        events.plan_voted(ballot), signer, Place("demo/log", uuid7(1, bytes(10)), 1, 0, "")
    )


@contextmanager
def away(postgres: str, dsn: str) -> Iterator[None]:
    """The database lets nobody in while the block runs."""
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(allow.format(sql.Identifier(name), sql.SQL("false")))
        admin.execute(end, (name,))
        try:
            yield
        finally:
            admin.execute(allow.format(sql.Identifier(name), sql.SQL("true")))


def state_of(centre: Centre, run_id: str) -> str:
    with centre.pool.connection(timeout=10) as connection:
        return store.load_run(connection, run_id).state


def test_a_run_that_broke_with_the_database_is_halted_once_it_is_back(
    centre: Centre, postgres: str, dsn: str
) -> None:
    begun, stop = threading.Event(), threading.Event()
    broken = threading.Event()

    def open_grid() -> AbstractContextManager[Grid]:
        if begun.is_set():
            raise GridError("the transport does not answer")
        begun.set()
        broken.wait(10)
        raise RuntimeError("something nobody thought of")

    worker = Worker(centre, open_grid, stop, patience_s=0.1)
    worker.start()
    try:
        first = create_run(centre, PLAN.id)
        worker.submit(first)
        assert begun.wait(10)
        with away(postgres, dsn):
            broken.set()
            stop.wait(1.5)  # long enough that halting it fails, more than once
        wait_until(lambda: state_of(centre, first) == "halted")
        second = create_run(centre, PLAN.id)
        worker.submit(second)
        wait_until(lambda: state_of(centre, second) == "halted")
    finally:
        stop.set()
