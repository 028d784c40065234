"""Releases: the only figures about patients that leave, besides a model.

The one rule: each is a vector of counts in which one patient moves one cell by one, noised before
anybody sees it; what is computed from it afterwards costs nothing more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hospital_node.training.clipper import BoundedSum
from hospital_node.training.noise import add_noise
from hospital_node.training.randomness import Randomness
from protocol.budget import Mechanism
from protocol.record import decimal_text

SCORE_BINS = 10
"""Cells over [0, 1] for each class: fine enough for an AUC within 0.01, few enough to be noised."""


def counting(noise_multiplier: float) -> Mechanism:
    """What one release of counts costs: everybody takes part, once."""
    return Mechanism(sample_rate="1", noise_multiplier=decimal_text(noise_multiplier), steps=1)


def noised_count(patients: int, *, noise_multiplier: float, randomness: Randomness) -> int:
    """The number of patients with noise, at least 1.

    Guarantee: `counting(noise_multiplier)`; L2 sensitivity 1 to one patient added or removed.
    """
    noised = _noised(np.array([patients]), noise_multiplier, randomness)
    return max(1, noised[0])


@dataclass(frozen=True, slots=True)
class ScoreCounts:
    """Noised counts of patients by score; each sequence has one cell for every score bin."""

    negative: tuple[int, ...]
    positive: tuple[int, ...]


def noised_score_counts(
    scores: NDArray[np.float64],
    labels: NDArray[np.int64],
    *,
    noise_multiplier: float,
    randomness: Randomness,
) -> ScoreCounts:
    """How many patients of each class have their score in which of `SCORE_BINS` equal bins.

    `scores` and `labels`, shape (P,), hold one score in [0, 1] and one label for each patient.

    Guarantee: `counting(noise_multiplier)`; each patient is in exactly one cell, so the L2
    sensitivity is 1.
    """
    bins = np.clip((np.nan_to_num(scores) * SCORE_BINS).astype(np.int64), 0, SCORE_BINS - 1)
    cells = np.bincount((labels > 0) * SCORE_BINS + bins, minlength=2 * SCORE_BINS)
    noised = _noised(cells, noise_multiplier, randomness)
    return ScoreCounts(tuple(noised[:SCORE_BINS]), tuple(noised[SCORE_BINS:]))


def auc_from_counts(negative: Sequence[int], positive: Sequence[int]) -> float | None:
    """The area under the ROC curve that score counts tell, none when a class has no patient left.

    Counts below zero, which noise makes, count as zero; two patients of one bin as half a win.
    """
    below = np.maximum(np.asarray(negative, dtype=np.float64), 0.0)
    above = np.maximum(np.asarray(positive, dtype=np.float64), 0.0)
    pairs = below.sum() * above.sum()
    if pairs == 0:
        return None
    won = (above * (np.cumsum(below) - below / 2)).sum()
    return float(won / pairs)


def _noised(
    counts: NDArray[np.int64], noise_multiplier: float, randomness: Randomness
) -> list[int]:
    bounded = BoundedSum(counts.astype(np.float64), sensitivity=1.0)
    return [int(value) for value in np.rint(add_noise(bounded, noise_multiplier, randomness))]
