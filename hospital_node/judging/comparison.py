"""Comparison: the shared model against the one this hospital trained alone, on the same patients.

The one rule: a difference is told from chance by the same patients drawn for both, and where it
cannot be told, that is what is said. Where scores come from is not known here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hospital_node.judging import intervals
from hospital_node.judging.calibration import (
    Bins,
    brier,
    calibration_error,
    equal_mass_bins,
    error_by_chance,
)
from hospital_node.judging.discrimination import Floats, Tallies, Weights
from hospital_node.judging.intervals import Estimate

ENOUGH_OF_A_CLASS = 10
"""With fewer patients of a class, bootstrap intervals are too short to decide anything by: those of
the AUC held the truth in 82 of 100 groups with five positive patients, in 89 with ten, in 94 with
twenty (scores from two normal distributions)."""


class Model(StrEnum):
    """Which of the two."""

    SHARED = "global"
    ALONE = "local"


class Better(StrEnum):
    """Which model is better for this hospital's own patients."""

    SHARED = "shared"
    ALONE = "alone"
    UNTOLD = "cannot be told"


@dataclass(frozen=True, slots=True)
class Points:
    """At which specificities sensitivity is told, and the other way round; also the least bin."""

    specificities: tuple[float, ...]
    sensitivities: tuple[float, ...]
    least: int
    """Patients in a bin of a reliability table."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What one model said of patients, before and after its temperature."""

    scores: Floats
    """Shape (P,)."""
    cooled: Floats


@dataclass(frozen=True, slots=True)
class Question:
    """One finding, there or not, and what both models say of it."""

    name: str
    labels: NDArray[np.int64]
    """Shape (P,): 1 where it is there."""
    by: Mapping[Model, Scored]

    @property
    def positive(self) -> int:
        """How many patients have it."""
        return int(self.labels.sum())

    @property
    def rarer(self) -> int:
        """How many patients the smaller of its two classes has."""
        return min(self.positive, int(self.labels.size) - self.positive)

    def of(self, patients: NDArray[np.bool_]) -> "Question":
        """The same question about some of the patients."""
        by = {
            model: Scored(one.scores[patients], one.cooled[patients])
            for model, one in self.by.items()
        }
        return Question(self.name, self.labels[patients], by)


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of both models, and the shared one's less that of the one trained alone."""

    name: str
    by: Mapping[Model, Estimate]
    difference: Estimate

    def to_json(self) -> dict[str, Any]:
        """The figure with value, low end and high end of each."""
        both = {str(model): one.to_json() for model, one in self.by.items()}
        return {"name": self.name, **both, "difference": self.difference.to_json()}


AUC = "AUC"
MEAN_AUC = "mean AUC"
ECE = "ECE"
COOLED_ECE = "ECE at its own temperature"
BRIER = "Brier score"
_DISTANCES = frozenset({ECE, COOLED_ECE})


def names_of(points: Points) -> tuple[str, ...]:
    """The names of a question's figures, in their order."""
    return (
        AUC,
        *(f"sensitivity at specificity {point:g}" for point in points.specificities),
        *(f"specificity at sensitivity {point:g}" for point in points.sensitivities),
        BRIER,
        ECE,
        COOLED_ECE,
    )


def compare(
    questions: Sequence[Question], points: Points, *, seed: int
) -> tuple[tuple[tuple[Figure, ...], ...], Figure | None]:
    """The figures of every question, and the mean AUC over several; none that a class lacks.

    `seed` is public: the same patients are drawn for every question and both models.
    """
    patients = questions[0].labels.size
    if not patients:
        return tuple(() for _ in questions), None
    asked = [_Asked.of(one, model, points) for one in questions for model in Model]

    def both(weights: Weights) -> Floats:
        return np.concatenate([one.figures(weights) for one in asked], axis=1)

    names = names_of(points)
    form = (-1, len(questions), len(Model), len(names))
    values = both(intervals.everybody(patients)).reshape(form)[0]
    drawn = intervals.resampled(both, patients, seed=seed).reshape(form)
    chances = np.stack([one.chances for one in asked]).reshape(values.shape)
    figures = tuple(
        tuple(
            figure
            for column, name in enumerate(names)
            if (
                figure := _figure(
                    name,
                    values[number, :, column],
                    drawn[:, number, :, column],
                    pairs=question.rarer,
                    chances=chances[number, :, column],
                )
            )
        )
        for number, question in enumerate(questions)
    )
    if len(questions) == 1:
        return figures, None
    pairs = min(question.rarer for question in questions)
    means = drawn[:, :, :, 0].mean(axis=1)
    mean = values[:, :, 0].mean(axis=0)
    return figures, _figure(MEAN_AUC, mean, means, pairs=pairs, chances=np.zeros(len(Model)))


