"""The judgement: from a plan's models to a report, by the kind of answer that they give.

The one rule: all kinds come to the same two things: a report, which stays, and histograms in each
of which a patient has one cell, of which the hospital's policy lets some leave.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hospital_node.judging import classification
from hospital_node.judging.classification import Answers, Terms, truth_of
from hospital_node.judging.comparison import ENOUGH_OF_A_CLASS, Better, Model
from hospital_node.training.evaluate import patient_answers
from hospital_node.training.membership import Sureness, attack, sureness_of
from hospital_node.training.outlines import (
    DICE_BINS,
    LEVEL,
    RESAMPLES,
    Overlaps,
    describe_dice,
    dice_cells,
    patient_dice,
)
from hospital_node.training.pictures import PatientPictures
from hospital_node.training.release import Cells, score_cells
from hospital_node.training.trainable import Examples
from protocol.plan import Plan, Task
from protocol.update import Packed


@dataclass(frozen=True, slots=True)
class Groups:
    """This hospital's patients, as the network sees them."""

    train: Examples
    held_out: Examples


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of it."""

    plan: Plan
    report: dict[str, Any]
    """True figures: they stay here."""
    cells: Cells
    """Each held-out patient's cell by what the shared model said, a histogram a finding."""
    cells_train: Cells
    """The same of training patients."""


def judge_models(
    plan: Plan,
    groups: Groups,
    models: Mapping[Model, Packed],
    *,
    strata: Mapping[str, Sequence[str]],
    terms: Terms,
) -> Judged:
    """Judge both models on the held-out patients; `strata` gives each one's value of each trait."""
    if plan.cohort.task is Task.SEGMENTATION:
        return _judge_outlines(plan, groups, models, seed=terms.seed)
    held_out, train = (
        Answers(
            patients.labels,
            {which: patient_answers(plan, model, patients) for which, model in models.items()},
        )
        for patients in (groups.held_out, groups.train)
    )
    report = classification.judge(plan.cohort, held_out, train, traits=strata, terms=terms)
    said, known = (
        (one.by[Model.SHARED], truth_of(plan.cohort, one.labels)) for one in (held_out, train)
    )
    exclusive = plan.cohort.task is Task.MULTI_CLASS
    report["membership"] = attack(
        sureness_of(*known, exclusive=exclusive), sureness_of(*said, exclusive=exclusive)
    )
    return Judged(plan, report, score_cells(*said), score_cells(*known))


def _judge_outlines(
    plan: Plan, groups: Groups, models: Mapping[Model, Packed], *, seed: int
) -> Judged:
    """Judge both models by how far they and people outline the same; there is no ROC curve."""
    held_out, train = (
        {which: patient_dice(plan, model, patients) for which, model in models.items()}
        for patients in (groups.held_out, groups.train)
        if isinstance(patients, PatientPictures)
    )
    said, known = held_out[Model.SHARED], train[Model.SHARED]
    described = describe_dice(plan.cohort, {str(k): v for k, v in held_out.items()}, seed=seed)
    report = {
        "task": str(plan.cohort.task),
        "better": str(_better_outlined(described["mean_dice"], patients=len(said))),
        "level": LEVEL,
        "resamples": RESAMPLES,
        **{f"auc_{model}{part}": None for model in Model for part in ("", "_ci")},
        **{f"roc_{model}": None for model in Model},
        **described,
        "membership": attack(_fit_of(known), _fit_of(said)),
    }
    cells, cells_train = (Cells(dice_cells(one), DICE_BINS) for one in (said, known))
    return Judged(plan, report, cells, cells_train)


def _better_outlined(mean_dice: dict[str, list[float]] | None, *, patients: int) -> Better:
    """Which model's mean Dice is larger beyond chance; untold of few patients."""
    if mean_dice is None or patients < ENOUGH_OF_A_CLASS:
        return Better.UNTOLD
    _, low, high = mean_dice["difference"]
    if low > 0:
        return Better.SHARED
    return Better.ALONE if high < 0 else Better.UNTOLD


def _fit_of(overlaps: Overlaps) -> Sureness:
    """How well each patient is outlined, over all structures: what a model has seen it fits."""
    return Sureness(overlaps.mean(axis=1), np.zeros(len(overlaps), dtype=np.int64))
