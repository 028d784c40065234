"""The judgement: from a plan's models to a report, by the kind of answer that they give.

The one rule: all kinds come to the same two things: a report, which stays, and histograms in each
of which a patient has one cell, of which the hospital's policy lets some leave.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hospital_node.judging import classification
from hospital_node.judging.classification import Answers, Terms, truth_of
from hospital_node.judging.comparison import Model
from hospital_node.training.evaluate import patient_answers
from hospital_node.training.release import Cells, score_cells
from hospital_node.training.trainable import Examples
from protocol.plan import Plan
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


def judge_models(
    plan: Plan,
    groups: Groups,
    models: Mapping[Model, Packed],
    *,
    strata: Mapping[str, Sequence[str]],
    terms: Terms,
) -> Judged:
    """Judge both models on the held-out patients; `strata` gives each one's value of each trait."""
    held_out, train = (
        Answers(
            patients.labels,
            {which: patient_answers(plan, model, patients) for which, model in models.items()},
        )
        for patients in (groups.held_out, groups.train)
    )
    report = classification.judge(plan.cohort, held_out, train, traits=strata, terms=terms)
    truth = truth_of(plan.cohort, held_out.labels)
    return Judged(plan, report, score_cells(held_out.by[Model.SHARED], truth))