def area_of(figures: Sequence[Figure]) -> Figure | None:
    """The AUC among the figures of a question; none where a class is missing."""
    return next((one for one in figures if one.name == AUC), None)


def better(area: Figure | None, questions: Sequence[Question]) -> Better:
    """Which model's AUC is larger beyond chance; untold where a class has too few patients."""
    if area is None or min(one.rarer for one in questions) < ENOUGH_OF_A_CLASS:
        return Better.UNTOLD
    if area.difference.low is not None and area.difference.low > 0:
        return Better.SHARED
    if area.difference.high is not None and area.difference.high < 0:
        return Better.ALONE
    return Better.UNTOLD


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question to one model, as resamples ask it again and again."""

    scored: Scored
    labels: NDArray[np.int64]
    points: Points
    bins: Bins
    cooled_bins: Bins
    chances: Floats
    """What of each figure is no more than chance shows where nothing is wrong. Shape (K,)."""

    @classmethod
    def of(cls, question: Question, model: Model, points: Points) -> Self:
        """The question to `model`, its patients in bins once and for all."""
        scored = question.by[model]
        bins = equal_mass_bins(scored.scores, least=points.least)
        cooled_bins = equal_mass_bins(scored.cooled, least=points.least)
        chances = {
            ECE: error_by_chance(scored.scores, bins),
            COOLED_ECE: error_by_chance(scored.cooled, cooled_bins),
        }
        told = np.array([chances.get(name, 0.0) for name in names_of(points)])
        return cls(scored, question.labels, points, bins, cooled_bins, told)

    def figures(self, weights: Weights) -> Floats:
        """All figures, in the order of `names_of`. Shape (R, K)."""
        scores, cooled, labels = self.scored.scores, self.scored.cooled, self.labels
        tallies = Tallies.of(scores, labels, weights)
        return np.stack(
            [
                tallies.auc(),
                *(tallies.sensitivity_at(point) for point in self.points.specificities),
                *(tallies.specificity_at(point) for point in self.points.sensitivities),
                brier(scores, labels, weights),
                calibration_error(scores - labels, self.bins, weights),
                calibration_error(cooled - labels, self.cooled_bins, weights),
            ],
            axis=1,
        )


def _figure(
    name: str, values: Floats, drawn: Floats, *, pairs: int, chances: Floats
) -> Figure | None:
    """One figure from values and chances (M,) and resamples (R, M); none where there is none."""
    if not np.isfinite(values).all():
        return None
    by = {
        model: _interval(
            name, float(values[number]), drawn[:, number], pairs=pairs, chance=chances[number]
        )
        for number, model in enumerate(Model)
    }
    difference, apart = float(values[0] - values[1]), drawn[:, 0] - drawn[:, 1]
    if name in _DISTANCES:
        return Figure(name, by, intervals.reflected(difference, apart, least=-1.0))
    return Figure(name, by, intervals.percentile(difference, apart))


def _interval(name: str, value: float, drawn: Floats, *, pairs: int, chance: float) -> Estimate:
    if name in _DISTANCES:
        found = intervals.reflected(value, drawn, least=0.0)
        # The bootstrap cannot know that no distance at all would have shown as much.
        return replace(found, low=0.0) if value <= chance else found
    if name == BRIER:
        return intervals.percentile(value, drawn)
    return intervals.of_a_share(value, drawn, pairs)
