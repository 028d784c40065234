"""Work that a crash cut off, or that could not be begun: who pays, and what is done again."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from federation import Exchange, Federation

from audit.entry import Entry
from hospital_node import participation, store, views
from hospital_node.site import Site
from hospital_node.store import Task
from hospital_node.training import model
from protocol.budget import Partition, account_of
from protocol.round import Answer, Opening, Order, OrderKind, Reason, Verdict

pytestmark = pytest.mark.scenario


@contextmanager
def as_if_not_answered(site: Site, task: Task, *, begun: bool) -> Iterator[Site]:
    """The site before it answered a task; what it says meanwhile goes to no log."""
    key = (task.run_id, task.kind, task.round)
    of_task = "WHERE run_id = %s AND kind = %s AND round ="
    with site.pool.connection() as connection:
        connection.execute(f"UPDATE answers SET round = 900 {of_task} %s", key)
        if begun:
            connection.execute(
                "INSERT INTO answers (run_id, kind, round, warrant_digest, started_us) "
                f"SELECT run_id, kind, %s, warrant_digest, 1 FROM answers {of_task} 900",
                (task.round, *key[:2]),
            )
    try:
        yield replace(site, outbox=replace(site.outbox, log="nobody's"))
    finally:
        with site.pool.connection() as connection:
            connection.execute(f"DELETE FROM answers {of_task} %s", key)
            connection.execute(
                f"UPDATE answers SET round = %s {of_task} 900", (task.round, *key[:2])
            )


def charges_of(site: Site) -> list[int]:
    with site.pool.connection() as connection:
        account = account_of(site.name)
        return [len(site.ledger.charges(connection, account, one)) for one in Partition]


def forget_report(site: Site, run_id: str) -> None:
    with site.pool.connection() as connection:
        connection.execute("DELETE FROM reports WHERE run_id = %s", (run_id,))


@pytest.fixture
def judged(people: Federation, first_run: str) -> Exchange:
    return people.exchange(first_run, "south", OrderKind.EVALUATE, 0)


def test_an_evaluation_is_done_again_under_the_same_charge(
    people: Federation, first_run: str, judged: Exchange
) -> None:
    south = people.sites["south"]
    before = charges_of(south)
    forget_report(south, first_run)
    with as_if_not_answered(south, Task(first_run, OrderKind.EVALUATE, 0), begun=True) as site:
        answer = Answer.from_bytes(participation.answer(site, judged.order, judged.model)[0])
        again = participation.answer(site, judged.order, judged.model)[0]
    assert (answer.verdict, answer.reason) == (Verdict.ACCEPTED, Reason.NONE)
    assert again == answer.to_bytes()
    assert charges_of(south) == before
    released = Entry.parse(base64.b64decode(answer.receipt)).body
    first = Entry.parse(base64.b64decode(judged.answer.receipt)).body
    assert released["charge_digest"] == first["charge_digest"]
    assert first_run in {one["run_id"] for one in views.report_view(south)}


def test_an_evaluation_that_is_under_way_is_not_begun_again(
    people: Federation, first_run: str, judged: Exchange
) -> None:
    task = Task(first_run, OrderKind.EVALUATE, 0)
    with (
        as_if_not_answered(people.sites["south"], task, begun=True) as site,
        site.pool.connection() as other,
    ):
        assert store.lock_task(other, task)
        answer = Answer.from_bytes(participation.answer(site, judged.order, judged.model)[0])
    assert (answer.verdict, answer.reason) == (Verdict.REFUSED, Reason.ALREADY_DONE)


def test_training_that_was_cut_off_is_not_done_again(people: Federation, first_run: str) -> None:
    trained = people.exchange(first_run, "south", OrderKind.TRAIN, 2)
    task = Task(first_run, OrderKind.TRAIN, 2)
    with as_if_not_answered(people.sites["south"], task, begun=True) as site:
        said, update = participation.answer(site, trained.order, trained.model)
    assert (Answer.from_bytes(said).reason, update) == (Reason.ALREADY_DONE, None)


def test_nobody_pays_for_a_network_that_is_not_installed(
    people: Federation, first_run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "weights"
    other.write_bytes(b"of another network")
    monkeypatch.setattr(model, "installed_weights", lambda: other)
    trained = people.exchange(first_run, "south", OrderKind.TRAIN, 2)
    warrant = Entry.parse(base64.b64decode(Order.from_bytes(trained.order).warrant))
    in_time_us = Opening.from_json(warrant.body).deadline_us - 1
    task = Task(first_run, OrderKind.TRAIN, 2)
    with as_if_not_answered(people.sites["south"], task, begun=False) as site:
        timely = replace(site, clock_us=lambda: in_time_us)
        said, update = participation.answer(timely, trained.order, trained.model)
        with site.pool.connection() as connection:
            # Begun in the transaction of the charge: what was not begun was not charged.
            assert store.load_answer(connection, task) is None
    assert (Answer.from_bytes(said).reason, update) == (Reason.MODEL_MISMATCH, None)
