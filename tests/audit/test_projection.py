"""The projection: no entry that the log takes, however odd, keeps it from going on."""

import psycopg
import pytest
from audit_story import Story
from desk_parties import terms_of, wait_until
from psycopg_pool import ConnectionPool

from audit import outbox
from audit.desk.answers.health import health
from audit.entry import Place, sign_entry
from audit.errors import AuditError
from audit.ids import uuid7
from audit.ordering import store
from audit.ordering.watermarks import Mark, Watermarks
from audit.searching.projection import Progress, stopped_at
from audit.searching.projector import ProjectingApart, ProjectingHere, Projector
from audit.service import run_parts
from audit.trust import Trust
from protocol.event import Event


def deepest() -> dict:
    """The most deeply nested body that can be signed."""
    story = Story()
    depth = 100
    while True:
        body: dict = {}
        for _ in range(depth):
            body = {"model_digest": [body]}
        place = Place("demo/log", uuid7(0, bytes(10)), 0, 0, "")
        try:
            sign_entry(Event("test.deep", body), story.signers["east"], place)
        except AuditError:
            depth -= 1
        else:
            return body


BREAK = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'no place for this one'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON audit_event
    FOR EACH ROW WHEN (NEW.idx = 3) EXECUTE FUNCTION refuse()
"""


def test_an_entry_that_cannot_be_projected_stops_nothing_unseen(dsn):
    """Those before it can be searched, health names it, and once it can be it is."""
    story = Story()
    for number in range(6):
        story.write("east", Event("test.said", {}, round=number))
    store.prepare(dsn)
    watermarks, trust = Watermarks(), Trust.parse(story.consortium_bytes)
    with (
        ConnectionPool(dsn, min_size=1, max_size=6, open=True) as pool,
        run_parts(pool, terms_of(story), consortium=story.consortium_bytes) as parts,
    ):
        for name in ("east", "north", "south"):
            parts.witnessing.offer(f"demo/{name}/witness", "", wait_s=0)
        parts.sequencer.submit(story.entries)
        wait_until(lambda: parts.sequencer.watermarks.size(Mark.PROJECTED) == 6)
    with ConnectionPool(dsn, min_size=1, max_size=6, open=True) as pool:

        def state() -> tuple[int, int | None]:
            with pool.connection() as connection:
                found = health(connection, trust.witnesses, now_us=0)
            return found["projected"], found["projection_stopped_at"]

        with pool.connection() as connection:
            outbox.install(connection)
            connection.execute("TRUNCATE audit_event, audit_oddity")
            connection.execute(BREAK)
        projector = Projector(ProjectingHere(pool, {}), watermarks, pause_s=0.05)
        projector.start()
        try:
            wait_until(lambda: state() == (3, 3))
            with pool.connection() as connection:
                connection.execute("DROP TRIGGER refuse ON audit_event")
            wait_until(lambda: state() == (6, None))
        finally:
            watermarks.close()
            projector.join()


def test_entries_of_any_shape_are_projected(dsn):
    story = Story()
    odd = [
        {"text": "a\0b", "c\0d": ["\0"]},
        {"sites": ["x" * 3000, "\0", "east"]},
        {"model_digest": [f"sha256:{number:064x}" for number in range(800)]},
        {"text": "\U0001f3e5 \ufffe \x1f", "number": 2**53},
        {"filler": "x" * 64_000},
        deepest(),
    ]
    for number, body in enumerate(odd):
        story.write("east", Event("test.odd", body, round=number))
    store.prepare(dsn)
    no_witnesses = terms_of(story)
    with (
        ConnectionPool(dsn, min_size=1, max_size=6, open=True) as pool,
        run_parts(pool, no_witnesses, consortium=story.consortium_bytes) as parts,
    ):
        for name in ("east", "north", "south"):
            parts.witnessing.offer(f"demo/{name}/witness", "", wait_s=0)
        parts.sequencer.submit(story.entries)
        wait_until(lambda: parts.sequencer.watermarks.size(Mark.PROJECTED) == len(odd))
        with pool.connection() as connection:
            rows = connection.execute(
                "SELECT organisation, cardinality(models), sites FROM audit_event ORDER BY idx"
            ).fetchall()
    assert {organisation for organisation, _, _ in rows} == {"Org east"}
    assert rows[1][2] == ["east"]
    assert rows[2][1] == 800


@pytest.fixture
def apart(dsn):
    story = Story()
    for number in range(6):
        story.write("east", Event("test.said", {}, round=number))
    store.prepare(dsn)
    with (
        ConnectionPool(dsn, min_size=1, max_size=6, open=True) as pool,
        run_parts(pool, terms_of(story), consortium=story.consortium_bytes) as parts,
    ):
        for name in ("east", "north", "south"):
            parts.witnessing.offer(f"demo/{name}/witness", "", wait_s=0)
        parts.sequencer.submit(story.entries)
        wait_until(lambda: parts.sequencer.watermarks.size(Mark.PROJECTED) == 6)
    with psycopg.connect(dsn) as connection:
        connection.execute("TRUNCATE audit_event, audit_oddity")
    projecting = ProjectingApart(dsn, {"demo/east": "Org east"})
    yield projecting
    projecting.close()


def test_another_process_projects(apart, dsn):
    assert apart.project() == Progress(6, is_stopped=False)
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT DISTINCT organisation FROM audit_event").fetchall()
        connection.execute("TRUNCATE audit_event, audit_oddity")
        connection.execute(BREAK)
    assert rows == [("Org east",)]
    assert apart.project() == Progress(3, is_stopped=True)
    with psycopg.connect(dsn) as connection:
        assert stopped_at(connection) == 3


def test_a_process_that_is_gone_is_replaced_and_one_without_its_database_stays(apart, dsn):
    assert apart.project().size == 6
    apart.child.kill()
    with pytest.raises(psycopg.OperationalError, match="another is started"):
        apart.project()
    assert apart.project().size == 6
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    running = apart.child.pid
    with pytest.raises(psycopg.OperationalError):
        apart.project()
    assert apart.project().size == 6
    assert apart.child.pid == running


def test_after_the_end_nothing_is_started(apart):
    apart.project()
    apart.close()
    with pytest.raises(psycopg.OperationalError):
        apart.project()
    with pytest.raises(psycopg.OperationalError):
        apart.project()
    assert apart.child.pid is None
