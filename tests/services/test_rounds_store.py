"""The rows of a run: a round moves only as the protocol allows, and a model keeps its digest."""

from collections.abc import Iterator

import numpy as np
import psycopg
import pytest

from protocol.aggregation import AggregationRule
from protocol.errors import TransitionError
from protocol.plan import Cohort
from protocol.round import Closing, Opening, RoundState
from protocol.update import packed_digest
from services import database
from services.coordinator import store, updates
from services.coordinator.updates import StoredUpdates
from services.database import Connection
from services.errors import CentreError, NotFoundError
from services.registry.plans import default_plan
from services.registry.store import insert_plan, load_plan

COHORT = Cohort(modality=("DX",), label="label", positive="1", minimum_patients=50)
PLAN = default_plan("centre", sites=("north", "south"), cohort=COHORT, expires_us=1)
NOTHING = "sha256:" + 64 * "0"
OPENING = Opening(
    plan_id=PLAN.id,
    run_id="run",
    round=1,
    sites=("north",),
    model_digest=NOTHING,
    layout_digest=NOTHING,
    deadline_us=5,
)
CLOSING = Closing(
    plan_id=PLAN.id,
    run_id="run",
    round=1,
    participants=(),
    update_digests=(),
    exclusions=(),
    rule=AggregationRule.FEDAVG,
    quorum=1,
    aggregate_digest=None,
)


@pytest.fixture
def connection(dsn: str) -> Iterator[Connection]:
    database.prepare(dsn)
    database.prepare(dsn)  # a second start changes nothing
    with psycopg.connect(dsn) as opened:
        assert insert_plan(opened, PLAN, proposed_us=1)
        assert not insert_plan(opened, PLAN, proposed_us=2)
        digest = store.save_model(opened, np.zeros(3, "<f4"))
        store.insert_run(opened, "run", PLAN.id, model_digest=digest, created_us=1)
        store.insert_round(opened, "run", 1, changed_us=1)
        yield opened


def test_a_plan_comes_back_as_it_went_in(connection: Connection) -> None:
    stored = load_plan(connection, PLAN.id)
    assert (stored.plan, stored.state) == (PLAN, "proposed")


def test_a_round_ends_once(connection: Connection) -> None:
    store.open_round(connection, OPENING, entry=b"signed", changed_us=2)
    store.end_round(connection, CLOSING, RoundState.CLOSED, changed_us=3)
    with pytest.raises(TransitionError):
        store.end_round(connection, CLOSING, RoundState.ABANDONED, changed_us=4)
    (stored,) = store.load_rounds(connection, "run")
    assert (stored.state, stored.opening, stored.closing) == ("closed", OPENING, CLOSING)


def test_a_round_that_was_not_opened_does_not_close(connection: Connection) -> None:
    with pytest.raises(TransitionError):
        store.end_round(connection, CLOSING, RoundState.CLOSED, changed_us=2)


def test_a_run_ends_once(connection: Connection) -> None:
    assert store.end_run(connection, "run", "halted", explanation="x", ended_us=2)
    assert not store.end_run(connection, "run", "completed", explanation="", ended_us=3)
    assert store.load_run(connection, "run").state == "halted"


def hold(connection: Connection, site: str, value: float) -> None:
    store.hold_update(connection, OPENING, site=site, packed=np.full(3, value, "<f4"), receipt=b"r")


def kept(connection: Connection, **values: float) -> StoredUpdates:
    """The updates of these sites, in this order, as the record would have them."""
    digests = [packed_digest(np.full(3, value, "<f4")) for value in values.values()]
    return StoredUpdates(connection, "run", 1, sites=list(values), digests=digests, size=3)


def test_updates_are_read_in_the_order_of_the_record_strip_by_strip(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(updates, "_STRIP_BYTES", 16)
    for value, site in enumerate(("south", "north", "west")):
        hold(connection, site, value)
        store.take_update(connection, OPENING, site=site)
    strips = list(kept(connection, west=2, south=0).strips())
    assert [strip.tolist() for strip in strips] == [[[2, 2], [0, 0]], [[2], [0]]]


def test_an_update_without_a_place_is_not_read(connection: Connection) -> None:
    hold(connection, "north", 1)
    with pytest.raises(CentreError, match="north in round 1 is not in the database whole"):
        list(kept(connection, north=1).strips())


def test_an_update_is_held_once_and_taken_once(connection: Connection) -> None:
    hold(connection, "north", 1)
    store.take_update(connection, OPENING, site="north")
    with pytest.raises(NotFoundError, match="none held of north"):
        store.take_update(connection, OPENING, site="north")
    with pytest.raises(psycopg.errors.UniqueViolation):
        hold(connection, "north", 1)


def test_what_has_a_place_is_not_dropped(connection: Connection) -> None:
    hold(connection, "north", 1)
    hold(connection, "south", 2)
    store.take_update(connection, OPENING, site="north")
    for site in ("north", "south"):
        store.drop_update(connection, OPENING, site=site)
    assert len(list(kept(connection, north=1).strips())) == 1
    with pytest.raises(NotFoundError):
        store.take_update(connection, OPENING, site="south")


@pytest.mark.parametrize(
    ("found", "why"), [(bytes(12), "is damaged"), (bytes(8), "is not in the database whole")]
)
def test_a_damaged_update_is_in_no_aggregate(
    connection: Connection, found: bytes, why: str
) -> None:
    hold(connection, "north", 1)
    store.take_update(connection, OPENING, site="north")
    connection.execute("UPDATE updates SET packed = %s", (found,))
    with pytest.raises(CentreError, match=why):
        list(kept(connection, north=1).strips())


def test_a_damaged_model_is_not_loaded(connection: Connection) -> None:
    digest = store.save_model(connection, np.ones(3, "<f4"))
    connection.execute("UPDATE models SET packed = %s WHERE digest = %s", (bytes(12), digest))
    with pytest.raises(CentreError, match="is damaged"):
        store.load_model(connection, digest)
    with pytest.raises(NotFoundError):
        store.load_model(connection, NOTHING)
