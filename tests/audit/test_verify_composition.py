"""ε recomputed with the standard library agrees with the accountants of others."""

import logging
import math

import dp_accounting
import pytest
from dp_accounting.rdp import RdpAccountant as GoogleAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from opacus.accountants.analysis import rdp as opacus_rdp

from audit.verifying.composition import ORDERS, Composition, SampledGaussian, _rdp, mechanism_of

GRID = [
    # sample rate, σ, steps, δ
    (0.01, 1.0, 1000, 1e-5),
    (0.43, 6.2, 900, 1e-5),
    (0.1, 2.0, 150, 1e-4),
    (0.064, 1.2, 1200, 1e-5),
    (0.3, 5.0, 500, 1e-6),
    (0.001, 4.0, 10_000, 1e-6),
    (1.0, 8.0, 20, 1e-5),
    (1.0, 20.0, 1, 1e-5),
]


def epsilon(delta: float, *mechanisms: tuple[float, float, int]) -> float:
    composition = Composition()
    for mechanism in mechanisms:
        composition.add(SampledGaussian(*mechanism))
    return composition.epsilon(delta)


@pytest.mark.parametrize(("rate", "sigma", "steps", "delta"), GRID)
def test_epsilon_agrees_with_google_within_one_percent(rate, sigma, steps, delta) -> None:
    google = GoogleAccountant(orders=ORDERS)
    event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(sigma))
    google.compose(event, steps)
    assert epsilon(delta, (rate, sigma, steps)) == pytest.approx(
        google.get_epsilon(delta), rel=0.01
    )


@pytest.mark.parametrize(("rate", "sigma", "steps", "delta"), GRID)
def test_epsilon_agrees_with_opacus_within_one_percent(rate, sigma, steps, delta) -> None:
    logging.getLogger("opacus").setLevel(logging.ERROR)
    costs = opacus_rdp.compute_rdp(q=rate, noise_multiplier=sigma, steps=steps, orders=list(ORDERS))
    theirs, _ = opacus_rdp.get_privacy_spent(orders=list(ORDERS), rdp=costs, delta=delta)
    assert epsilon(delta, (rate, sigma, steps)) == pytest.approx(theirs, rel=0.01)


def test_where_google_drops_orders_epsilon_is_lower_and_never_higher() -> None:
    """Its series does not converge at every fractional order; such an order then counts as ∞."""
    for rate, sigma, steps, delta in ((0.3, 5.0, 500, 1e-3), (0.05, 0.6, 500, 1e-5)):
        google = GoogleAccountant(orders=ORDERS)
        event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(sigma))
        google.compose(event, steps)
        ours = epsilon(delta, (rate, sigma, steps))
        assert 0.97 * google.get_epsilon(delta) < ours <= google.get_epsilon(delta)


def binomial_rdp(rate: float, sigma: float, order: int) -> float:
    """RDP at an integer order in closed form (Mironov, Talwar, Zhang 2019, §3.3)."""
    terms = [
        math.log(math.comb(order, k))
        + k * math.log(rate)
        + (order - k) * math.log1p(-rate)
        + (k * k - k) / (2 * sigma**2)
        for k in range(order + 1)
    ]
    high = max(terms)
    return (high + math.log(sum(math.exp(term - high) for term in terms))) / (order - 1)


@settings(max_examples=60, deadline=None)
@given(st.floats(0.001, 0.9), st.floats(0.3, 20), st.integers(2, 200))
def test_the_integral_equals_the_closed_form_at_integer_orders(rate, sigma, order) -> None:
    expected = binomial_rdp(rate, sigma, order)
    assert _rdp(rate, sigma, order) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_without_sampling_it_is_the_gaussian_mechanism() -> None:
    assert _rdp(1.0, 2.0, 5) == 5 / (2 * 4)
    assert _rdp(0.0, 2.0, 5) == 0


@settings(max_examples=25, deadline=None)
@given(st.floats(0.01, 0.5), st.floats(0.5, 8), st.integers(1, 500), st.integers(1, 500))
def test_spending_composes_and_never_shrinks(rate, sigma, first, second) -> None:
    apart = epsilon(1e-5, (rate, sigma, first), (rate, sigma, second))
    assert apart == pytest.approx(epsilon(1e-5, (rate, sigma, first + second)))
    assert apart >= epsilon(1e-5, (rate, sigma, first))
    assert epsilon(1e-5, (rate, sigma * 1.1, first)) <= epsilon(1e-5, (rate, sigma, first))
    assert epsilon(1e-6, (rate, sigma, first)) >= epsilon(1e-5, (rate, sigma, first))


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0, math.nan])
def test_a_delta_that_promises_nothing_is_refused(delta: float) -> None:
    with pytest.raises(ValueError, match="δ"):
        epsilon(delta, (0.1, 1.0, 1))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "laplace"},
        {"sample_rate": "1.5"},
        {"sample_rate": "nan"},
        {"noise_multiplier": "0"},
        {"noise_multiplier": "inf"},
        {"steps": 0},
        {"steps": "5"},
    ],
)
def test_a_mechanism_that_cannot_be_recomputed_is_refused(change: dict) -> None:
    honest = {
        "name": "sampled-gaussian",
        "sample_rate": "0.1",
        "noise_multiplier": "1.5",
        "steps": 5,
    }
    assert mechanism_of(honest) == SampledGaussian(0.1, 1.5, 5)
    with pytest.raises(ValueError):  # noqa: PT011 - each names its own fault
        mechanism_of(honest | change)
