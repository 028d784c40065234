"""What one training run certifies about its own privacy, from how well it tells who was in it.

Each of m canaries is in the run or not by a fair coin of the auditor's. The auditor guesses for
some of them, fixed in number beforehand, and how many guesses come right bounds ε from below.

Source: Steinke, Nasr, Jagielski 2023, "Privacy auditing with one (1) training run", Theorem 5.2.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

MOST_EPSILON = 50.0
"""Beyond this a bound says no more than that there is no privacy."""


@dataclass(frozen=True)
class Guesses:
    """How the auditor did."""

    canaries: int
    """m: all that could have been in the run."""
    made: int
    right: int


def guess(scores: np.ndarray, were_in: np.ndarray, each: int) -> Guesses:
    """The `each` highest scores are guessed to have been in the run, as many lowest not."""
    order = np.argsort(scores)
    right = int(were_in[order[-each:]].sum() + (~were_in[order[:each]]).sum())
    return Guesses(scores.size, 2 * each, right)


def chance(found: Guesses, epsilon: float, delta: float) -> float:
    """At most how likely so many right guesses, or more, are if training is (ε, δ)-private.

    An ε-private run answers each guess like a coin that falls right with e^ε/(1 + e^ε). What δ adds
    is bounded by the best an adversary can do who moves the count by up to i at a cost of i·δ.
    """
    fair = 1 / (1 + np.exp(-epsilon))
    beyond = float(binom.sf(found.right - 1, found.made, fair))
    shortfalls = np.arange(1, min(found.canaries, found.right) + 1)
    near = np.cumsum(binom.pmf(found.right - shortfalls, found.made, fair))
    moved = float((near / shortfalls).max()) if shortfalls.size else 0.0
    return min(1.0, beyond + 2 * found.canaries * delta * moved)


def certified_epsilon(found: Guesses, delta: float, *, confidence: float = 0.95) -> float:
    """The largest ε that the guesses rule out at `confidence`: a lower bound. 0 where none is."""
    low, high = 0.0, MOST_EPSILON
    if chance(found, low, delta) > 1 - confidence:
        return 0.0
    if chance(found, high, delta) <= 1 - confidence:
        return high
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (
            (middle, high) if chance(found, middle, delta) <= 1 - confidence else (low, middle)
        )
    return low


@dataclass(frozen=True)
class Fit:
    """Two Gaussians with the scores of canaries that were in the run and of those that were not."""

    shift: float
    """How far their means lie apart."""
    shift_error: float
    """Its standard error."""
    spread: float
    """The standard deviation without a canary."""
    spread_error: float
    """Its standard error."""


def fit(scores: np.ndarray, were_in: np.ndarray) -> Fit:
    """The Gaussians of scores that are given in units of the noise that was billed."""
    inside, outside = scores[were_in], scores[~were_in]
    variance = inside.var(ddof=1) / inside.size + outside.var(ddof=1) / outside.size
    spread = float(outside.std(ddof=1))
    return Fit(
        float(inside.mean() - outside.mean()),
        float(np.sqrt(variance)),
        spread,
        spread / np.sqrt(2 * outside.size),
    )
