import numpy as np
import pytest
from protocol_strategies import a_plan
from training_cases import SeededRandomness, a_mechanism, make_patients

from hospital_node.errors import PrivacyError
from hospital_node.training.engine import HeadEngine
from hospital_node.training.evaluate import auc, patient_scores
from hospital_node.training.mechanism import PatientMechanism
from hospital_node.training.randomness import SecureRandomness
from hospital_node.training.train import train_alone, train_steps
from protocol.catalogue import initial_state, layout_of
from protocol.errors import LayoutError
from protocol.plan import Optimiser
from protocol.update import check_packed

PLAN = a_plan(optimiser=Optimiser(learning_rate="8", momentum="0.8", local_steps=10))
ENGINE = HeadEngine(make_patients((1, 2, 1, 4) * 50))
MECHANISM = a_mechanism(noise_multiplier=1.0, expected_patients=100, steps=10)


def test_a_round_of_steps_learns_and_travels_in_the_agreed_layout() -> None:
    start = initial_state(PLAN.network)
    update = train_steps(
        PLAN, ENGINE, mechanism=MECHANISM, start=start, randomness=SeededRandomness(0)
    )
    check_packed(layout_of(PLAN.network), update)
    others = make_patients((1, 1, 3) * 30, seed=1)
    assert (auc(patient_scores(PLAN, start + update, others), others.labels) or 0) > 0.9


def test_two_rounds_with_the_systems_coins_are_never_the_same() -> None:
    start = initial_state(PLAN.network)
    updates = [
        train_steps(
            PLAN,
            ENGINE,
            mechanism=MECHANISM,
            start=start,
            randomness=SecureRandomness.from_system(),
        )
        for _ in range(2)
    ]
    assert not np.allclose(*updates)


def test_an_update_is_the_change_and_not_the_model() -> None:
    start = initial_state(PLAN.network) + np.float32(0.25)
    silent = a_mechanism(sample_rate=1e-12, noise_multiplier=1e-9)
    update = train_steps(
        PLAN, ENGINE, mechanism=silent, start=start, randomness=SeededRandomness(0)
    )
    assert np.abs(update).max() < 1e-6


def test_momentum_and_weight_decay_are_the_plans() -> None:
    silent = a_mechanism(sample_rate=1e-12, noise_multiplier=1e-12, steps=2)
    plan = a_plan(
        optimiser=Optimiser(learning_rate="0.1", momentum="0.5", weight_decay="0.2", local_steps=2)
    )
    start = initial_state(plan.network) + np.float32(1)
    update = train_steps(
        plan, ENGINE, mechanism=silent, start=start, randomness=SeededRandomness(0)
    )
    first = 1 - 0.1 * 0.2
    second = first - 0.1 * (0.5 * 0.2 + 0.2 * first)
    assert np.allclose(1 + update, second, atol=1e-6)


def test_a_hospital_alone_takes_as_many_steps_as_the_whole_plan() -> None:
    alone = train_alone(PLAN, ENGINE, mechanism=MECHANISM, randomness=SeededRandomness(1))
    coins = SeededRandomness(1)
    model = initial_state(PLAN.network)
    for _ in range(PLAN.rounds):
        model = model + train_steps(
            PLAN, ENGINE, mechanism=MECHANISM, start=model, randomness=coins
        )
    assert np.array_equal(alone, model)


@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_a_model_that_is_not_finite_is_refused(fault: float) -> None:
    start = initial_state(PLAN.network)
    start[3] = fault
    with pytest.raises(LayoutError):
        train_steps(PLAN, ENGINE, mechanism=MECHANISM, start=start, randomness=SeededRandomness(0))


def test_what_is_billed_is_what_is_trained_with() -> None:
    mechanism = PatientMechanism.of(PLAN, sample_rate="0.25", noise_multiplier="3.5")
    cost = mechanism.billed()
    assert (cost.sample_rate, cost.noise_multiplier, cost.steps) == ("0.25", "3.5", 10)
    assert mechanism.billed(rounds=5).steps == PLAN.total_steps
    assert mechanism.max_grad_norm == 0.5
    assert mechanism.images_per_patient == 4


@pytest.mark.parametrize(
    ("sample_rate", "noise_multiplier"), [("0", "1"), ("1.5", "1"), ("0.5", "0"), ("0.5", "-1")]
)
def test_terms_that_give_no_privacy_cannot_be_written(
    sample_rate: str, noise_multiplier: str
) -> None:
    with pytest.raises(PrivacyError, match="expected"):
        PatientMechanism.of(PLAN, sample_rate=sample_rate, noise_multiplier=noise_multiplier)
