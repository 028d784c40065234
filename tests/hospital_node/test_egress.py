"""The gate: what is not exactly an honest update does not leave."""

import numpy as np
import pytest

from hospital_node.egress import check_update
from hospital_node.errors import EgressError
from protocol.ballot import Ballot, Choice
from protocol.bounds import largest_norm
from protocol.catalogue import initial_state
from protocol.plan import Cohort, Plan, Task
from services.registry.plans import default_plan

COHORT = Cohort(modality=("DX",), label="label", positive="1", minimum_patients=50)
PLAN = default_plan("centre", sites=("north", "south"), cohort=COHORT, expires_us=1)
FINDINGS = COHORT.model_copy(
    update={"positive": "", "task": Task.MULTI_LABEL, "classes": ("a", "b", "c", "d")}
)
PLANS = [
    PLAN,
    default_plan("centre", sites=("north", "south"), cohort=FINDINGS, expires_us=1),
]
BALLOT = Ballot(
    plan_id=PLAN.id,
    site="north",
    choice=Choice.APPROVE,
    sample_rate="0.5",
    noise_multiplier="12.5",
)


def honest(plan: Plan, rng: np.random.Generator) -> np.ndarray:
    """The steps of a round in which every patient pulls one way as hard as the clip allows."""
    optimiser, privacy = plan.optimiser, plan.privacy
    size = initial_state(plan.network).size
    clip = float(privacy.max_grad_norm)
    pull = np.full(size, clip / np.sqrt(size)) * privacy.expected_patients
    position, velocity = np.zeros(size), np.zeros(size)
    for _ in range(optimiser.local_steps):
        noise = rng.normal(0, 12.5 * clip, size)
        velocity = float(optimiser.momentum) * velocity + (pull + noise) / privacy.expected_patients
        position -= float(optimiser.learning_rate) * velocity
    return position.astype("<f4")


def check(update: np.ndarray, plan: Plan = PLAN) -> None:
    check_update(plan, BALLOT, update=update, start=initial_state(plan.network))


@pytest.mark.parametrize("plan", PLANS)
def test_the_hardest_honest_round_passes(plan: Plan) -> None:
    for seed in range(20):
        check(honest(plan, np.random.default_rng(seed)), plan)


def test_an_update_of_one_output_is_none_of_several() -> None:
    with pytest.raises(EgressError, match="not the agreed form"):
        check(honest(PLAN, np.random.default_rng(0)), PLANS[1])


def test_a_larger_update_than_training_can_make_does_not_pass() -> None:
    bound = largest_norm(PLAN, BALLOT, start_norm=0.0)
    update = np.zeros_like(initial_state(PLAN.network))
    update[0] = bound * 1.01
    with pytest.raises(EgressError, match="training makes at most"):
        check(update)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_does_not_pass(value: float) -> None:
    update = np.zeros_like(initial_state(PLAN.network))
    update[3] = value
    with pytest.raises(EgressError, match="not finite"):
        check(update)


@pytest.mark.parametrize(
    "update",
    [
        np.zeros(1280, "<f4"),
        np.zeros(1282, "<f4"),
        np.zeros(1281, "<f8"),
        np.zeros((1, 1281), "<f4"),
    ],
)
def test_another_form_than_agreed_does_not_pass(update: np.ndarray) -> None:
    with pytest.raises(EgressError, match="agreed form"):
        check(update)
