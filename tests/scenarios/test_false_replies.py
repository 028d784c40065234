"""Replies that a hospital should not have sent: each is left out with its reason, none summed."""

import base64
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from federation import HOSPITALS, Exchange, Federation
from psycopg_pool import ConnectionPool

from audit.entry import Entry, Place, sign_entry
from audit.ids import uuid7
from audit.keys import load_signer
from protocol import events
from protocol.plan import Plan
from protocol.round import Answer, Exclusion, Opening, Order, OrderKind, Reason, Sent
from protocol.update import packed_digest
from services.coordinator import charges, store
from services.coordinator.collection import Collection
from services.coordinator.grid import Incoming, Outgoing
from services.coordinator.intake import Intake
from services.coordinator.local_grid import LocalGrid
from services.coordinator.runs import load_run
from services.database import prepare
from services.registry.store import insert_plan

pytestmark = pytest.mark.scenario


@pytest.fixture
def honest(people: Federation, first_run: str) -> Exchange:
    return people.exchange(first_run, "north", OrderKind.TRAIN, 2)


@pytest.fixture
def opening(honest: Exchange) -> Opening:
    warrant = Entry.parse(base64.b64decode(Order.from_bytes(honest.order).warrant))
    return Opening.from_json(warrant.body)


@pytest.fixture
def collection(
    people: Federation, plans: tuple[Plan, Plan, Plan], honest: Exchange, opening: Opening, dsn: str
) -> Iterator[Collection]:
    """The round once more, open and empty, at a centre with a database of its own."""
    run = load_run(people.centre, opening.run_id)
    prepare(dsn)
    with ConnectionPool(dsn, min_size=1) as pool:
        with pool.connection() as connection:
            insert_plan(connection, run.plan, proposed_us=1)
            digest = store.save_model(connection, honest.model)
            store.insert_run(connection, run.run_id, run.plan.id, model_digest=digest, created_us=1)
            store.insert_round(connection, run.run_id, opening.round, changed_us=1)
            store.open_round(connection, opening, entry=b"signed", changed_us=1)
        norm = float(np.linalg.norm(honest.model))
        intake = Intake(replace(people.centre, pool=pool), run, opening, norm)
        yield Collection.begin(intake)


@pytest.fixture
def door(
    collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Incoming], str | Exclusion]:
    monkeypatch.setattr(charges, "CHARGE_WAIT_S", 0.5)

    def take(reply: Incoming) -> str | Exclusion:
        """The site that got in, or why it did not."""
        collection.arrive(reply)
        collection.settle()
        (outcome,) = [*collection.participants, *collection.exclusions]
        return outcome

    return take


def receipt_for(people: Federation, site: str, sent: Sent) -> str:
    """A receipt truly signed by a hospital that never put it on the record."""
    signer = load_signer(people.sites[site].settings.keys.event)
    entry = sign_entry(
        events.update_sent(sent),
        signer,
        Place("demo/log", uuid7(1, bytes(10)), 1, 0, ""),
    )
    return base64.b64encode(entry).decode()


def sent_of(honest: Exchange) -> Sent:
    return Sent.from_json(Entry.parse(base64.b64decode(honest.answer.receipt)).body)


def reply(answer: Answer, update: object) -> Incoming:
    return Incoming("north", answer.to_bytes(), update)  # type: ignore[arg-type]


def refused(outcome: str | Exclusion, words: str) -> None:
    assert isinstance(outcome, Exclusion)
    assert (outcome.site, outcome.reason) == ("north", Reason.BAD_UPDATE)
    assert words in outcome.explanation


def test_the_honest_reply_is_taken(door: Callable, honest: Exchange) -> None:
    assert door(reply(honest.answer, honest.update)) == "north"


def test_another_array_than_the_signed_one_is_left_out(door: Callable, honest: Exchange) -> None:
    refused(door(reply(honest.answer, honest.update * np.float32(0.5))), "another digest")


def test_an_answer_without_an_update_is_left_out(door: Callable, honest: Exchange) -> None:
    refused(door(reply(honest.answer, None)), "brings no update")


def test_a_foreign_shape_is_left_out(door: Callable, honest: Exchange) -> None:
    refused(door(reply(honest.answer, honest.update[:-1])), "agreed layout")


def test_a_number_that_is_none_is_left_out(door: Callable, honest: Exchange) -> None:
    spoiled = honest.update.copy()
    spoiled[7] = np.nan
    refused(door(reply(honest.answer, spoiled)), "not finite")


