"""Evaluation at one hospital: how well a model does for its own held-out patients.

The one rule: nothing computed here may leave; what leaves is made by `release`, noised and billed.
A patient counts once, with the mean score of all its images.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hospital_node.training.features import PatientFeatures
from hospital_node.training.model import Head
from hospital_node.training.networks import build_network
from hospital_node.training.pictures import PatientPictures
from hospital_node.training.placed import PlacedNetwork
from hospital_node.training.question import Question
from hospital_node.training.trainable import Examples
from protocol.plan import Plan
from protocol.update import Packed

RESAMPLES = 1000
"""Bootstrap resamples: the ends of a 95 % interval are then known to about ±0.002."""

IMAGES_AT_ONCE = 8
"""Images in one forward pass; a volume needs the memory of many pictures."""

LEVEL = 0.95
"""Coverage of an interval."""


@dataclass(frozen=True, slots=True)
class Auc:
    """An area under the ROC curve with its bootstrap interval over patients."""

    value: float
    low: float
    high: float


def patient_scores(plan: Plan, model: Packed, patients: Examples) -> NDArray[np.float64]:
    """Each patient's mean probability of the positive class over all its images. Shape (P,).

    An image that is not finite counts as undecided, 0.5.
    """
    if isinstance(patients, PatientFeatures):
        logits = Head.from_packed(plan.network, model).logits(patients.images)
        scores = Question.of(plan).probabilities(logits)[:, 0]
    else:
        scores = image_scores(build_network(plan.network), model, patients)
    totals = np.add.reduceat(np.nan_to_num(scores, nan=0.5), patients.first_image[:-1])
    return np.asarray(totals / np.diff(patients.first_image), dtype=np.float64)


def image_scores(
    network: nn.Module, model: Packed, patients: PatientPictures
) -> NDArray[np.float64]:
    """Each image's probability of the positive class by a trained network. Shape (N,).

    NaN for an image that is not finite.
    """
    placed = PlacedNetwork(network, torch.device("cpu"))
    placed.set_parameters(model.astype(placed.precision))
    count = int(patients.first_image[-1])
    scores = np.empty(count)
    with torch.inference_mode():
        for begin in range(0, count, IMAGES_AT_ONCE):
            rows = np.arange(begin, min(begin + IMAGES_AT_ONCE, count))
            images = patients.stack(rows)
            is_finite = np.isfinite(images.reshape(len(rows), -1)).all(axis=1)
            scores[rows] = placed.module(placed.place(images)).sigmoid().flatten().numpy()
            scores[rows[~is_finite]] = np.nan
    return scores


def auc(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float | None:
    """The probability that a positive patient scores above a negative one, ties counting half.

    None when a class is missing.
    """
    value = _weighted_auc(scores, labels, np.ones((1, scores.size)))[0]
    return None if np.isnan(value) else float(value)


def auc_with_interval(
    scores: NDArray[np.float64], labels: NDArray[np.int64], *, seed: int
) -> Auc | None:
    """The AUC with its percentile bootstrap interval, patients drawn with replacement.

    None when a class is missing. `seed` is public: it decides nothing that is secret.
    """
    value = auc(scores, labels)
    if value is None:
        return None
    count = scores.size
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    drawn = _weighted_auc(scores, labels, weights.astype(np.float64))
    tail = (1 - LEVEL) / 2
    low, high = np.nanquantile(drawn, [tail, 1 - tail])
    return Auc(value, float(low), float(high))


def roc_curve(
    scores: NDArray[np.float64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates at every threshold, from (0, 0) to (1, 1)."""
    thresholds = np.unique(scores)[::-1]
    negative, positive = scores[labels == 0], scores[labels == 1]
    false_rate = [(negative >= threshold).mean() for threshold in thresholds]
    true_rate = [(positive >= threshold).mean() for threshold in thresholds]
    return np.array([0.0, *false_rate]), np.array([0.0, *true_rate])


def _weighted_auc(
    scores: NDArray[np.float64], labels: NDArray[np.int64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """One AUC for each row of patient weights, shape (R, P); NaN where a class weighs nothing."""
    values, bins = np.unique(scores, return_inverse=True)
    order = np.argsort(bins, kind="stable")
    starts = np.searchsorted(bins[order], np.arange(values.size))
    negative = np.add.reduceat((weights * (labels == 0))[:, order], starts, axis=1)
    positive = np.add.reduceat((weights * (labels == 1))[:, order], starts, axis=1)
    won = (positive * (np.cumsum(negative, axis=1) - negative / 2)).sum(axis=1)
    pairs = negative.sum(axis=1) * positive.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(won / pairs, dtype=np.float64)
