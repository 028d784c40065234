"""A refusal for lack of budget: one hospital says no, the round goes on and says without whom."""

import pytest
from federation import Federation

from protocol.plan import Plan
from protocol.round import Exclusion, OrderKind, Reason, RoundState, Verdict
from services.coordinator import store
from services.coordinator.replay import replay
from services.coordinator.runs import load_run

pytestmark = pytest.mark.scenario


def test_the_hospital_answers_politely_and_sends_nothing(
    people: Federation, plans: tuple[Plan, Plan, Plan], second_run: str
) -> None:
    answers = [
        one
        for one in people.exchanges
        if one.site == "west"
        and one.answer.plan_id == plans[1].id
        and one.answer.kind is OrderKind.TRAIN
    ]
    assert len(answers) == 2
    for one in answers:
        assert one.answer.verdict is Verdict.REFUSED
        assert one.answer.reason is Reason.BUDGET_EXHAUSTED
        assert "3.2 allowed" in one.answer.explanation
        assert one.update is None


def test_the_round_closes_without_it_and_says_so(people: Federation, second_run: str) -> None:
    for one in people.rounds(second_run):
        assert one.state is RoundState.CLOSED
        assert one.closing is not None
        assert sorted(one.closing.participants) == ["north", "south"]
        (left_out,) = one.closing.exclusions
        assert isinstance(left_out, Exclusion)
        assert (left_out.site, left_out.reason) == ("west", Reason.BUDGET_EXHAUSTED)


def test_the_refusal_is_on_the_record_signed_by_the_hospital(
    people: Federation, plans: tuple[Plan, Plan, Plan], second_run: str
) -> None:
    refusals = [entry for entry in people.entries() if entry.type == "privacy.refused"]
    assert {(entry.producer, entry.run_id) for entry in refusals} == {("tests/west", second_run)}
    assert {entry.round for entry in refusals} == {1, 2}


def test_nothing_was_charged_for_what_was_refused(people: Federation, second_run: str) -> None:
    charged = [
        entry.producer
        for entry in people.entries()
        if entry.type == "privacy.charged"
        and entry.run_id == second_run
        and entry.body["purpose"] == "training"
    ]
    assert sorted(set(charged)) == ["tests/north", "tests/south"]


def test_the_run_completes_for_the_others(people: Federation, second_run: str) -> None:
    with people.centre.pool.connection() as connection:
        assert store.load_run(connection, second_run).state == "completed"


def test_what_each_counted_under_a_robust_rule_is_on_the_record_and_can_be_made_again(
    people: Federation, second_run: str
) -> None:
    closings = [entry.body for entry in people.entries() if entry.type == "round.closed"]
    mine = [body for body in closings if body["run_id"] == second_run]
    assert [body["weights"] for body in mine] == [["1", "1"]] * 2
    run = load_run(people.centre, second_run)
    assert [(one.weights, one.fault) for one in replay(people.centre, run)] == [
        (("1", "1"), "")
    ] * 2


def test_the_log_still_verifies(people: Federation, second_run: str) -> None:
    findings = people.verify()
    assert findings.is_verified, [str(fault) for fault in findings.faults]
