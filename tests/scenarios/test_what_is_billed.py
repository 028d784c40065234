"""What is billed is what is done: before it is done, and with the noise that the charge names."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from federation import HOSPITALS, Federation, small_plan
from numpy.typing import NDArray

from hospital_node import participation, views
from hospital_node.site import Site
from hospital_node.training.accountant import epsilon
from hospital_node.training.membership import told_apart
from protocol.aggregation import Aggregation
from protocol.budget import Charge, Partition, Purpose, account_of
from protocol.membership import Membership
from protocol.plan import Optimiser, Plan
from protocol.round import Evaluation, OrderKind, Reason
from protocol.update import Packed

pytestmark = pytest.mark.scenario


def training_charges(people: Federation, run_id: str, site: str) -> list[Charge]:
    """What a hospital has put on the log about its training in a run, oldest first."""
    charges = [
        Charge.from_json(entry.body)
        for entry in people.entries()
        if entry.run_id == run_id and entry.type == "privacy.charged"
    ]
    return [one for one in charges if one.site == site and one.purpose is Purpose.TRAINING]


def noise_norm(plan: Plan, charge: Charge, *, size: int) -> float:
    """The L2 norm of what the billed noise of one round adds up to in the update."""
    optimiser, privacy = plan.optimiser, plan.privacy
    momentum = float(optimiser.momentum)
    steps = charge.mechanism.steps
    # The noise of a step stays in the velocity of every later one.
    gains = [(1 - momentum ** (steps - step)) / (1 - momentum) for step in range(steps)]
    scale = float(charge.mechanism.noise_multiplier) * float(privacy.max_grad_norm)
    per_step = float(optimiser.learning_rate) * scale / privacy.expected_patients
    return float(per_step * np.linalg.norm(gains) * np.sqrt(size))


def test_what_leaves_carries_the_noise_of_every_step_that_was_billed(
    people: Federation, plans: tuple[Plan, Plan, Plan], first_run: str
) -> None:
    for name in HOSPITALS:
        charges = training_charges(people, first_run, name)
        assert [one.round for one in charges] == [1, 2]
        for charge in charges:
            update = people.exchange(first_run, name, OrderKind.TRAIN, charge.round).update
            assert update is not None
            billed = noise_norm(plans[0], charge, size=update.size)
            # 1,281 coordinates: chance moves the norm by 2 %; what was learned adds some.
            assert 0.9 < np.linalg.norm(update.astype(np.float64)) / billed < 1.2


def bodies(people: Federation, kind: str) -> list[dict[str, Any]]:
    return [entry.body for entry in people.entries() if entry.type == kind]


def test_no_count_of_patients_leaves_without_noise(people: Federation, first_run: str) -> None:
    counts = [body["patients_noised"] for body in bodies(people, "data.manifest")]
    assert len(counts) >= 9
    away = np.array(counts) - 18
    # Nine squares of N(0, 10²) come to less than 50 once in 25,000 times; true counts always.
    assert np.square(away).sum() > 50


def test_released_scores_carry_the_noise_that_was_billed(
    people: Federation, first_run: str
) -> None:
    paid = {
        Charge.from_json(body).digest: body["mechanism"]["noise_multiplier"]
        for body in bodies(people, "privacy.charged")
    }
    released = [
        body for body in bodies(people, "evaluation.released") if body["run_id"] == first_run
    ]
    assert len(released) == len(HOSPITALS)
    squares = [
        (cell / float(paid[body["charge_digest"]])) ** 2
        for body in released
        for cell in (*body["negative"], *body["positive"])
    ]
    # 60 cells; the six patients of each hospital add at most 7 to what the noise comes to.
    assert 0.4 < sum(squares) / len(squares) < 1.9


def test_how_well_a_model_knows_its_own_patients_is_told_within_the_plans_epsilon(
    people: Federation, plans: tuple[Plan, Plan, Plan], first_run: str
) -> None:
    paid = {Charge.from_json(body).digest: body for body in bodies(people, "privacy.charged")}
    told = [body for body in bodies(people, "membership.released") if body["run_id"] == first_run]
    held_out = {
        body["site"]: body
        for body in bodies(people, "evaluation.released")
        if body["run_id"] == first_run
    }
    assert sorted(body["site"] for body in told) == sorted(HOSPITALS)
    squares = []
    for body in told:
        charge = paid[body["charge_digest"]]
        assert (charge["purpose"], charge["partition"]) == ("membership", "train")
        assert charge["mechanism"]["noise_multiplier"] == body["noise_multiplier"] == "20"
        site = people.sites[body["site"]]
        with site.pool.connection() as connection:
            charges = site.ledger.charges(connection, account_of(site.name), Partition.TRAIN)
        mine = [one for one in charges if one.plan_id == plans[0].id]
        assert [one.purpose for one in mine].count(Purpose.MEMBERSHIP) == 1
        assert epsilon([one.mechanism for one in mine], 1e-5) <= 3.0
        # Before the figures leave, and after all training: nothing was kept back for them.
        assert mine[-1].purpose is Purpose.MEMBERSHIP
        apart = told_apart(Membership.from_json(body), Evaluation.from_json(held_out[site.name]))
        report = next(one for one in views.report_view(site) if one["run_id"] == first_run)
        assert report["membership_released"]["auc"] == (apart and list(apart.auc))
        assert report["membership"]["patients_train"] <= 18
        assert 0 <= report["membership"]["auc"][0] <= 1
        squares += [(cell / 20) ** 2 for cell in (*body["negative"], *body["positive"])]
    # 60 cells of noise; eighteen patients add less than one to their mean.
    assert 0.4 < sum(squares) / len(squares) < 2.0
    assert people.verify().is_verified


class PowerCut:
    """In the place of a hospital's workshop: the machine stops when patients are looked at."""

    def check(self, _: object) -> None:
        pass

    def examples(self, *_: object) -> object:
        raise SystemError("the power is cut")


