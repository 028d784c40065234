"""A plan that is taken back while it runs: nothing is begun and nothing opens, as the log says."""

import threading
from typing import Any

import pytest
from federation import Federation, small_plan

from protocol.plan import Plan
from protocol.round import RoundState, Verdict
from protocol.words import Ground, Reason
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
    """A run that is withdrawn when its first orders are out, before a hospital has acted on one."""
    is_said = threading.Event()

    def withdrawing(order: bytes, packed: Any) -> Any:
        withdraw(people.centre, active.id, Ground.SAFETY)
        assert people.centre.log.events(type="plan.withdrawn", plan_id=active.id, wait_s=30)
        is_said.set()
        return people.answerers()["north"](order, packed)

    def waiting(order: bytes, packed: Any) -> Any:
        assert is_said.wait(30)
        return people.answerers()["south"](order, packed)

    return people.run(active, {"north": withdrawing, "south": waiting})


def test_no_hospital_begins_what_the_log_says_was_withdrawn(
    people: Federation, active: Plan, withdrawn_run: str
) -> None:
    answers = {
        (one.site, one.answer.verdict, one.answer.reason)
        for one in people.exchanges
        if one.answer.plan_id == active.id
    }
    refused = (Verdict.REFUSED, Reason.PLAN_WITHDRAWN)
    assert answers == {("north", *refused), ("south", *refused)}
    charged = [e for e in people.entries() if e.type == "privacy.charged"]
    assert "training" not in {e.body["purpose"] for e in charged if e.plan_id == active.id}


def test_the_round_that_was_open_ends_and_no_other_opens(
    people: Federation, withdrawn_run: str
) -> None:
    (only,) = people.rounds(withdrawn_run)
    assert only.state is RoundState.ABANDONED
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
