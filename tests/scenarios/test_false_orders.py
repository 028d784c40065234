"""Orders that a centre should not have sent: each is refused with its reason, and costs nothing."""

import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from federation import Federation

from audit.entry import Entry
from hospital_node import egress, participation
from hospital_node.admission import Refused, admit
from hospital_node.errors import EgressError
from hospital_node.imaging.errors import OneClassError, PixelsError
from hospital_node.ledger import Access, Ledger
from hospital_node.site import Site
from protocol import events
from protocol.budget import Charge, Partition, account_of
from protocol.plan import Plan
from protocol.round import Answer, Opening, Order, OrderKind, Reason, Verdict
from protocol.update import packed_digest

pytestmark = pytest.mark.scenario

Change = Callable[[Order], Order]


def changed(**fields: object) -> Change:
    return lambda order: order.model_copy(update=fields)


def other_plan(order: Order) -> Order:
    return order.model_copy(update={"plan": order.plan.model_copy(update={"rounds": 3})})


def drop_a_ballot(order: Order) -> Order:
    return order.model_copy(update={"ballots": order.ballots[1:]})


def forge_a_ballot(order: Order) -> Order:
    content = base64.b64decode(order.ballots[0])
    forged = content.replace(b'"epsilon_cap":"3"', b'"epsilon_cap":"8"')
    assert forged != content
    text = base64.b64encode(forged).decode()
    return order.model_copy(update={"ballots": (text, *order.ballots[1:])})


def stretch_the_warrant(order: Order) -> Order:
    content = base64.b64decode(order.warrant)
    forged = content.replace(b'"deadline_us":1', b'"deadline_us":9')
    assert forged != content
    return order.model_copy(update={"warrant": base64.b64encode(forged).decode()})


def cut_the_cosignatures(order: Order) -> Order:
    kept = [line for line in order.proof.split("\n") if "/witness " not in line]
    return order.model_copy(update={"proof": "\n".join(kept)})


def damage_the_proof(order: Order) -> Order:
    head, index, rest = order.proof.partition("index ")
    number, newline, tail = rest.partition("\n")
    return order.model_copy(update={"proof": f"{head}{index}{int(number) + 1}{newline}{tail}"})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (changed(site="south"), Reason.BAD_ORDER),
        (other_plan, Reason.PLAN_NOT_SIGNED),
        (drop_a_ballot, Reason.PLAN_NOT_SIGNED),
        (forge_a_ballot, Reason.PLAN_NOT_SIGNED),
        (changed(ballots=()), Reason.PLAN_NOT_SIGNED),
        (stretch_the_warrant, Reason.BAD_ORDER),
        (changed(kind=OrderKind.EVALUATE), Reason.BAD_ORDER),
        (changed(proof=""), Reason.PROOF_INVALID),
        (cut_the_cosignatures, Reason.PROOF_INVALID),
        (damage_the_proof, Reason.PROOF_INVALID),
    ],
)
def test_a_changed_order_is_refused(
    people: Federation, first_run: str, change: Change, reason: Reason
) -> None:
    honest = people.exchange(first_run, "north", OrderKind.TRAIN, 1)
    order = change(Order.from_bytes(honest.order))
    outcome = admit(order.to_bytes(), honest.model, people.sites["north"])
    assert isinstance(outcome, Refused)
    assert outcome.reason is reason


def test_another_model_than_the_one_in_the_warrant_is_refused(
    people: Federation, first_run: str
) -> None:
    honest = people.exchange(first_run, "north", OrderKind.TRAIN, 2)
    outcome = admit(honest.order, honest.model + np.float32(1), people.sites["north"])
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.MODEL_MISMATCH


def test_bytes_that_are_no_order_get_an_answer(people: Federation, first_run: str) -> None:
    honest = people.exchange(first_run, "north", OrderKind.TRAIN, 1)
    said, update = participation.answer(people.sites["north"], b"{}", honest.model)
    answer = Answer.from_bytes(said)
    assert (answer.verdict, answer.reason) == (Verdict.REFUSED, Reason.BAD_ORDER)
    assert update is None


def test_a_fork_of_the_log_stops_the_hospital(people: Federation, first_run: str) -> None:
    """What the witness has seen is put in the place of another history of the same size."""
    site = people.sites["north"]
    honest = people.exchange(first_run, "north", OrderKind.TRAIN, 1)
    origin = site.membership.log.name
    with site.pool.connection() as connection:
        row = connection.execute("SELECT note FROM witness_seen WHERE origin = %s", (origin,))
        seen = row.fetchone()[0]
        lines = seen.split("\n")
        lines[2] = base64.b64encode(bytes(32)).decode()
        forged = "\n".join(lines)
        connection.execute("UPDATE witness_seen SET note = %s", (forged,))
    try:
        outcome = admit(honest.order, honest.model, site)
    finally:
        with site.pool.connection() as connection:
            connection.execute("UPDATE witness_seen SET note = %s", (seen,))
    assert isinstance(outcome, Refused)
    assert outcome.reason is Reason.LOG_FORKED


