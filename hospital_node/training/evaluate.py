"""Evaluation at one hospital: what a model says of its own patients.

The one rule: nothing computed here may leave; what leaves is made by `release`, noised and billed.
A patient counts once, with the mean probabilities of all its images.
"""

from math import isnan

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from hospital_node.judging.discrimination import Tallies
from hospital_node.training.features import PatientFeatures
from hospital_node.training.model import Head
from hospital_node.training.networks import build_network
from hospital_node.training.pictures import PatientPictures
from hospital_node.training.placed import PlacedNetwork
from hospital_node.training.question import Question
from hospital_node.training.trainable import Examples
from protocol.plan import Plan, Task
from protocol.update import Packed

IMAGES_AT_ONCE = 8
"""Images in one forward pass; a volume needs the memory of many pictures."""


def patient_scores(plan: Plan, model: Packed, patients: Examples) -> NDArray[np.float64]:
    """Each patient's mean probability of the positive class of a binary question. Shape (P,)."""
    return patient_answers(plan, model, patients)[:, 0]


def auc(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float | None:
    """The probability that a positive patient scores above a negative one, ties counting half.

    None when a class is missing.
    """
    value = float(Tallies.of(scores, labels, np.ones((1, scores.size))).auc()[0])
    return None if isnan(value) else value


def patient_answers(plan: Plan, model: Packed, patients: Examples) -> NDArray[np.float64]:
    """Each patient's mean probability of each class over all its images. Shape (P, C).

    Of a binary question C is 1, the positive class. An image that is not finite counts as
    undecided: 0.5, or as likely of any class as of any other where it can only be of one.
    """
    if isinstance(patients, PatientFeatures):
        logits = Head.from_packed(plan.network, model).logits(patients.images)
        scores = Question.of(plan).probabilities(logits)
    else:
        scores = image_scores(build_network(plan.network), plan, model, patients=patients)
    is_exclusive = plan.cohort.task is Task.MULTI_CLASS
    undecided = 1 / plan.network.classes if is_exclusive else 0.5
    known = np.isfinite(scores).all(axis=1, keepdims=True)
    totals = np.add.reduceat(np.where(known, scores, undecided), patients.first_image[:-1], axis=0)
    return np.asarray(totals / np.diff(patients.first_image)[:, None], dtype=np.float64)


def image_scores(
    network: nn.Module, plan: Plan, model: Packed, *, patients: PatientPictures
) -> NDArray[np.float64]:
    """Each image's probability of each class by a trained network. Shape (N, C).

    NaN for an image that is not finite.
    """
    placed = PlacedNetwork(network, torch.device("cpu"))
    placed.set_parameters(model.astype(placed.precision))
    count = int(patients.first_image[-1])
    scores = np.empty((count, plan.network.classes))
    with torch.inference_mode():
        for begin in range(0, count, IMAGES_AT_ONCE):
            rows = np.arange(begin, min(begin + IMAGES_AT_ONCE, count))
            images = patients.stack(rows)
            is_finite = np.isfinite(images.reshape(len(rows), -1)).all(axis=1)
            scores[rows] = _probabilities(placed.module(placed.place(images)), plan.cohort.task)
            scores[rows[~is_finite]] = np.nan
    return scores


def _probabilities(logits: torch.Tensor, task: Task) -> NDArray[np.float64]:
    """Of classes of which one is true, a softmax; otherwise each class by itself."""
    said = logits.softmax(dim=1) if task is Task.MULTI_CLASS else logits.sigmoid()
    return np.asarray(said.double().numpy())
