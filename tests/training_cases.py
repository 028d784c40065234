"""Patients, plans and predictable coins for the tests of training."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from protocol_strategies import a_plan

from hospital_node.training.features import PatientFeatures
from hospital_node.training.mechanism import PatientMechanism
from hospital_node.training.pictures import PatientPictures
from hospital_node.training.question import Question
from protocol.plan import Cohort, Plan, Task

FEATURES = 1280

SEVERAL = (Task.MULTI_CLASS, Task.MULTI_LABEL)
"""The tasks with an output for each class."""


def plan_of(task: Task, **optimiser: tuple[str, ...]) -> Plan:
    """A plan of a frozen body for a task, of three classes where it names any."""
    plan = a_plan()
    how = plan.optimiser.model_copy(update=optimiser)
    if task is Task.BINARY:
        return a_plan(optimiser=how)
    cohort = Cohort(
        modality=("DX",),
        label="kind",
        minimum_patients=1,
        task=task,
        classes=("bacterial", "viral", "other"),
    )
    network = plan.network.model_copy(update={"classes": 3})
    return a_plan(cohort=cohort, network=network, optimiser=how)


def balanced(task: Task) -> Question:
    """A question whose plan weighs its classes and states how frequent they are."""
    weights, shares = ("0.5", "2", "7"), ("0.7", "0.2", "0.1")
    count = 1 if task is Task.BINARY else 3
    return Question.of(plan_of(task, class_weights=weights[-count:], prevalence=shares[-count:]))


def answers_of(labels: NDArray[np.int64], task: Task) -> NDArray[np.int64]:
    """Binary labels as labels of three classes or of three findings."""
    if task is Task.MULTI_CLASS:
        return 2 * labels
    return np.stack([labels, 1 - labels, labels], axis=1) if task is Task.MULTI_LABEL else labels


class SeededRandomness:
    """Predictable coins, which exist in tests alone; whatever they touch is marked not private.

    Each call has a stream of its own, so that asking one call for more numbers changes no other.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._calls = 0

    @property
    def is_secure(self) -> bool:
        return False

    def uniform(self, count: int) -> NDArray[np.float64]:
        self._calls += 1
        return np.random.default_rng([self._seed, self._calls]).uniform(1e-16, 1.0, count)


def a_mechanism(**changes: float) -> PatientMechanism:
    fields: dict[str, float] = {
        "sample_rate": 0.5,
        "noise_multiplier": 2.0,
        "max_grad_norm": 0.5,
        "images_per_patient": 4,
        "expected_patients": 20,
        "steps": 5,
    }
    return PatientMechanism(**{**fields, **changes})  # type: ignore[arg-type]


def make_patients(
    counts: tuple[int, ...], *, features: int = FEATURES, seed: int = 0
) -> PatientFeatures:
    """Patients with so many images each, of unit length, separable by their first feature."""
    generator = np.random.default_rng(seed)
    labels = np.arange(len(counts)) % 2
    images = generator.standard_normal((sum(counts), features))
    images[:, 0] += np.repeat(np.where(labels == 1, 30.0, -30.0), counts)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    return PatientFeatures(
        labels=labels.astype(np.int64),
        first_image=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        images=images.astype(np.float32),
    )


def without_last(patients: PatientFeatures) -> PatientFeatures:
    """The same patients less the last one."""
    return PatientFeatures(
        labels=patients.labels[:-1],
        first_image=patients.first_image[:-1],
        images=patients.images[: patients.first_image[-2]],
    )


def make_pictures(
    counts: tuple[int, ...], *, shape: tuple[int, ...] = (1, 8, 8), seed: int = 0
) -> PatientPictures:
    """Patients with so many pictures each; the brighter ones are positive. Pictures are float64."""
    generator = np.random.default_rng(seed)
    labels = np.arange(len(counts)) % 2
    images = generator.standard_normal((sum(counts), *shape))
    images += np.repeat(labels, counts).reshape(-1, *(1 for _ in shape))
    first_image = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return pictures_of(images, labels.astype(np.int64), first_image)


def pictures_of(
    images: NDArray[np.floating[Any]], labels: NDArray[np.int64], first_image: NDArray[np.int64]
) -> PatientPictures:
    """Patients whose pictures are in memory."""
    return PatientPictures(labels, first_image, read=lambda row: images[row])
