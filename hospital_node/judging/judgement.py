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
from hospital_node.training.membership import attack, sureness_of
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
