"""Membership inference: how well a model gives away which patients it was trained on.

The one rule: patients of one class are compared with one another alone, and thresholds are set by
held-out ones, never by how well an attack does. True figures stay here; what leaves are noised
counts, from which anybody computes the rest.
"""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hospital_node.judging.discrimination import Floats, Tallies, Weights
from hospital_node.judging.intervals import LEVEL, RESAMPLES, everybody, percentile, resampled
from hospital_node.training.release import SCORE_BINS
from protocol.membership import Membership
from protocol.round import Evaluation

FALSE_ALARMS = (0.01, 0.1)
"""Rates of held-out patients taken for trained ones, at which the rate of hits is told: an attack
matters that is sure of a few, whatever it does on average (Carlini et al. 2022)."""

_EVEN = 0.5
"""The rate of false alarms of the attack whose advantage is told."""

SMALLEST_PROBABILITY = 1e-7
"""Nearer to 0 or 1 a probability in float32 tells nothing."""

_SEED = 22


@dataclass(frozen=True, slots=True)
class Sureness:
    """How sure a model is of what is true of each patient."""

    values: Floats
    """Shape (P,): log odds of the true answer, the mean over findings where there are several.

    Only their order counts, within a class; it is that of the loss where there is one finding."""
    strata: NDArray[np.int64]
    """Shape (P,): patients of one class are compared with one another alone."""


def sureness_of(answers: Floats, truth: NDArray[np.int64], *, exclusive: bool) -> Sureness:
    """From probabilities and truth, 0 or 1, both of shape (P, C).

    Where classes are `exclusive` the one that is true counts, otherwise every finding, and patients
    with none are told from those with any.
    """
    true = np.where(truth > 0, answers, 1 - answers)
    strata = np.asarray((truth > 0).any(axis=1), dtype=np.int64)
    if exclusive:
        strata = np.asarray(np.argmax(truth, axis=1), dtype=np.int64)
        true = np.take_along_axis(answers, strata[:, None], axis=1)
    true = np.clip(true, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
    return Sureness(np.log(true / (1 - true)).mean(axis=1), strata)


def attack(train: Sureness, held_out: Sureness) -> dict[str, Any] | None:
    """How well sureness tells training from held-out patients; none where it cannot be measured.

    `hits_at` has the rate of training patients found at a rate of held-out ones taken for them;
    `advantage` is how much the first is above the second where this is one half. Each figure has
    its 95 % interval. Patients of a class that one of the groups lacks are left out.
    """
    values = np.concatenate([train.values, held_out.values])
    strata = np.concatenate([train.strata, held_out.strata])
    labels = np.repeat([1, 0], [train.values.size, held_out.values.size]).astype(np.int64)
    shared = np.intersect1d(train.strata, held_out.strata)
    if not shared.size:
        return None
    known = np.isin(strata, shared)
    values, strata, labels = values[known], strata[known], labels[known]

    def figures(weights: Weights) -> Floats:
        return _figures(values, labels, strata, weights=weights)

    found = figures(everybody(values.size))[0]
    drawn = resampled(figures, values.size, seed=_SEED)
    auc, *hits = (
        percentile(float(value), drawn[:, column]).to_json() for column, value in enumerate(found)
    )
    *rare, even = hits
    return {
        "patients_train": int((labels == 1).sum()),
        "patients_held_out": int((labels == 0).sum()),
        "auc": auc,
        "advantage": [None if one is None else one - _EVEN for one in even],
        "hits_at": {str(rate): one for rate, one in zip(FALSE_ALARMS, rare, strict=True)},
    }


def _figures(
    values: Floats, labels: NDArray[np.int64], strata: NDArray[np.int64], *, weights: Weights
) -> Floats:
    """AUC and rates of hits, of each row of weights. Shape (R, 2 + the number of false alarms).

    The mean over classes, each as heavy as it has training patients; one that a resample lacks
    weighs nothing.
    """
    rates = (*FALSE_ALARMS, _EVEN)
    total, heavy = np.zeros((len(weights), 1 + len(rates))), np.zeros((len(weights), 1))
    for stratum in np.unique(strata):
        inside = strata == stratum
        tallies = Tallies.of(values[inside], labels[inside], weights[:, inside])
        told = [tallies.auc(), *(tallies.sensitivity_at(1 - rate) for rate in rates)]
        of_class = np.stack(told, axis=1)
        weight = np.where(np.isfinite(of_class[:, :1]), tallies.positive.sum(axis=1)[:, None], 0.0)
        total += weight * np.nan_to_num(of_class)
        heavy += weight
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(total / heavy, dtype=np.float64)


@dataclass(frozen=True, slots=True)
class ToldApart:
    """What anybody can compute of an attack from noised counts; ends of 95 % intervals."""

    auc: tuple[float, float, float]
    """Value, low end, high end."""
    advantage: tuple[float, float, float]


def told_apart(train: Membership, held_out: Evaluation) -> ToldApart | None:
    """How far counts of training and of held-out patients lie apart, class by class.

    The attacker takes those for trained ones of whom the model is surer than of half of the
    held-out ones of their class. The intervals are those of noise and of chance in who was a
    patient together. None where noise has left no patient of either group.
    """
    counts = np.stack([_by_sureness(one.negative, one.positive) for one in (train, held_out)])
    scales = [
        float(one.noise_multiplier) * sqrt(len(one.positive) // SCORE_BINS)
        for one in (train, held_out)
    ]
    found = _apart(counts[None])
    if not np.isfinite(found).all():
        return None
    generator = np.random.default_rng(_SEED)
    spread = np.sqrt(np.square(scales)[:, None, None] + np.maximum(counts, 0.0))
    redrawn = counts + spread * generator.standard_normal((RESAMPLES, *counts.shape))
    tails = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.nanquantile(_apart(redrawn), tails, axis=0)
    auc, advantage = (
        (float(value), float(begin), float(end))
        for value, begin, end in zip(found[0], low, high, strict=True)
    )
    return ToldApart(auc, advantage)


def _by_sureness(negative: tuple[int, ...], positive: tuple[int, ...]) -> Floats:
    """Counts by class (rows) and from the least to the surest answer. Shape (K, SCORE_BINS)."""
    without = np.asarray(negative, dtype=np.float64).reshape(-1, SCORE_BINS)[:, ::-1]
    return np.concatenate([without, np.asarray(positive, np.float64).reshape(-1, SCORE_BINS)])


def _apart(counts: Floats) -> Floats:
    """AUC and advantage from counts of shape (R, 2, K, SCORE_BINS); shape (R, 2).

    Counts below zero count as zero. A class weighs as much as it has pairs of patients.
    """
    inside, outside = np.maximum(counts, 0.0).swapaxes(0, 1)
    totals = inside.sum(axis=2), outside.sum(axis=2)
    pairs = totals[0] * totals[1]
    below = np.cumsum(outside, axis=2)
    won = (inside * (below - outside / 2)).sum(axis=2)
    # Above the first bin at which half of the held-out ones are reached.
    is_above = below - outside >= totals[1][..., None] / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps = [
            (one * is_above).sum(axis=2) / total
            for one, total in zip((inside, outside), totals, strict=True)
        ]
        gap = np.where(pairs > 0, gaps[0] - gaps[1], 0.0)
        whole = pairs.sum(axis=1)
        return np.stack([won.sum(axis=1) / whole, (gap * pairs).sum(axis=1) / whole], axis=1)