def test_noise_that_is_no_answer_is_left_out(door: Callable, honest: Exchange) -> None:
    refused(door(Incoming("north", b"\xff\x00", honest.update)), "not an answer")


def test_a_reply_in_the_name_of_another_is_left_out(door: Callable, honest: Exchange) -> None:
    stolen = honest.answer.model_copy(update={"site": "south"})
    refused(door(reply(stolen, honest.update)), "another order")


def test_a_huge_update_is_left_out_though_its_hospital_signed_it(
    people: Federation, door: Callable, honest: Exchange
) -> None:
    huge = np.full_like(honest.update, 1e6)
    sent = sent_of(honest).model_copy(update={"update_digest": packed_digest(huge)})
    answer = honest.answer.model_copy(update={"receipt": receipt_for(people, "north", sent)})
    refused(door(reply(answer, huge)), "at most")


def test_an_update_that_nobody_paid_for_is_left_out(
    people: Federation, plans: tuple[Plan, Plan, Plan], door: Callable, honest: Exchange
) -> None:
    sent = sent_of(honest).model_copy(update={"charge_digest": plans[0].id})
    answer = honest.answer.model_copy(update={"receipt": receipt_for(people, "north", sent)})
    refused(door(reply(answer, honest.update)), "charge that its receipt names is not on the log")


def test_a_charge_for_another_round_does_not_pay(
    people: Federation, first_run: str, door: Callable, honest: Exchange
) -> None:
    """Both are the hospital's own, of the same run and the same mechanism."""
    other = people.exchange(first_run, "north", OrderKind.TRAIN, 1)
    paid = {"charge_digest": sent_of(other).charge_digest}
    sent = sent_of(honest).model_copy(update=paid)
    answer = honest.answer.model_copy(update={"receipt": receipt_for(people, "north", sent)})
    refused(door(reply(answer, honest.update)), "not on the log")


def test_the_charge_of_another_hospital_does_not_pay(
    people: Federation, first_run: str, door: Callable, honest: Exchange
) -> None:
    other = people.exchange(first_run, "south", OrderKind.TRAIN, 2)
    paid = {"charge_digest": sent_of(other).charge_digest}
    sent = sent_of(honest).model_copy(update=paid)
    answer = honest.answer.model_copy(update={"receipt": receipt_for(people, "north", sent)})
    refused(door(reply(answer, honest.update)), "not on the log")


def test_a_hospital_that_keeps_its_charge_back_makes_nobody_late(
    people: Federation,
    first_run: str,
    collection: Collection,
    honest: Exchange,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(charges, "CHARGE_WAIT_S", 4.0)
    round_2 = {site: people.exchange(first_run, site, OrderKind.TRAIN, 2) for site in HOSPITALS}
    unpaid = sent_of(honest).model_copy(update={"charge_digest": honest.answer.plan_id})
    withheld = honest.answer.model_copy(update={"receipt": receipt_for(people, "north", unpaid)})

    def answering(site: str, pause_s: float) -> Callable:
        def answer(*_: object) -> tuple[bytes, object]:
            time.sleep(pause_s)
            said = withheld if site == "north" else round_2[site].answer
            return said.to_bytes(), round_2[site].update

        return answer

    pauses = {"north": 0.0, "south": 0.5, "west": 1.0}
    grid = LocalGrid({site: answering(site, pause) for site, pause in pauses.items()})
    outgoing = [Outgoing(site, b"", honest.model) for site in HOSPITALS]
    for result in grid.exchange(outgoing, timeout_s=2.5):
        collection.arrive(result)
    collection.settle()
    assert collection.participants == ["south", "west"]
    refused(collection.exclusions[0], "not on the log")
    with collection.intake.centre.pool.connection() as connection:
        kept = connection.execute(
            "SELECT site, digest FROM updates WHERE place IS NOT NULL ORDER BY place"
        ).fetchall()
    assert kept == list(zip(collection.participants, collection.digests, strict=True))
    after_a_stop = Collection.begin(collection.intake)
    assert after_a_stop.participants == collection.participants
    assert after_a_stop.exclusions == collection.exclusions
    assert after_a_stop.decided == set(HOSPITALS)


def test_a_receipt_signed_by_another_hospital_is_left_out(
    people: Federation, door: Callable, honest: Exchange
) -> None:
    forged = receipt_for(people, "south", sent_of(honest))
    answer = honest.answer.model_copy(update={"receipt": forged})
    refused(door(reply(answer, honest.update)), "no entry that the hospital signed")