class FreeLedger(Ledger):
    """A ledger that charges nobody: the charge is flipped off."""

    def __init__(self, charge: Charge) -> None:
        self._paid = charge

    def check(self, *_: object) -> None:
        pass

    def charge(self, connection: object, access: Access) -> Charge:
        return self._paid

    def charges(self, *_: object) -> tuple[Charge, ...]:
        return (self._paid,)


def opening_of(order: bytes) -> Opening:
    return Opening.from_json(Entry.parse(base64.b64decode(Order.from_bytes(order).warrant)).body)


def test_without_a_charge_nothing_passes_the_gate(people: Federation, first_run: str) -> None:
    site = people.sites["north"]
    opening = opening_of(people.exchange(first_run, "north", OrderKind.TRAIN, 1).order)
    unpaid = opening.model_copy(update={"round": 99})
    with site.pool.connection() as connection:
        charges = site.ledger.charges(connection, account_of(site.name), Partition.TRAIN)
        terms = next(one.mechanism for one in charges if one.run_id == first_run)
        find = partial(egress.find_charge, connection, site.ledger, site=site.name)
        assert find(terms=terms, opening=opening).round == 1
        with pytest.raises(EgressError, match="no charge for round 99"):
            find(terms=terms, opening=unpaid)
        for other in ({"steps": 4}, {"noise_multiplier": "0.5"}, {"sample_rate": "0.000001"}):
            with pytest.raises(EgressError, match="other steps, sampling or noise"):
                find(terms=terms.model_copy(update=other), opening=opening)


def test_a_model_that_is_not_finite_is_refused_before_anybody_pays_for_it(
    people: Federation, first_run: str
) -> None:
    """The centre itself signs for such a model."""
    honest = people.exchange(first_run, "north", OrderKind.TRAIN, 1)
    spoiled = np.full_like(honest.model, np.nan)
    opening = opening_of(honest.order).model_copy(update={"model_digest": packed_digest(spoiled)})
    with people.centre.pool.connection() as connection, connection.transaction(force_rollback=True):
        warrant = people.centre.outbox.append(connection, events.round_opened(opening))
    order = changed(warrant=base64.b64encode(warrant).decode())(Order.from_bytes(honest.order))
    outcome = admit(order.to_bytes(), spoiled, people.sites["north"])
    assert isinstance(outcome, Refused)
    assert (outcome.reason, "not finite" in outcome.explanation) == (Reason.MODEL_MISMATCH, True)


class Unlike:
    """In the place of a hospital's workshop: the images are not what they were."""

    def __init__(self, fault: Exception) -> None:
        self._fault = fault

    def check(self, _: object) -> None:
        pass

    def examples(self, *_: object) -> object:
        raise self._fault


@pytest.mark.parametrize("fault", [PixelsError("image 12ab is gone"), OneClassError("0 of 18")])
def test_how_the_images_changed_is_not_told(
    people: Federation, first_run: str, fault: Exception
) -> None:
    site = people.sites["north"]
    honest = people.exchange(first_run, "north", OrderKind.TRAIN, 2)
    with forgotten_answer(site, first_run):
        spoiled = replace(site, workshop=Unlike(fault))
        said, update = participation.answer(spoiled, honest.order, honest.model)
    answer = Answer.from_bytes(said)
    assert (answer.reason, update) == (Reason.COHORT_CHANGED, None)
    assert answer.explanation == participation.CHANGED


def test_a_node_that_skips_the_charge_is_stopped_by_its_own_gate(
    people: Federation, plans: tuple[Plan, Plan, Plan], first_run: str
) -> None:
    site = people.sites["north"]
    honest = people.exchange(first_run, "north", OrderKind.TRAIN, 2)
    with site.pool.connection() as connection:
        charge = site.ledger.charges(connection, account_of(site.name), Partition.TRAIN)[-1]
    free = replace(site, ledger=FreeLedger(charge.model_copy(update={"round": 99})))
    with forgotten_answer(site, first_run):
        said, update = participation.answer(free, honest.order, honest.model)
    answer = Answer.from_bytes(said)
    assert (answer.verdict, answer.reason) == (Verdict.REFUSED, Reason.EGRESS_DENIED)
    assert update is None


@contextmanager
def forgotten_answer(site: Site, run_id: str) -> Iterator[None]:
    """The site as it was before it answered round 2."""
    key = "WHERE run_id = %s AND kind = 'train' AND round ="
    with site.pool.connection() as connection:
        connection.execute(f"UPDATE answers SET round = 102 {key} 2", (run_id,))
    try:
        yield
    finally:
        with site.pool.connection() as connection:
            connection.execute(f"DELETE FROM answers {key} 2", (run_id,))
            connection.execute(f"UPDATE answers SET round = 2 {key} 102", (run_id,))
