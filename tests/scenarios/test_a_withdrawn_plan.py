"""A plan that is taken back while it runs: what is open ends, nothing more opens, as the log says."""

from collections.abc import Callable

import pytest
from federation import Federation, small_plan

from protocol.plan import Plan
from protocol.round import RoundState
from protocol.words import Ground
from services.coordinator import store
from services.coordinator.runs import create_run
from services.errors import NotActiveError
from services.registry.plans import withdraw

pytestmark = pytest.mark.scenario


@pytest.fixture(scope="module")
def active(people: Federation, second_run: str) -> Plan:
    plan = small_plan("A plan that is taken back")
    people.propose(plan)
    for site in ("north", "south"):
        people.vote(site, plan, ground=Ground.PURPOSE)
    people.activate(plan, votes=2)
    return plan


@pytest.fixture(scope="module")
def withdrawn_run(people: Federation, active: Plan) -> str:
    """A run during whose first round the plan is withdrawn."""

    def withdrawing(answer: Callable) -> Callable:
        def asked(order: bytes, packed: object) -> object:
            withdraw(people.centre, active.id, Ground.SAFETY)
            return answer(order, packed)

        return asked

    answerers = people.answerers()
    return people.run(active, {"north": withdrawing(answerers["north"])})


def test_the_round_that_was_open_ends_and_no_other_opens(
    people: Federation, withdrawn_run: str
) -> None:
    (only,) = people.rounds(withdrawn_run)
    assert only.state is RoundState.CLOSED
    with people.centre.pool.connection() as connection:
        run = store.load_run(connection, withdrawn_run)
    assert (run.state, run.explanation) == ("halted", "the plan was withdrawn during the run")


def test_no_new_run_of_it_begins(people: Federation, active: Plan, withdrawn_run: str) -> None:
    with pytest.raises(NotActiveError, match="was withdrawn"):
        create_run(people.centre, active.id)


def test_the_log_says_it_once_with_its_ground_and_verifies(
    people: Federation, active: Plan, withdrawn_run: str
) -> None:
    withdraw(people.centre, active.id, Ground.OTHER)  # nothing more happens
    people.settle()
    about = [entry for entry in people.entries() if entry.plan_id == active.id]
    (said,) = [entry for entry in about if entry.type == "plan.withdrawn"]
    assert said.body["ground"] == "safety"
    (halted,) = [entry for entry in about if entry.type == "run.halted"]
    assert (halted.outcome, halted.body["reason"]) == (8, "plan-withdrawn")
    findings = people.verify()
    assert findings.is_verified, [str(fault) for fault in findings.faults]
