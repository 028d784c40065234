"""Calibration: whether of patients with a score of 0.7 seven in ten have the finding.

The one rule: a temperature is fitted on training patients and applied to held-out ones, never on
those that it is judged by. What it is fitted on was never paid for, so neither it nor anything
computed with it leaves the hospital.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.judging.discrimination import Floats, Weights
from hospital_node.judging.intervals import LEVEL, in_parts

MOST_BINS = 10
"""Bins of a reliability table; with fewer patients there are fewer."""

SMALLEST_PROBABILITY = 1e-7
"""Of a probability nearer to 0 or 1 nothing is believed: its logarithm would decide alone."""

TEMPERATURES = (0.05, 20.0)
"""Beyond these a fit has run away: there is nothing in the scores, or no patient is misjudged."""

_HALVINGS = 60
"""Of the search for the temperature: far beyond what a probability can show."""

_SEED = 20


@dataclass(frozen=True, slots=True)
class Bins:
    """Patients by score, as many in each bin as in any other, equal scores together."""

    of_patient: NDArray[np.int64]
    """Shape (P,)."""
    count: int

    def sums(self, values: Floats, weights: Weights) -> Floats:
        """Weighted sums of `values`, shape (P,) or (R, P), by bin. Shape (R, B)."""
        member = self.of_patient[:, None] == np.arange(self.count)
        return np.asarray((weights * values) @ member.astype(np.float64), dtype=np.float64)


def equal_mass_bins(scores: Floats, *, least: int) -> Bins:
    """At most `MOST_BINS` bins of `least` patients or more; one where there are fewer patients."""
    wanted = int(np.clip(scores.size // max(1, least), 1, MOST_BINS))
    values, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    # By the rank in the middle of equals, so that they stay together.
    middle = np.cumsum(counts) - (counts + 1) / 2
    of_value = (middle * wanted / scores.size).astype(np.int64)
    _, of_value = np.unique(of_value, return_inverse=True)
    merged = _merge_small(of_value[places], least)
    return Bins(merged, int(merged.max()) + 1 if values.size else 1)


def _merge_small(bins: NDArray[np.int64], least: int) -> NDArray[np.int64]:
    """Bins with fewer than `least` patients joined to the one before, the first to the second."""
    joined = bins.copy()
    while True:
        _, joined, counts = np.unique(joined, return_inverse=True, return_counts=True)
        small = np.flatnonzero(counts < least)
        if counts.size <= 1 or not small.size:
            return np.asarray(joined, dtype=np.int64)
        first = int(small[0])
        joined[joined == first] = first - 1 if first else 1


def brier(scores: Floats, labels: NDArray[np.int64], weights: Weights) -> Floats:
    """The mean squared difference of score and answer (Brier 1950). Shape (R,)."""
    return np.asarray(weights @ (scores - labels) ** 2 / weights.sum(axis=1))


def calibration_error(errors: Floats, bins: Bins, weights: Weights) -> Floats:
    """How far mean score and share of positives lie apart, averaged over patients. Shape (R,).

    `errors` are scores less labels, shape (P,) or (R, P).
    """
    apart = np.abs(bins.sums(errors, weights)).sum(axis=1)
    return np.asarray(apart / weights.sum(axis=1))


def error_by_chance(scores: Floats, bins: Bins) -> float:
    """The error that scores which are right would show in 95 of 100 such groups, or less.

    What is below it cannot be told from no error at all (Bröcker and Smith 2007).
    """
    generator = np.random.default_rng(_SEED)

    def drawn(rows: int) -> Floats:
        answers = generator.random((rows, scores.size)) < scores
        return calibration_error(scores - answers, bins, np.ones((rows, scores.size)))

    return float(np.quantile(in_parts(drawn, scores.size), LEVEL))


def reliability_table(
    scores: Floats, labels: NDArray[np.int64], bins: Bins
) -> list[dict[str, Any]]:
    """Each bin's patients, mean score, and share of positives with Wilson's interval."""
    table = []
    for number in range(bins.count):
        inside = bins.of_patient == number
        patients, share = int(inside.sum()), float(labels[inside].mean())
        low, high = _wilson(share, patients)
        predicted = float(scores[inside].mean())
        table.append(
            {
                "patients": patients,
                "predicted": predicted,
                "observed": share,
                "low": low,
                "high": high,
            }
        )
    return table


def _wilson(share: float, count: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927)."""
    z = 1.959964
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def cooled(probabilities: Floats, temperature: float, *, exclusive: bool) -> Floats:
    """Probabilities at another temperature, of shape (P, C); above 1 they are less sure.

    Where the classes are `exclusive`, each row is a softmax (Guo et al. 2017), otherwise each
    column a sigmoid.
    """
    logits = _logits(probabilities, exclusive=exclusive) / temperature
    if not exclusive:
        return np.asarray(0.5 * (1 + np.tanh(logits / 2)), dtype=np.float64)
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)


def fit_temperature(probabilities: Floats, truth: Floats, *, exclusive: bool) -> float | None:
    """The temperature at which the log loss of patients is least; none where none is.

    `probabilities` and `truth`, 0 or 1, have shape (P, C). The loss is convex in 1/temperature, so
    halving finds the one place where it stops falling.
    """
    logits = _logits(probabilities, exclusive=exclusive)

    def falls(slope: float) -> bool:
        """Whether the loss still falls when logits are made larger than `slope` times."""
        there = cooled(probabilities, 1 / slope, exclusive=exclusive)
        return float((logits * (truth - there)).sum()) > 0

    low, high = (1 / temperature for temperature in reversed(TEMPERATURES))
    if not probabilities.size or not falls(low) or falls(high):
        return None
    for _ in range(_HALVINGS):
        middle = np.sqrt(low * high)
        low, high = (middle, high) if falls(middle) else (low, middle)
    return float(1 / np.sqrt(low * high))


def _logits(probabilities: Floats, *, exclusive: bool) -> Floats:
    inside = np.clip(probabilities, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return np.log(inside) if exclusive else np.log(inside) - np.log1p(-inside)
