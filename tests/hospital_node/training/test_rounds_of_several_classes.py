"""Rounds of two hospitals for several classes and for several findings, noise and gate and all."""

import numpy as np
import pytest
from training_cases import FEATURES, SEVERAL, SeededRandomness, plan_of

from hospital_node.egress import check_update
from hospital_node.training.engine import HeadEngine
from hospital_node.training.evaluate import auc
from hospital_node.training.features import PatientFeatures
from hospital_node.training.mechanism import PatientMechanism
from hospital_node.training.model import Head
from hospital_node.training.question import Question
from hospital_node.training.train import train_steps
from protocol.ballot import Ballot, Choice
from protocol.catalogue import initial_state
from protocol.plan import Plan, Task
from protocol.update import Packed

SHARES = {Task.MULTI_CLASS: (0.85, 0.1, 0.05), Task.MULTI_LABEL: (0.5, 0.3, 0.1)}
FAINT = 6.0
"""Of images of length one: classes overlap."""

STATED = {task: tuple(str(share) for share in shares) for task, shares in SHARES.items()}


def plan_for(task: Task, **balance: tuple[str, ...]) -> Plan:
    steps = {"learning_rate": "8", "momentum": "0.8", "local_steps": 10}
    return plan_of(task, **steps, **balance)


def hospital(task: Task, *, seed: int, contrast: float, patients: int = 400) -> PatientFeatures:
    """Patients with one to three images, of classes as rare as `SHARES` says."""
    coins = np.random.default_rng(seed)
    counts = coins.integers(1, 4, patients)
    if task is Task.MULTI_CLASS:
        labels = coins.choice(3, patients, p=SHARES[task])
        shows = np.eye(3)[labels]
    else:
        labels = (coins.uniform(size=(patients, 3)) < SHARES[task]).astype(np.int64)
        shows = labels.astype(np.float64)
    images = coins.standard_normal((int(counts.sum()), FEATURES))
    images[:, :3] += contrast * np.repeat(shows - 0.5, counts, axis=0)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    first_image = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return PatientFeatures(labels.astype(np.int64), first_image, images.astype(np.float32))


def carry_out(plan: Plan, *, contrast: float, noise: str = "1", rounds: int = 2) -> Packed:
    """The model after some rounds of two hospitals, every update through the gate."""
    task = plan.cohort.task
    ballot = Ballot(
        plan_id=plan.id,
        site="amber",
        choice=Choice.APPROVE,
        sample_rate="0.5",
        noise_multiplier=noise,
    )
    mechanism = PatientMechanism.of(plan, sample_rate="0.5", noise_multiplier=noise)
    engines = [
        HeadEngine(hospital(task, seed=seed, contrast=contrast), Question.of(plan))
        for seed in (1, 2)
    ]
    model = initial_state(plan.network)
    for number in range(rounds):
        updates = []
        for site, engine in enumerate(engines):
            coins = SeededRandomness(10 * number + site)
            updates.append(
                train_steps(plan, engine, mechanism=mechanism, start=model, randomness=coins)
            )
            check_update(plan, ballot, update=updates[-1], start=model)
        model = model + np.mean(updates, axis=0, dtype=np.float32)
    return model


def scores_of(plan: Plan, model: Packed, patients: PatientFeatures) -> np.ndarray:
    """Each patient's probability of each class, by its first image."""
    images = patients.images[patients.first_image[:-1]]
    logits = Head.from_packed(plan.network, model).logits(images)
    return Question.of(plan).probabilities(logits)


@pytest.mark.parametrize("task", SEVERAL)
def test_rounds_of_two_hospitals_learn_every_class(task: Task) -> None:
    plan = plan_for(task)
    others = hospital(task, seed=3, contrast=40)
    scores = scores_of(plan, carry_out(plan, contrast=40), others)
    truth = others.labels if task is Task.MULTI_LABEL else np.eye(3, dtype=int)[others.labels]
    for number in range(3):
        assert (auc(scores[:, number], truth[:, number]) or 0) > 0.9


@pytest.mark.parametrize("balance", ["class_weights", "prevalence"])
def test_public_numbers_find_the_classes_that_are_missed_without(balance: str) -> None:
    """Mean recall of three classes by the one that scores highest, two of them rare and faint."""
    public = {"class_weights": ("1", "8", "17"), "prevalence": STATED[Task.MULTI_CLASS]}
    others = hospital(Task.MULTI_CLASS, seed=3, contrast=FAINT, patients=1000)
    recalls = []
    for plan in (
        plan_for(Task.MULTI_CLASS),
        plan_for(Task.MULTI_CLASS, **{balance: public[balance]}),
    ):
        model = carry_out(plan, contrast=FAINT, noise="0.3")
        found = scores_of(plan, model, others).argmax(axis=1)
        recalls.append(np.mean([(found[others.labels == k] == k).mean() for k in range(3)]))
    assert recalls[1] > recalls[0] + 0.1
