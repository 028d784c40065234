"""Two models on the same patients: intervals that hold, and a verdict that is not given lightly."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hospital_node.judging import intervals
from hospital_node.judging.comparison import (
    AUC,
    ECE,
    MEAN_AUC,
    Better,
    Figure,
    Model,
    Points,
    Question,
    Scored,
    area_of,
    better,
    compare,
    names_of,
)

POINTS = Points((0.9,), (0.9,), least=10)


def asked(labels: np.ndarray, shared: np.ndarray, alone: np.ndarray) -> Question:
    by = {Model.SHARED: Scored(shared, shared), Model.ALONE: Scored(alone, alone)}
    return Question("finding", labels.astype(np.int64), by)


def drawn_group(
    seed: int, patients: int, *, shared: float = 1.4, alone: float = 1.4, noise: float = 0.3
) -> Question:
    """What makes a patient hard is the same for both models."""
    generator = np.random.default_rng(seed)
    labels = np.arange(patients) % 2
    hard = generator.standard_normal(patients)
    scores = [
        1 / (1 + np.exp(-(hard + size * labels + noise * generator.standard_normal(patients))))
        for size in (shared, alone)
    ]
    return asked(labels, *scores)


def figure(question: Question, name: str = AUC) -> Figure:
    (figures,), _ = compare([question], POINTS, seed=1)
    return next(one for one in figures if one.name == name)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    truth = 0.8413447  # Φ(√2/√2): scores N(0, 1) against N(√2, 1)
    covered = 0
    for seed in range(30):
        generator = np.random.default_rng(seed)
        labels = np.arange(120) % 2
        scores = generator.standard_normal(120) + np.sqrt(2) * labels
        scores = 1 / (1 + np.exp(-scores))
        found = figure(asked(labels, scores, scores)).by[Model.SHARED]
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert 25 <= covered <= 30


def test_a_difference_is_told_more_closely_than_the_areas_where_the_same_are_hard() -> None:
    found = figure(drawn_group(1, 200))
    width = {
        which: (one.high or 0) - (one.low or 0)
        for which, one in [*found.by.items(), ("difference", found.difference)]
    }
    assert width["difference"] < 0.7 * min(width[Model.SHARED], width[Model.ALONE])


@pytest.mark.parametrize(
    ("shared", "alone", "patients", "expected"),
    [
        (2.0, 0.8, 200, Better.SHARED),
        (0.8, 2.0, 200, Better.ALONE),
        (1.4, 1.4, 200, Better.UNTOLD),
        (2.5, 0.2, 18, Better.UNTOLD),  # nine of a class: too few, whatever they say
    ],
)
def test_which_model_is_better_is_said_where_it_can_be_told(
    shared: float, alone: float, patients: int, expected: Better
) -> None:
    question = drawn_group(4, patients, shared=shared, alone=alone)
    assert better(figure(question), [question]) is expected


def test_models_that_are_alike_are_told_apart_one_time_in_twenty() -> None:
    told = 0
    for seed in range(30):
        question = drawn_group(seed, 80)
        told += better(figure(question), [question]) is not Better.UNTOLD
    assert told <= 5


def test_a_sample_without_an_exception_is_not_certain() -> None:
    labels = np.arange(20) % 2
    found = figure(asked(labels, 0.25 + labels / 2, 0.75 - labels / 2))
    # Of ten pairs without a patient in common all are right: 0.975 sure of 0.025 ** (1 / 10).
    assert found.by[Model.SHARED].to_json() == [1.0, pytest.approx(0.6915, abs=1e-4), 1.0]
    assert found.by[Model.ALONE].to_json() == [0.0, 0.0, pytest.approx(0.3085, abs=1e-4)]


def test_an_error_that_chance_shows_too_has_an_interval_down_to_nothing() -> None:
    held = 0
    for seed in range(1000, 1040):
        generator = np.random.default_rng(seed)
        scores = 1 / (1 + np.exp(-generator.standard_normal(150)))
        labels = (generator.random(150) < scores).astype(np.int64)
        held += figure(asked(labels, scores, scores), ECE).by[Model.SHARED].low == 0.0
    assert 33 <= held <= 40


def test_a_large_error_is_in_its_interval_and_nothing_is_not() -> None:
    held = 0
    for seed in range(20):
        generator = np.random.default_rng(seed)
        right = 1 / (1 + np.exp(-generator.standard_normal(200)))
        labels = (generator.random(200) < right).astype(np.int64)
        odds = 3 * np.log(right / (1 - right))
        scores = 1 / (1 + np.exp(-odds))
        found = figure(asked(labels, scores, scores), ECE).by[Model.SHARED]
        assert found.low is not None
        assert found.high is not None
        held += 0 < found.low <= np.abs(scores - right).mean() <= found.high
    assert held >= 16


@pytest.mark.parametrize("labels", [[], [0], [1, 1, 1], [0, 0, 0, 1]])
def test_groups_that_can_hardly_be_asked_give_what_they_can(labels: list[int]) -> None:
    truth = np.array(labels, dtype=np.int64)
    scores = np.linspace(0.2, 0.9, truth.size)
    question = asked(truth, scores, scores)
    (figures,), _ = compare([question], POINTS, seed=1)
    assert (area_of(figures) is not None) == (len(set(labels)) == 2)
    assert bool(figures) == bool(labels)
    assert better(area_of(figures), [question]) is Better.UNTOLD


def test_one_positive_patient_gives_no_interval_that_resamples_without_it_would_make() -> None:
    labels = np.array([0] * 30 + [1])
    found = intervals.percentile(0.9, np.array([np.nan] * 600 + [0.9] * 400))
    assert (found.low, found.high) == (None, None)
    scores = np.linspace(0.1, 0.9, 31)
    assert better(figure(asked(labels, scores, scores)), [asked(labels, scores, scores)]) is (
        Better.UNTOLD
    )


def test_scores_that_are_all_equal_are_worth_a_coin() -> None:
    labels = np.arange(40) % 2
    found = figure(asked(labels, np.full(40, 0.5), np.full(40, 0.5)))
    assert found.by[Model.SHARED].to_json() == [0.5, 0.5, 0.5]
    assert found.difference.to_json() == [0.0, 0.0, 0.0]


def test_the_mean_over_findings_is_of_their_areas_and_has_an_interval_of_its_own() -> None:
    questions = [drawn_group(seed, 120, shared=1 + seed, alone=0.5) for seed in (0, 1)]
    figures, mean = compare(questions, POINTS, seed=1)
    areas = [one for told in figures if (one := area_of(told))]
    assert mean is not None
    assert mean.name == MEAN_AUC
    for model in Model:
        found = mean.by[model]
        assert found.value == pytest.approx(np.mean([one.by[model].value for one in areas]))
        assert (found.high or 0) - (found.low or 0) < max(
            (one.by[model].high or 0) - (one.by[model].low or 0) for one in areas
        )


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 40))
def test_every_figure_is_inside_its_interval_s_scale_and_the_seed_alone_decides(
    seed: int, patients: int
) -> None:
    question = drawn_group(seed, patients)
    (figures,), _ = compare([question], POINTS, seed=seed)
    again, _ = compare([question], POINTS, seed=seed)
    assert again[0] == figures
    assert [one.name for one in figures] == list(names_of(POINTS))
    for one in figures:
        for found in one.by.values():
            assert found.low is not None
            assert found.high is not None
            assert 0 <= found.low <= found.high <= 1
            assert 0 <= found.value <= 1


def test_many_patients_are_resampled_in_parts_as_they_would_be_at_once() -> None:
    seen: list[int] = []

    def count(weights: np.ndarray) -> np.ndarray:
        seen.append(len(weights))
        assert (weights.sum(axis=1) == 30_000).all()
        return weights[:, :1]

    drawn = intervals.resampled(count, 30_000, seed=1)
    assert drawn.shape == (intervals.RESAMPLES, 1)
    assert max(seen) * 30_000 <= intervals.AT_ONCE
