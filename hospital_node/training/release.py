"""Releases: the only figures about patients that leave, besides a model.

The one rule: each is one or more histograms in each of which one patient moves one cell by one,
noised before anybody sees them; what is computed from them afterwards costs nothing more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from hospital_node.training.clipper import BoundedSum
from hospital_node.training.noise import add_noise
from hospital_node.training.randomness import Randomness
from protocol.budget import Mechanism
from protocol.record import decimal_text

SCORE_BINS = 10
"""Cells over [0, 1], for patients with a finding and for those without: fine enough for an AUC
within 0.01, few enough to be noised."""


def counting(noise_multiplier: float) -> Mechanism:
    """What one release of counts costs: everybody takes part, once."""
    return Mechanism(sample_rate="1", noise_multiplier=decimal_text(noise_multiplier), steps=1)


def sensitivity(histograms: int) -> float:
    """How far one patient moves so many histograms together, one cell by one in each (L2).

    They are released as one vector, noised to this and billed once. Were each noised to 1 and
    billed as once, the bill would be too small by this factor.
    """
    return sqrt(histograms)


def noised_count(patients: int, *, noise_multiplier: float, randomness: Randomness) -> int:
    """The number of patients with noise, at least 1.

    Guarantee: `counting(noise_multiplier)`; L2 sensitivity 1 to one patient added or removed.
    """
    counted = BoundedSum(np.array([float(patients)]), sensitivity=1.0)
    return max(1, int(np.rint(add_noise(counted, noise_multiplier, randomness)[0])))


@dataclass(frozen=True, slots=True)
class Cells:
    """In which cell of each of C histograms each patient is; one in each."""

    of_patient: NDArray[np.int64]
    """Shape (P, C)."""
    width: int
    """Cells of a histogram."""


def score_cells(scores: NDArray[np.float64], truth: NDArray[np.int64]) -> Cells:
    """The histograms of patients by score: first those without the finding, then those with it.

    `scores` in [0, 1] and `truth`, 0 or 1, have shape (P, C): a row a patient, a column a finding.
    """
    bins = np.clip((np.nan_to_num(scores) * SCORE_BINS).astype(np.int64), 0, SCORE_BINS - 1)
    return Cells((truth > 0) * SCORE_BINS + bins, 2 * SCORE_BINS)


def noised_histograms(
    cells: Cells, *, noise_multiplier: float, randomness: Randomness
) -> NDArray[np.int64]:
    """How many patients are in each cell of each histogram, noised. Shape (C, width).

    Guarantee: `counting(noise_multiplier)`; each patient is in exactly one cell of each histogram,
    so the L2 sensitivity is `sensitivity(C)`, and the noise is that times `noise_multiplier`.
    """
    columns = cells.of_patient.T
    counts = np.stack([np.bincount(column, minlength=cells.width) for column in columns])
    bounded = BoundedSum(counts.astype(np.float64).ravel(), sensitivity=sensitivity(len(columns)))
    noised = add_noise(bounded, noise_multiplier, randomness)
    return np.asarray(np.rint(noised).astype(np.int64).reshape(counts.shape))


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
