"""Calibration against its definition, and temperatures that are known beforehand."""

from math import log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hospital_node.judging.calibration import (
    MOST_BINS,
    brier,
    calibration_error,
    cooled,
    equal_mass_bins,
    error_by_chance,
    fit_temperature,
    reliability_table,
)

scored = st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=80)
Pairs = list[tuple[int, bool]]


def columns(pairs: Pairs) -> tuple[np.ndarray, np.ndarray]:
    return np.array([s / 20 for s, _ in pairs]), np.array([int(y) for _, y in pairs])


@settings(deadline=None)
@given(scored, st.integers(1, 12))
def test_bins_hold_the_least_number_of_patients_and_never_part_equal_scores(
    pairs: Pairs, least: int
) -> None:
    scores, _ = columns(pairs)
    bins = equal_mass_bins(scores, least=least)
    counts = np.bincount(bins.of_patient, minlength=bins.count)
    assert bins.count == counts.size <= MOST_BINS
    assert bins.count == 1 or counts.min() >= least
    order = np.argsort(scores, kind="stable")
    assert (np.diff(bins.of_patient[order]) >= 0).all()
    for score in set(scores):
        assert len(set(bins.of_patient[scores == score])) == 1


@settings(deadline=None)
@given(scored)
def test_the_error_is_the_mean_gap_of_the_bins_weighed_by_their_patients(pairs: Pairs) -> None:
    scores, labels = columns(pairs)
    bins = equal_mass_bins(scores, least=3)
    weights = (np.arange(scores.size) % 3).astype(float)
    weights[0] = 2
    expected = 0.0
    for number in range(bins.count):
        inside = [
            (scores[i], labels[i])
            for i in range(scores.size)
            if bins.of_patient[i] == number
            for _ in range(int(weights[i]))
        ]
        if inside:
            gap = abs(
                sum(s for s, _ in inside) / len(inside) - sum(y for _, y in inside) / len(inside)
            )
            expected += len(inside) / weights.sum() * gap
    assert np.isclose(calibration_error(scores - labels, bins, weights[None])[0], expected)
    squares = [(s - y) ** 2 for s, y in zip(scores, labels, strict=True)]
    assert np.isclose(brier(scores, labels, np.ones((1, scores.size)))[0], np.mean(squares))


def test_many_patients_of_different_scores_lie_in_ten_equal_bins() -> None:
    bins = equal_mass_bins(np.random.default_rng(1).permutation(500) / 500, least=10)
    assert np.bincount(bins.of_patient).tolist() == [50] * 10


def test_the_table_says_what_the_bins_hold() -> None:
    scores = np.repeat([0.25, 0.75], 40)
    labels = (np.arange(80) % 4 < np.repeat([1, 3], 40)).astype(np.int64)
    low, high = reliability_table(scores, labels, equal_mass_bins(scores, least=10))
    assert (low["patients"], low["predicted"], low["observed"]) == (40, 0.25, 0.25)
    assert (high["patients"], high["predicted"], high["observed"]) == (40, 0.75, 0.75)
    # Wilson's interval of 10 in 40, by his formula.
    assert low["low"] == pytest.approx(0.14187, abs=1e-4)
    assert low["high"] == pytest.approx(0.40195, abs=1e-4)


def a_group(seed: int, *, sure: float) -> tuple[np.ndarray, np.ndarray]:
    """Right probabilities whose log-odds are then made `sure` times as large."""
    generator = np.random.default_rng(seed)
    logits = generator.standard_normal(4000)
    labels = (generator.random(4000) < 1 / (1 + np.exp(-logits))).astype(np.int64)
    return 1 / (1 + np.exp(-sure * logits)), labels


@pytest.mark.parametrize("sure", [0.5, 1.0, 3.0])
def test_a_temperature_takes_back_how_much_too_sure_scores_are(sure: float) -> None:
    scores, labels = a_group(2, sure=sure)
    found = fit_temperature(scores[:, None], labels[:, None].astype(float), exclusive=False)
    assert found == pytest.approx(sure, rel=0.12)
    others, truth = a_group(3, sure=sure)
    again = cooled(others[:, None], found or 1.0, exclusive=False)[:, 0]
    bins = equal_mass_bins(again, least=10)
    error = calibration_error(again - truth, bins, np.ones((1, truth.size)))[0]
    assert error < error_by_chance(again, bins)


def test_the_fitted_temperature_has_the_least_log_loss() -> None:
    generator = np.random.default_rng(4)
    logits = 2 * generator.standard_normal((300, 3))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = np.eye(3)[[generator.choice(3, p=row) for row in cooled(shares, 2.0, exclusive=True)]]
    found = fit_temperature(shares, truth, exclusive=True)
    assert found is not None

    def loss(temperature: float) -> float:
        said = cooled(shares, temperature, exclusive=True)
        assert np.allclose(said.sum(axis=1), 1)
        return float(-(truth * np.log(said)).sum())

    assert loss(found) <= min(loss(found * 1.02), loss(found / 1.02))


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        ([], []),
        ([0.5, 0.5, 0.5], [0, 1, 1]),  # nothing in the scores
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1]),  # nobody is misjudged
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1]),  # everybody is
    ],
)
def test_where_no_temperature_is_best_none_is_given(scores: list[float], labels: list[int]) -> None:
    column = np.array(scores).reshape(-1, 1)
    truth = np.array(labels, dtype=float).reshape(-1, 1)
    assert fit_temperature(column, truth, exclusive=False) is None


def test_probabilities_of_zero_and_one_have_a_temperature_too() -> None:
    scores, truth = np.array([[0.0], [1.0], [1.0]]), np.array([[0.0], [1.0], [0.0]])
    found = fit_temperature(scores, truth, exclusive=False)
    # Two of three are judged rightly, so the best log-odds are log 2; believed were those of 1e-7.
    assert found is None
    assert fit_temperature(np.clip(scores, 1e-3, 1 - 1e-3), truth, exclusive=False) == (
        pytest.approx(log(999) / log(2), rel=1e-3)
    )


def test_scores_that_are_right_exceed_what_chance_shows_one_time_in_twenty() -> None:
    generator = np.random.default_rng(5)
    exceeded = 0
    for _ in range(80):
        scores = generator.random(100)
        labels = (generator.random(100) < scores).astype(np.int64)
        bins = equal_mass_bins(scores, least=10)
        error = calibration_error(scores - labels, bins, np.ones((1, 100)))[0]
        exceeded += error > error_by_chance(scores, bins)
    assert 1 <= exceeded <= 11