class Deafening:
    """Coins that make the noise larger than anybody will ever meet."""

    is_secure = False

    def uniform(self, count: int) -> NDArray[np.float64]:
        return np.full(count, 2.0**-53)


@dataclass(frozen=True)
class Told:
    """A run in which one hospital's power is cut and another's noise is out of bounds."""

    run_id: str
    reasons: dict[str, Reason]
    brought: list[Packed | None]


@pytest.fixture(scope="module")
def told(people: Federation, second_run: str) -> Told:
    optimiser = Optimiser(learning_rate="0.5", momentum="0.5", local_steps=3)
    plan = small_plan(
        "A plan with bad luck",
        sites=("north", "south"),
        optimiser=optimiser,
        aggregation=Aggregation(quorum=1, deadline_s=60),
        rounds=1,
    )
    people.propose(plan)
    for name in plan.sites:
        people.vote(name, plan)
    people.activate(plan, votes=2)
    brought: list[Packed | None] = []

    def answer(site: Site, order: bytes, packed: Packed) -> tuple[bytes, Packed | None]:
        said, update = participation.answer(site, order, packed)
        brought.append(update)
        return said, update

    cut = replace(people.sites["north"], workshop=PowerCut())
    loud = replace(people.sites["south"], randomness=Deafening)
    run_id = people.run(plan, {"north": partial(answer, cut), "south": partial(answer, loud)})
    (only,) = people.rounds(run_id)
    assert only.closing is not None
    return Told(run_id, {one.site: one.reason for one in only.closing.exclusions}, brought)


def test_a_crash_before_the_first_gradient_has_been_paid_for(
    people: Federation, told: Told
) -> None:
    assert told.reasons["north"] is Reason.INTERNAL_ERROR
    people.settle()
    assert len(training_charges(people, told.run_id, "north")) == 1


def test_what_no_honest_training_makes_does_not_leave_the_hospital(
    people: Federation, told: Told
) -> None:
    assert told.reasons["south"] is Reason.EGRESS_DENIED
    assert told.brought == [None]
    (charge,) = training_charges(people, told.run_id, "south")
    assert not charge.secure_noise


def test_the_log_of_a_run_with_bad_luck_verifies(people: Federation, told: Told) -> None:
    assert people.verify().is_verified
