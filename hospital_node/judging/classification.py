"""Classification: what a report says of models that name one finding, one of several, or many.

The one rule: every kind of question is told as findings that are there or not, so that all have the
same figures, intervals and subgroups. Networks and images are not known here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.judging import calibration, subgroups
from hospital_node.judging.comparison import (
    Better,
    Figure,
    Model,
    Points,
    Question,
    Scored,
    area_of,
    better,
    compare,
)
from hospital_node.judging.discrimination import Floats, roc_curve
from hospital_node.judging.intervals import LEVEL, RESAMPLES
from hospital_node.judging.telling import findings_of
from protocol.plan import Cohort, Task


@dataclass(frozen=True, slots=True)
class Answers:
    """What is true of patients, and what both models say."""

    labels: NDArray[np.int64]
    """Shape (P,), or (P, C) where a patient may have several findings."""
    by: Mapping[Model, Floats]
    """Probabilities, shape (P, C); of a binary question C is 1."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How this hospital wants to be told."""

    points: Points
    smallest_group: int
    seed: int
    """Public, of the resamples."""


def judge(
    cohort: Cohort,
    held_out: Answers,
    train: Answers,
    *,
    traits: Mapping[str, Sequence[str]],
    terms: Terms,
) -> dict[str, Any]:
    """The report's figures about `held_out` patients, for this hospital's own eyes.

    `traits` gives each held-out patient's value of each trait. Temperatures are fitted on `train`.
    """
    temperatures = {model: _temperature(cohort, train, model) for model in Model}
    questions = _questions(cohort, held_out, temperatures)
    figures, mean = compare(questions, terms.points, seed=terms.seed)
    area = mean if len(questions) > 1 else area_of(figures[0])
    return {
        **_areas(area, questions),
        "task": str(cohort.task),
        "better": str(better(area, questions)),
        "level": LEVEL,
        "resamples": RESAMPLES,
        "smallest_group": terms.smallest_group,
        "temperature": {str(model): found for model, found in temperatures.items()},
        "mean": mean and mean.to_json(),
        "confusion": _confusion(cohort, held_out),
        "questions": [
            {
                "name": question.name,
                "positive": question.positive,
                "better": str(better(area_of(told), [question])),
                "figures": [one.to_json() for one in told],
                "calibration": _calibration(question, terms.points),
                "subgroups": _subgroups(question, traits, terms),
            }
            for question, told in zip(questions, figures, strict=True)
        ],
    }


def truth_of(cohort: Cohort, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each patient and finding, whether it is there. Shape (P, C); of a binary question (P, 1).

    Raises:
        ValueError: the task has no findings.
    """
    match cohort.task:
        case Task.BINARY:
            return labels.reshape(-1, 1)
        case Task.MULTI_CLASS:
            return np.asarray(labels[:, None] == np.arange(len(cohort.classes)), dtype=np.int64)
        case Task.MULTI_LABEL:
            return labels.reshape(-1, len(cohort.classes))
        case Task.SEGMENTATION:
            raise ValueError("outlines are no findings")


def _temperature(cohort: Cohort, train: Answers, model: Model) -> float | None:
    truth = truth_of(cohort, train.labels).astype(np.float64)
    exclusive = cohort.task is Task.MULTI_CLASS
    return calibration.fit_temperature(train.by[model], truth, exclusive=exclusive)


def _questions(
    cohort: Cohort, answers: Answers, temperatures: Mapping[Model, float | None]
) -> list[Question]:
    exclusive = cohort.task is Task.MULTI_CLASS
    cooled = {
        model: calibration.cooled(said, temperatures[model] or 1.0, exclusive=exclusive)
        for model, said in answers.by.items()
    }
    truth = truth_of(cohort, answers.labels)
    return [
        Question(
            name,
            truth[:, column],
            {
                model: Scored(said[:, column], cooled[model][:, column])
                for model, said in answers.by.items()
            },
        )
        for column, name in enumerate(findings_of(cohort))
    ]


def _areas(area: Figure | None, questions: Sequence[Question]) -> dict[str, Any]:
    """The AUC, or the mean AUC over the findings; and the ROC curves where there is one finding."""
    said: dict[str, Any] = {}
    for model in Model:
        found = None if area is None else area.by[model]
        has_ends = found is not None and found.low is not None
        said[f"auc_{model}"] = found and found.value
        said[f"auc_{model}_ci"] = [found.low, found.high] if found and has_ends else None
        said[f"roc_{model}"] = None
        if found is not None and len(questions) == 1:
            rates = roc_curve(questions[0].by[model].scores, questions[0].labels)
            said[f"roc_{model}"] = {
                "false_positive": rates[0].tolist(),
                "true_positive": rates[1].tolist(),
            }
    return said


def _confusion(cohort: Cohort, answers: Answers) -> dict[str, list[list[int]]] | None:
    """For each model, patients by class (rows) and by the likeliest answer (columns)."""
    if cohort.task is not Task.MULTI_CLASS:
        return None
    count = len(cohort.classes)
    return {
        str(model): np.bincount(
            answers.labels * count + said.argmax(axis=1), minlength=count * count
        )
        .reshape(count, count)
        .tolist()
        for model, said in answers.by.items()
    }


def _calibration(question: Question, points: Points) -> dict[str, Any]:
    """The reliability tables of both models, before and after their temperatures."""
    told: dict[str, Any] = {}
    for model, scored in question.by.items():
        for name, scores in (("as_said", scored.scores), ("cooled", scored.cooled)):
            if not scores.size:
                continue
            bins = calibration.equal_mass_bins(scores, least=points.least)
            told.setdefault(str(model), {})[name] = {
                "error_by_chance": calibration.error_by_chance(scores, bins),
                "table": calibration.reliability_table(scores, question.labels, bins),
            }
    return told


def _subgroups(
    question: Question, traits: Mapping[str, Sequence[str]], terms: Terms
) -> list[dict[str, Any]]:
    """Each trait's groups: figures of those that may be shown, the names of the others."""
    groups = subgroups.groups_by(traits)
    told = subgroups.shown(groups, question.labels, least=terms.smallest_group)
    rows: list[dict[str, Any]] = []
    for group in groups:
        row: dict[str, Any] = {"trait": group.trait, "group": group.value}
        if any(one is group for one in told):
            inside = question.of(group.members)
            (figures,), _ = compare([inside], terms.points, seed=terms.seed)
            row |= {
                "patients": int(group.members.sum()),
                "better": str(better(area_of(figures), [inside])),
                "figures": [one.to_json() for one in figures],
            }
        else:
            row |= {"patients": None, "better": str(Better.UNTOLD), "figures": None}
        rows.append(row)
    return rows
