from itertools import pairwise

import numpy as np
import pytest
from dp_accounting import dp_event
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from audit.verifying import composition
from hospital_node.errors import PrivacyError
from hospital_node.training.accountant import ORDERS, calibrate, epsilon, frozen_epsilon
from hospital_node.training.group import epsilon_with_images
from protocol.budget import Mechanism
from protocol.record import decimal_text

# (sample rate, noise multiplier, steps, delta): small and large cohorts, few and many steps.
SETTINGS = [
    (0.01, 1.0, 1000, 1e-5),
    (0.01, 0.7, 200, 1e-5),
    (0.02, 1.2, 3000, 1e-6),
    (0.0128, 1.2, 900, 1e-5),
    (0.0584, 2.3, 600, 1e-5),
    (0.233, 3.7, 100, 1e-5),
    (0.43, 6.2, 600, 1e-5),
    (0.933, 9.84, 50, 1e-5),
    (1.0, 10.0, 1, 1e-5),
    (1.0, 4.0, 20, 1e-7),
]


def a_cost(rate: float, noise: float, steps: int) -> Mechanism:
    return Mechanism(
        sample_rate=decimal_text(rate), noise_multiplier=decimal_text(noise), steps=steps
    )


@pytest.mark.parametrize(("rate", "noise", "steps", "delta"), SETTINGS)
def test_epsilon_is_what_another_accountant_says(
    rate: float, noise: float, steps: int, delta: float
) -> None:
    event = dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise))
    other = RdpAccountant().compose(event, steps).get_epsilon(delta)
    assert epsilon([a_cost(rate, noise, steps)], delta) == pytest.approx(other, rel=0.01)


# Single steps that cost next to nothing, where hundreds decide among the orders.
QUIET = [
    *[(1.0, noise, 1, delta) for noise in (30, 50, 100, 500) for delta in (1e-5, 1e-7)],
    *[(0.1, noise, 1, delta) for noise in (20, 30) for delta in (1e-5, 1e-7)],
    *[(0.01, noise, 1, delta) for noise in (3, 5, 8) for delta in (1e-5, 1e-7)],
    (0.5, 100, 1, 1e-7),
]


@pytest.mark.parametrize(("rate", "noise", "steps", "delta"), QUIET)
def test_a_step_that_costs_next_to_nothing_is_never_above_what_another_accountant_says(
    rate: float, noise: float, steps: int, delta: float
) -> None:
    event = dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(noise))
    other = RdpAccountant(ORDERS).compose(event, steps).get_epsilon(delta)
    found = epsilon([a_cost(rate, noise, steps)], delta)
    assert found == pytest.approx(other, rel=1e-6)
    assert found <= RdpAccountant().compose(event, steps).get_epsilon(delta) * 1.01


def test_no_order_is_tried_that_the_verifier_does_not_try() -> None:
    assert set(ORDERS) == {float(order) for order in composition.ORDERS}


@pytest.mark.parametrize(("rate", "noise", "steps", "delta"), SETTINGS)
def test_the_figure_for_a_frozen_plan_is_the_exact_one_but_for_a_hundredth(
    rate: float, noise: float, steps: int, delta: float
) -> None:
    cost = a_cost(rate, noise, steps)
    exact = exact_epsilon(cost, delta)
    found = frozen_epsilon([cost], delta)
    assert found is not None
    assert exact - 1e-4 <= found <= exact + 0.015
    assert found < epsilon([cost], delta) + 0.015


def exact_epsilon(cost: Mechanism, delta: float) -> float:
    """By privacy loss distributions, of another accountant."""
    gaussian = dp_event.GaussianDpEvent(float(cost.noise_multiplier))
    event = dp_event.PoissonSampledDpEvent(float(cost.sample_rate), gaussian)
    return float(PLDAccountant().compose(event, cost.steps).get_epsilon(delta))


trainings = st.builds(
    a_cost,
    st.floats(-2.5, 0).map(lambda power: round(10**power, 4)),
    st.floats(-0.15, 1.1).map(lambda power: round(10**power, 2)),
    st.integers(20, 2000),
)


@settings(max_examples=20, derandomize=True, deadline=None)
@given(trainings, st.sampled_from([1e-5, 1e-6, 1e-7]))
def test_both_figures_of_any_training_are_those_of_another_accountant(
    cost: Mechanism, delta: float
) -> None:
    gaussian = dp_event.GaussianDpEvent(float(cost.noise_multiplier))
    event = dp_event.PoissonSampledDpEvent(float(cost.sample_rate), gaussian)
    other = RdpAccountant().compose(event, cost.steps).get_epsilon(delta)
    assume(0.1 < other < 20)
    assert epsilon([cost], delta) == pytest.approx(other, rel=0.01)
    exact = exact_epsilon(cost, delta)
    found = frozen_epsilon([cost], delta)
    assert found is not None
    assert exact - 1e-4 <= found <= exact + 0.015


def test_a_plans_count_and_its_training_compose_in_the_frozen_figure_too() -> None:
    count, training = a_cost(1, 10, 1), a_cost(0.233, 3.7, 100)
    together = frozen_epsilon([count, training], 1e-5)
    assert together is not None
    alone = frozen_epsilon([training], 1e-5)
    assert alone is not None
    assert alone < together < epsilon([count, training], 1e-5)
    in_rounds = [a_cost(0.233, 3.7, 20)] * 5
    assert frozen_epsilon([*in_rounds, count], 1e-5) == pytest.approx(together, abs=1e-9)


