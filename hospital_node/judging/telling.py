"""Telling: what of a judgement others may learn, by the hospital's policy and for what price.

The one rule: nothing is told but noised histograms, of the findings that the policy names; what
others can make of them is shown to this hospital too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.training.release import SCORE_BINS, Cells, auc_from_counts, sensitivity
from protocol.budget import Charge
from protocol.plan import Cohort
from protocol.record import decimal_text
from protocol.round import Evaluation


@dataclass(frozen=True, slots=True)
class Told:
    """Which findings, or structures, of a plan are told of."""

    columns: tuple[int, ...]
    """Where they are in a model's answers."""
    names: tuple[str, ...]

    @property
    def sensitivity(self) -> str:
        """How far one patient moves their histograms together (L2), as a charge says it."""
        return decimal_text(sensitivity(len(self.columns)))

    def of(self, cells: Cells) -> Cells:
        """The histograms of these alone."""
        return Cells(cells.of_patient[:, list(self.columns)], cells.width)


def findings_of(cohort: Cohort) -> tuple[str, ...]:
    """The findings, or structures, of a plan in the order of a model's answers."""
    return cohort.classes or (cohort.positive,)


def told_findings(cohort: Cohort, wanted: Sequence[str]) -> Told:
    """The findings that a policy tells of: those that it names, or all where it names none.

    Names are of plans with several classes; the one finding of a binary plan is always told of.
    """
    names = findings_of(cohort)
    told = [
        (column, name)
        for column, name in enumerate(names)
        if not wanted or not cohort.classes or name in wanted
    ]
    return Told(tuple(column for column, _ in told), tuple(name for _, name in told))


def split_counts(histograms: NDArray[np.int64]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Histograms of shape (C, width) as a record has them: negative and positive, by finding.

    Where the width is `SCORE_BINS` alone there is no negative.
    """
    negative, positive = histograms[:, :-SCORE_BINS], histograms[:, -SCORE_BINS:]
    return tuple(negative.ravel().tolist()), tuple(positive.ravel().tolist())


def view_of(evaluation: Evaluation, charge: Charge, told: Told) -> dict[str, Any]:
    """What left this hospital, what it cost, and the AUC of each finding that others can tell."""
    return {
        "findings": list(told.names),
        "noise_multiplier": evaluation.noise_multiplier,
        "sensitivity": charge.clip_norm,
        "epsilon": charge.epsilon_alone,
        "delta": charge.delta,
        "auc": [
            auc_from_counts(evaluation.negative[begin:end], evaluation.positive[begin:end])
            for begin, end in pairwise(range(0, len(evaluation.positive) + 1, SCORE_BINS))
        ],
    }
