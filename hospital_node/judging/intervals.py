"""Intervals: how far a figure might be off because only these patients were there to be asked.

The one rule: a patient is drawn or not with all its images, and two models are compared on the same
draws, so that what makes a patient hard for both is no part of their difference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.judging.discrimination import Floats, Weights

RESAMPLES = 1000
"""Bootstrap resamples: the ends of a 95 % interval are then known to about ±0.002."""

LEVEL = 0.95
"""Coverage of an interval."""

AT_ONCE = 1 << 21
"""Weights held at a time, 16 MB of them: of 100,000 patients some twenty resamples."""

_TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval; no ends where the resamples do not tell."""

    value: float
    low: float | None
    high: float | None

    def to_json(self) -> list[float | None]:
        """Value, low end, high end."""
        return [self.value, self.low, self.high]


def everybody(patients: int) -> Weights:
    """Each patient once. Shape (1, P)."""
    return np.ones((1, patients))


def resampled(figures: Callable[[Weights], Floats], patients: int, *, seed: int) -> Floats:
    """`figures`, which gives a row for each row of weights, of every resample. Shape (R, K).

    Patients are drawn with replacement. `seed` is public: it decides nothing that is secret.
    """
    generator = np.random.default_rng(seed)

    def drawn(rows: int) -> Floats:
        who = generator.integers(patients, size=(rows, patients))
        who += patients * np.arange(rows)[:, None]
        counts = np.bincount(who.ravel(), minlength=rows * patients)
        return figures(counts.reshape(rows, patients).astype(np.float64))

    return in_parts(drawn, patients)


def in_parts(drawn: Callable[[int], Floats], patients: int) -> Floats:
    """`RESAMPLES` rows of what `drawn` gives so many of, as many at once as memory allows."""
    most = max(1, AT_ONCE // max(1, patients))
    sizes = [min(most, RESAMPLES - begin) for begin in range(0, RESAMPLES, most)]
    return np.concatenate([drawn(size) for size in sizes])


def percentile(value: float, drawn: Floats) -> Estimate:
    """The percentile interval; resamples that lack a class say nothing."""
    low, high = _quantiles(drawn)
    return Estimate(value, low, high)


def reflected(value: float, drawn: Floats, *, least: float) -> Estimate:
    """The basic interval, for figures that chance can only make larger, such as distances.

    A resample has the chance of the sample and its own on top of it, so its figure is too large by
    about as much as the sample's is (Davison and Hinkley 1997, §5.2). Nothing is below `least`.
    """
    low, high = _quantiles(drawn)
    if low is None or high is None:
        return Estimate(value, None, None)
    return Estimate(value, max(least, 2 * value - high), max(least, 2 * value - low))


def of_a_share(value: float, drawn: Floats, pairs: int) -> Estimate:
    """The percentile interval of a share; of one without a single exception, the exact one.

    A sample without an exception has resamples without one, and would claim to be certain. What is
    sure then is that of `pairs` patients, or pairs of patients without one in common, each by
    itself did right (Clopper and Pearson 1934).
    """
    found = percentile(value, drawn)
    if value not in {0.0, 1.0} or found.low != found.high:
        return found
    least = _TAILS[0] ** (1 / max(1, pairs))
    return Estimate(value, least, 1.0) if value == 1.0 else Estimate(value, 0.0, 1 - least)


def _quantiles(drawn: Floats) -> tuple[float | None, float | None]:
    known: NDArray[Any] = drawn[np.isfinite(drawn)]
    if known.size < drawn.size / 2:
        return None, None
    low, high = np.quantile(known, _TAILS)
    return float(low), float(high)
