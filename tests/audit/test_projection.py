"""The projection: no entry that the log takes, however odd, keeps it from going on."""

from audit_story import Story
from desk_parties import terms_of, wait_until
from psycopg_pool import ConnectionPool

from audit import store
from audit.entry import Place, sign_entry
from audit.errors import AuditError
from audit.ids import uuid7
from audit.service import run_parts
from audit.watermarks import Mark
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
