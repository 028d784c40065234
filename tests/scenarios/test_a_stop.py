"""What ends a run before its time, on the record: a fault, or a quorum that is not met."""

import pytest
from federation import Federation

from protocol.plan import Plan
from protocol.round import RoundState
from protocol.words import Halt
from services.coordinator import store
from services.coordinator.runs import create_run, halt, left_running
from services.errors import BusyError

pytestmark = pytest.mark.scenario


def load(people: Federation, run_id: str) -> store.StoredRun:
    with people.centre.pool.connection() as connection:
        return store.load_run(connection, run_id)


def types_of(people: Federation, run_id: str) -> list[str]:
    return [entry.type for entry in people.entries() if entry.run_id == run_id]


def test_a_run_that_broke_down_is_halted_and_never_lost(
    people: Federation, plans: tuple[Plan, Plan, Plan], second_run: str
) -> None:
    run_id = create_run(people.centre, plans[2].id)
    with pytest.raises(BusyError, match="one runs at a time"):
        create_run(people.centre, plans[2].id)
    assert left_running(people.centre) == (run_id,)
    for _ in range(2):
        halt(people.centre, run_id, Halt.COORDINATOR_STOPPED)
        assert left_running(people.centre) == ()
    assert load(people, run_id).state == "halted"
    people.settle()
    assert types_of(people, run_id) == ["run.created", "run.halted"]


def test_a_round_without_its_quorum_is_abandoned_and_nothing_is_applied(
    people: Federation, plans: tuple[Plan, Plan, Plan], second_run: str
) -> None:
    run_id = people.run(plans[2])
    (abandoned,) = people.rounds(run_id)
    assert abandoned.state is RoundState.ABANDONED
    assert abandoned.closing is not None
    assert abandoned.closing.aggregate_digest is None
    assert sorted(abandoned.closing.participants) == ["north", "south"]
    assert [one.site for one in abandoned.closing.exclusions] == ["west"]
    run = load(people, run_id)
    assert (run.state, run.explanation) == ("halted", "no round reached its quorum")
    people.settle()
    assert "model.candidate" not in types_of(people, run_id)
    assert people.verify().is_verified
