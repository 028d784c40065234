"""Discrimination: how well scores tell patients with a finding from those without.

The one rule: every figure is computed from weights of patients, one row a resample, so that a value
and its interval come from the same formula. What a score means is not known here.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Weights = NDArray[np.float64]
"""Shape (R, P): how often each patient counts, a row a resample."""

_ROUNDING = 1e-9
"""What products of shares and whole counts may be off by."""


@dataclass(frozen=True, slots=True)
class Tallies:
    """Weight of patients at each different score, from the lowest to the highest."""

    negative: Floats
    """Shape (R, U)."""
    positive: Floats

    @classmethod
    def of(cls, scores: Floats, labels: NDArray[np.int64], weights: Weights) -> Self:
        """The tallies of `scores` and `labels` of shape (P,), with at least one patient."""
        values, bins = np.unique(scores, return_inverse=True)
        order = np.argsort(bins, kind="stable")
        starts = np.searchsorted(bins[order], np.arange(values.size))
        return cls(
            negative=np.add.reduceat((weights * (labels == 0))[:, order], starts, axis=1),
            positive=np.add.reduceat((weights * (labels == 1))[:, order], starts, axis=1),
        )

    def auc(self) -> Floats:
        """The probability that a positive patient scores above a negative one, ties counting half.

        Shape (R,); NaN where a class weighs nothing, as in all that follows.
        """
        below = np.cumsum(self.negative, axis=1) - self.negative / 2
        pairs = self.negative.sum(axis=1) * self.positive.sum(axis=1)
        return _share((self.positive * below).sum(axis=1), pairs)

    def sensitivity_at(self, specificity: float) -> Floats:
        """The largest sensitivity of a threshold with at least this specificity. Shape (R,).

        A patient at or above the threshold is called positive; a threshold above all scores calls
        nobody, with specificity 1.
        """
        negative, positive = self.negative.sum(axis=1), self.positive.sum(axis=1)
        spared = _before(self.negative) >= specificity * negative[:, None] - _ROUNDING
        lowest = np.argmax(spared, axis=1)
        missed = np.take_along_axis(_before(self.positive), lowest[:, None], axis=1)[:, 0]
        return np.where(negative > 0, _share(positive - missed, positive), np.nan)

    def specificity_at(self, sensitivity: float) -> Floats:
        """The largest specificity of a threshold with at least this sensitivity. Shape (R,)."""
        mirrored = Tallies(self.positive[:, ::-1], self.negative[:, ::-1])
        return mirrored.sensitivity_at(sensitivity)


def roc_curve(scores: Floats, labels: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1); both classes."""
    tallies = Tallies.of(scores, labels, np.ones((1, scores.size)))
    rates = (np.cumsum(one[0, ::-1]) / one.sum() for one in (tallies.negative, tallies.positive))
    false_rate, true_rate = (np.concatenate([[0.0], rate]) for rate in rates)
    return false_rate, true_rate


def _before(weights: Floats) -> Floats:
    """Weight below each score, and below none. Shape (R, U + 1)."""
    return np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights, axis=1)], axis=1)


def _share(part: Floats, whole: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(whole > 0, part / whole, np.nan), dtype=np.float64)
