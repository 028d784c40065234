"""Every figure against its definition, written out patient by patient."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hospital_node.judging.discrimination import Tallies, roc_curve

PATIENTS = st.lists(
    st.tuples(st.integers(0, 6), st.booleans(), st.integers(0, 3)), min_size=1, max_size=25
)
SHARES = st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0])

Patients = list[tuple[int, bool, int]]


def drawn(patients: Patients) -> list[tuple[float, bool]]:
    """Each patient as often as it weighs."""
    return [(score / 6, label) for score, label, weight in patients for _ in range(weight)]


def tallies(patients: Patients) -> Tallies:
    scores, labels, weights = (np.array(column) for column in zip(*patients, strict=True))
    return Tallies.of(scores / 6, labels.astype(np.int64), weights[None, :].astype(float))


def same(found: float, expected: float | None) -> bool:
    return bool(np.isnan(found)) if expected is None else bool(np.isclose(found, expected))


@settings(deadline=None)
@given(PATIENTS)
def test_auc_is_the_share_of_pairs_in_the_right_order(patients: Patients) -> None:
    wins = [
        (a > b) + (a == b) / 2
        for a, is_a in drawn(patients)
        for b, is_b in drawn(patients)
        if is_a and not is_b
    ]
    expected = sum(wins) / len(wins) if wins else None
    assert same(tallies(patients).auc()[0], expected)


@settings(deadline=None)
@given(PATIENTS, SHARES)
def test_sensitivity_is_the_best_of_all_thresholds_that_are_specific_enough(
    patients: Patients, least: float
) -> None:
    people = drawn(patients)
    positive = [score for score, label in people if label]
    negative = [score for score, label in people if not label]
    expected, mirrored = None, None
    if positive and negative:
        both = [
            (
                sum(score >= threshold for score in positive) / len(positive),
                sum(score < threshold for score in negative) / len(negative),
            )
            for threshold in [*{score for score, _ in people}, 2.0]
        ]
        expected = max(caught for caught, spared in both if spared >= least - 1e-9)
        mirrored = max(spared for caught, spared in both if caught >= least - 1e-9)
    found = tallies(patients)
    assert same(found.sensitivity_at(least)[0], expected)
    assert same(found.specificity_at(least)[0], mirrored)


def test_scores_that_are_all_equal_tell_nobody_apart() -> None:
    found = tallies([(3, True, 1)] * 5 + [(3, False, 1)] * 5)
    assert found.auc() == [0.5]
    assert found.sensitivity_at(0.9) == [0.0]
    assert found.specificity_at(0.9) == [0.0]


@pytest.mark.parametrize("labels", [[], [1], [0], [1, 1, 1]])
def test_without_both_classes_there_is_nothing_to_tell_apart(labels: list[int]) -> None:
    scores, truth = np.linspace(0, 1, len(labels)), np.array(labels, dtype=np.int64)
    found = Tallies.of(scores, truth, np.ones((1, len(labels))))
    for figure in (found.auc(), found.sensitivity_at(0.9), found.specificity_at(0.9)):
        assert np.isnan(figure).all()


def test_the_roc_curve_goes_from_corner_to_corner_and_has_the_auc_below_it() -> None:
    generator = np.random.default_rng(3)
    labels = np.arange(80) % 2
    scores = np.round(generator.random(80) + labels / 3, 1)
    false_rate, true_rate = roc_curve(scores, labels)
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)
    area = Tallies.of(scores, labels, np.ones((1, 80))).auc()[0]
    assert np.isclose(np.trapezoid(true_rate, false_rate), area)
