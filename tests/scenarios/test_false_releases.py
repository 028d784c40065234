"""Figures about a candidate that a hospital should not have sent: none are kept."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from federation import Exchange, Federation
from psycopg_pool import ConnectionPool

from audit.entry import Entry, Place, sign_entry
from audit.ids import uuid7
from protocol import events
from protocol.plan import Plan
from protocol.round import Candidate, Evaluation, Order, OrderKind
from services.coordinator import charges, store
from services.coordinator.evaluation import Releases
from services.coordinator.grid import Incoming
from services.database import prepare
from services.registry.store import insert_plan

pytestmark = pytest.mark.scenario

Judge = Callable[[str], store.StoredEvaluation]


@pytest.fixture
def honest(people: Federation, first_run: str) -> Exchange:
    return people.exchange(first_run, "north", OrderKind.EVALUATE, 0)


@pytest.fixture
def judge(
    people: Federation,
    plans: tuple[Plan, Plan, Plan],
    honest: Exchange,
    dsn: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Judge]:
    """What the centre, on a database of its own, keeps of a receipt."""
    monkeypatch.setattr(charges, "CHARGE_WAIT_S", 0.5)
    warrant = Entry.parse(base64.b64decode(Order.from_bytes(honest.order).warrant))
    candidate = Candidate.from_json(warrant.body)
    prepare(dsn)
    with ConnectionPool(dsn, min_size=1) as pool:
        with pool.connection() as connection:
            insert_plan(connection, plans[0], proposed_us=1)
            digest = store.save_model(connection, honest.model)
            store.insert_run(
                connection, candidate.run_id, plans[0].id, model_digest=digest, created_us=1
            )

        def judge(receipt: str) -> store.StoredEvaluation:
            releases = Releases(replace(people.centre, pool=pool), candidate)
            answer = honest.answer.model_copy(update={"receipt": receipt})
            releases.arrive(Incoming("north", answer.to_bytes(), None))
            releases.settle()
            with pool.connection() as connection:
                (kept,) = store.load_evaluations(connection, candidate.run_id)
            return kept

        yield judge


def changed(people: Federation, honest: Exchange, **changes: object) -> str:
    """The receipt with other content, truly signed by its hospital."""
    body = Entry.parse(base64.b64decode(honest.answer.receipt)).body
    released = Evaluation.from_json(body).model_copy(update=changes)
    entry = sign_entry(
        events.evaluation_released(released),
        people.sites["north"].outbox.signer,
        Place("demo/log", uuid7(1, bytes(10)), 1, 0, ""),
    )
    return base64.b64encode(entry).decode()


def test_honest_figures_are_kept(judge: Judge, honest: Exchange) -> None:
    kept = judge(honest.answer.receipt)
    assert (kept.reason, kept.released) == ("none", True)


def test_figures_that_nobody_paid_for_are_not_kept(
    people: Federation, judge: Judge, honest: Exchange
) -> None:
    kept = judge(changed(people, honest, charge_digest=honest.answer.plan_id))
    assert (kept.reason, kept.released) == ("bad-update", False)
    assert "not on the log" in kept.explanation


def test_figures_with_less_noise_than_was_paid_for_are_not_kept(
    people: Federation, judge: Judge, honest: Exchange
) -> None:
    kept = judge(changed(people, honest, noise_multiplier="0.1"))
    assert (kept.reason, kept.released) == ("bad-update", False)
    assert "other noise" in kept.explanation


def test_figures_about_another_model_are_not_kept(
    people: Federation, judge: Judge, honest: Exchange
) -> None:
    kept = judge(changed(people, honest, model_digest=honest.answer.plan_id))
    assert (kept.reason, kept.released) == ("bad-update", False)
