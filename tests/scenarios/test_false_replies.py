"""Replies that a hospital should not have sent: each is left out with its reason, none summed."""

import base64
from collections.abc import Callable

import numpy as np
import pytest
from federation import Exchange, Federation

from audit.entry import Entry, sign_entry
from audit.ids import uuid7
from audit.keys import load_signer
from protocol import events
from protocol.plan import Plan
from protocol.round import Answer, Exclusion, Opening, Order, OrderKind, Reason, Sent
from protocol.update import packed_digest
from services.coordinator import intake
from services.coordinator.grid import Incoming
from services.coordinator.intake import Intake, Taken
from services.coordinator.runs import load_run

pytestmark = pytest.mark.scenario


@pytest.fixture
def honest(people: Federation, first_run: str) -> Exchange:
    return people.exchange(first_run, "north", OrderKind.TRAIN, 2)


@pytest.fixture
def door(
    people: Federation, first_run: str, honest: Exchange, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Incoming], Taken | Exclusion]:
    monkeypatch.setattr(intake, "CHARGE_WAIT_S", 0.5)
    warrant = Entry.parse(base64.b64decode(Order.from_bytes(honest.order).warrant))
    opening = Opening.from_json(warrant.body)
    norm = float(np.linalg.norm(honest.model))
    return Intake(people.centre, load_run(people.centre, first_run), opening, norm).check


def receipt_for(people: Federation, site: str, sent: Sent) -> str:
    """A receipt truly signed by a hospital that never put it on the record."""
    signer = load_signer(people.sites[site].settings.keys.event)
    entry = sign_entry(
        events.update_sent(sent),
        signer,
        event_id=uuid7(1, bytes(10)),
        time_us=1,
        seq=0,
        prev="",
    )
    return base64.b64encode(entry).decode()


def sent_of(honest: Exchange) -> Sent:
    return Sent.from_json(Entry.parse(base64.b64decode(honest.answer.receipt)).body)


def reply(answer: Answer, update: object) -> Incoming:
    return Incoming("north", answer.to_bytes(), update)  # type: ignore[arg-type]


def refused(outcome: Taken | Exclusion, words: str) -> None:
    assert isinstance(outcome, Exclusion)
    assert (outcome.site, outcome.reason) == ("north", Reason.BAD_UPDATE)
    assert words in outcome.explanation


def test_the_honest_reply_is_taken(door: Callable, honest: Exchange) -> None:
    outcome = door(reply(honest.answer, honest.update))
    assert isinstance(outcome, Taken)
    assert outcome.sent.site == "north"


def test_another_array_than_the_signed_one_is_left_out(door: Callable, honest: Exchange) -> None:
    refused(door(reply(honest.answer, honest.update * np.float32(0.5))), "another digest")


def test_an_answer_without_an_update_is_left_out(door: Callable, honest: Exchange) -> None:
    refused(door(reply(honest.answer, None)), "brings no update")


def test_a_foreign_shape_is_left_out(door: Callable, honest: Exchange) -> None:
    refused(door(reply(honest.answer, honest.update[:-1])), "expected float32 of shape (1281,)")


def test_a_number_that_is_none_is_left_out(door: Callable, honest: Exchange) -> None:
    spoiled = honest.update.copy()
    spoiled[7] = np.nan
    refused(door(reply(honest.answer, spoiled)), "not finite")


def test_noise_that_is_no_answer_is_left_out(door: Callable, honest: Exchange) -> None:
    refused(door(Incoming("north", b"\xff\x00", honest.update)), "Answer")


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


def test_a_receipt_signed_by_another_hospital_is_left_out(
    people: Federation, door: Callable, honest: Exchange
) -> None:
    forged = receipt_for(people, "south", sent_of(honest))
    answer = honest.answer.model_copy(update={"receipt": forged})
    refused(door(reply(answer, honest.update)), "expected key tests/north")
