"""The question a plan asks: from logits to losses, to errors and to probabilities, for every task.

The one rule: what an image's loss is multiplied by or moved by stands in the plan, where everybody
reads it; nothing here is counted in a batch or at a hospital. How gradients are made is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from hospital_node.imaging.targets import Target
from protocol.plan import Cohort, Plan, Task

Labels = NDArray[np.int64]
"""Of a binary question 0 or 1 and of several classes the class's number, shape (M,); of several
findings 0 or 1 for each, shape (M, C)."""

Logits = NDArray[np.float64]
"""Shape (M, C); C is 1 of a binary question."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of an image, and how much each answer weighs.

    Guarantee: an image's loss and its error are functions of its own logits, of its own patient's
    label and of numbers of the plan. So the gradient of a patient's mean loss is that patient's
    alone, the clip bounds it, and the sensitivity of the sum is the clip's norm whatever the
    weights are: add or remove all images of one patient.
    """

    task: Task
    present: tuple[float, ...]
    """What a class or a finding weighs where it is there: at most 1, since a clip undoes more."""
    absent: tuple[float, ...]
    """And where it is not, of findings alone."""
    shifts: tuple[float, ...]
    """Added to the logits while training: log-odds of the plan's prevalence, or zeros."""

    @property
    def outputs(self) -> int:
        """How many logits an image has."""
        return len(self.present)

    @classmethod
    def of(cls, plan: Plan) -> Self:
        """The question of a plan, of any task but outlining."""
        task, outputs = plan.cohort.task, plan.network.classes
        weights = tuple(map(float, plan.optimiser.class_weights)) or (1.0,) * outputs
        shares = tuple(map(float, plan.optimiser.prevalence))
        match task:
            case Task.MULTI_CLASS:
                shifts = tuple(log(share) for share in shares)
                heaviest = (max(weights),) * outputs
            case Task.BINARY | Task.MULTI_LABEL:
                shifts = tuple(log(share / (1 - share)) for share in shares)
                heaviest = tuple(max(1.0, weight) for weight in weights)
            case Task.SEGMENTATION:
                raise ValueError("outlines are no answer for a whole image")
        return cls(
            task,
            present=tuple(w / most for w, most in zip(weights, heaviest, strict=True)),
            absent=tuple(1 / most for most in heaviest),
            shifts=shifts or (0.0,) * outputs,
        )

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of each image: cross-entropy, of several findings the mean of each one's.

        Shapes (M, C) and as `Labels`. Shape (M,).
        """
        moved = logits + logits.new_tensor(self.shifts)
        present = logits.new_tensor(self.present)
        match self.task:
            case Task.MULTI_CLASS:
                plain = functional.cross_entropy(moved, labels, reduction="none")
                return plain * present[labels]
            case _:
                truth = labels.reshape(moved.shape).to(moved.dtype)
                weights = torch.where(truth > 0, present, logits.new_tensor(self.absent))
                entropies: torch.Tensor = functional.binary_cross_entropy_with_logits(
                    moved, truth, reduction="none"
                )
                return (weights * entropies).mean(dim=1)

    def errors(self, logits: Logits, labels: Labels) -> Logits:
        """The gradient of each image's loss with respect to its logits. Shape (M, C)."""
        found, present = self.probabilities(logits + self.shifts), np.array(self.present)
        match self.task:
            case Task.MULTI_CLASS:
                found[np.arange(labels.size), labels] -= 1.0
                return np.asarray(found * present[labels, None])
            case _:
                truth = labels.reshape(found.shape)
                weights = np.where(truth == 1, present, np.array(self.absent))
                return np.asarray(weights * (found - truth) / self.outputs)

    def probabilities(self, logits: NDArray[np.floating[Any]]) -> Logits:
        """The probability of each class or finding. Shape (..., C), for logits of that shape."""
        exact = logits.astype(np.float64)
        match self.task:
            case Task.MULTI_CLASS:
                shares = np.exp(exact - exact.max(axis=-1, keepdims=True))
                return np.asarray(shares / shares.sum(axis=-1, keepdims=True))
            case _:
                return np.asarray(0.5 * (1.0 + np.tanh(0.5 * exact)))


def several_findings(count: int) -> Question:
    """So many findings, neither weighed nor moved."""
    ones = (1.0,) * count
    return Question(Task.MULTI_LABEL, present=ones, absent=ones, shifts=(0.0,) * count)


BINARY = Question(Task.BINARY, present=(1.0,), absent=(1.0,), shifts=(0.0,))
"""One finding, there or not, neither weighed nor moved."""


def stack_labels(targets: Sequence[Target], cohort: Cohort) -> Labels:
    """What the network is to answer for each patient, as one array, also of nobody."""
    stacked = np.array(targets, dtype=np.int64)
    if cohort.task is Task.MULTI_LABEL:
        return stacked.reshape(len(targets), len(cohort.classes))
    return stacked


def labels_of_no_one(question: Question, *, images: int) -> torch.Tensor:
    """Labels for a trial, as `losses` takes them: neighbours have different ones."""
    numbers = torch.arange(images)
    if question.task is Task.MULTI_LABEL:
        return (numbers[:, None] + torch.arange(question.outputs)) % 2
    return numbers % 2