def test_too_little_noise_has_no_frozen_figure_and_nothing_done_costs_nothing() -> None:
    assert frozen_epsilon([a_cost(0.5, 0, 1)], 1e-5) is None
    assert frozen_epsilon([a_cost(0.5, 0.05, 1)], 1e-5) is None
    assert frozen_epsilon([], 1e-5) == 0.0


def test_epsilon_is_above_the_exact_one() -> None:
    cost = a_cost(0.0584, 2.3, 600)
    exact = exact_epsilon(cost, 1e-5)
    assert exact < epsilon([cost], 1e-5) < 1.2 * exact


def test_rounds_compose_and_do_not_start_anew() -> None:
    one_round = a_cost(0.1, 1.5, 50)
    apart = epsilon([one_round], 1e-5)
    together = epsilon([one_round] * 5, 1e-5)
    assert apart < together < 5 * apart
    assert together == pytest.approx(epsilon([a_cost(0.1, 1.5, 250)], 1e-5))


def test_nothing_done_costs_nothing() -> None:
    assert epsilon([], 1e-5) == 0.0


def test_no_noise_has_no_bound() -> None:
    assert epsilon([a_cost(0.5, 0, 1)], 1e-5) == float("inf")


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_a_sample_rate_that_is_no_probability_has_no_epsilon(rate: float) -> None:
    with pytest.raises(PrivacyError, match="expected a probability"):
        epsilon([a_cost(rate, 1, 1)], 1e-5)


costs = st.builds(
    a_cost, st.sampled_from([0.05, 0.5, 1.0]), st.sampled_from([0.8, 3.0, 12.0]), st.integers(1, 50)
)


@settings(max_examples=30, deadline=None)
@given(st.lists(costs, max_size=4), costs)
def test_every_further_access_costs_more(before: list[Mechanism], then: Mechanism) -> None:
    assert epsilon([*before, then], 1e-5) > epsilon(before, 1e-5)


def test_an_access_that_costs_next_to_nothing_pays_for_nothing_else() -> None:
    dear, quiet = a_cost(1, 0.3, 52), a_cost(0.5, 1e6, 100_000)
    assert epsilon([dear, quiet], 1e-5) >= epsilon([dear], 1e-5)


@pytest.mark.parametrize("rate", [0.05, 0.2334, 1.0])
def test_calibrated_noise_keeps_the_target_with_all_else_that_is_released(rate: float) -> None:
    count = a_cost(1, 10, 1)
    noise = calibrate(3.0, 1e-5, sample_rate=rate, steps=50, also=(count,))
    assert epsilon([a_cost(rate, noise, 50), count], 1e-5) <= 3.0
    assert epsilon([a_cost(rate, noise - 0.0002, 50), count], 1e-5) > 3.0
    assert noise > calibrate(3.0, 1e-5, sample_rate=rate, steps=50)


def test_the_noise_a_small_and_a_large_hospital_need() -> None:
    # 64 patients expected, 30 rounds of 30 steps at ε = 3.
    small = calibrate(3.0, 1e-5, sample_rate=round(64 / 150, 4), steps=900)
    large = calibrate(3.0, 1e-5, sample_rate=64 / 5000, steps=900)
    assert small > 5 * large


def test_a_release_that_costs_the_whole_budget_leaves_nothing_to_train_with() -> None:
    with pytest.raises(PrivacyError, match="leaves nothing of 1"):
        calibrate(1.0, 1e-5, sample_rate=0.1, steps=10, also=(a_cost(1, 1, 1),))


def test_a_target_beyond_all_noise_is_refused() -> None:
    with pytest.raises(PrivacyError, match="needs more noise"):
        calibrate(1e-6, 1e-5, sample_rate=1, steps=100_000)


def test_a_claim_per_image_is_true_for_a_patient_with_one() -> None:
    cost = a_cost(0.2334, 3.6864, 100)
    claimed = epsilon([cost], 1e-5)
    assert epsilon_with_images(cost, 1e-5, images=1) == pytest.approx(claimed, rel=0.01)


def test_a_claim_of_three_per_image_is_fifteen_for_four_images_and_three_hundred_for_thirty() -> (
    None
):
    cost = a_cost(1, 1.4933, 1)
    found = [epsilon_with_images(cost, 1e-5, images=images) for images in (1, 4, 30)]
    assert found == pytest.approx([3.0, 15.4, 296], rel=0.01)
    # With everybody in every step, k images are one Gaussian with k times the sensitivity.
    assert found[1] == pytest.approx(epsilon([a_cost(1, 1.4933 / 4, 1)], 1e-5), rel=0.01)


def test_a_claim_per_image_hides_more_the_more_images_there_are() -> None:
    found = [epsilon_with_images(a_cost(0.05, 1.56, 300), 1e-5, images=k) for k in (1, 2, 4, 8, 16)]
    assert all(np.isfinite(found))
    assert all(later > 1.5 * before for before, later in pairwise(found))
