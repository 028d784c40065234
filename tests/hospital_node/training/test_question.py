"""What a plan asks of an image: one number for each, by public weights, and its exact gradient."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from training_cases import balanced, plan_of

from hospital_node.training.errors import NetworkError
from hospital_node.training.networks import check_question
from hospital_node.training.question import Question, stack_labels
from protocol.plan import Task

COINS = np.random.default_rng(0)
LABELS = {
    Task.BINARY: np.array([0, 1, 1, 0, 1]),
    Task.MULTI_CLASS: np.array([2, 0, 1, 2, 2]),
    Task.MULTI_LABEL: np.array([[0, 0, 0], [1, 0, 1], [1, 1, 1], [0, 1, 0], [1, 0, 0]]),
}
TASKS = pytest.mark.parametrize("task", LABELS)


def logits_of(task: Task) -> np.ndarray:
    return COINS.standard_normal((5, 1 if task is Task.BINARY else 3)) * 4


def test_losses_are_those_of_the_textbook() -> None:
    one = np.array([[0.3, -1.2, 2.0]])
    shares = np.exp(one[0]) / np.exp(one[0]).sum()
    inside = 1 / (1 + np.exp(-one[0]))
    cases = {
        Task.MULTI_CLASS: (np.array([1]), -np.log(shares[1])),
        Task.MULTI_LABEL: (
            np.array([[1, 0, 1]]),
            -np.mean([np.log(inside[0]), np.log(1 - inside[1]), np.log(inside[2])]),
        ),
    }
    for task, (labels, expected) in cases.items():
        asked = Question.of(plan_of(task))
        found = asked.losses(torch.from_numpy(one), torch.from_numpy(labels))
        assert found.shape == (1,)
        assert found.item() == pytest.approx(expected, abs=1e-12)


@TASKS
@pytest.mark.parametrize("is_balanced", [False, True])
def test_errors_are_the_gradients_of_the_losses(task: Task, is_balanced: bool) -> None:
    asked = balanced(task) if is_balanced else Question.of(plan_of(task))
    logits = torch.tensor(logits_of(task), requires_grad=True)
    asked.losses(logits, torch.from_numpy(LABELS[task])).sum().backward()
    found = asked.errors(logits.detach().numpy(), LABELS[task])
    assert logits.grad is not None
    assert np.abs(found - logits.grad.numpy()).max() < 1e-12


@TASKS
def test_an_images_loss_is_its_own_whoever_stands_beside_it(task: Task) -> None:
    asked, labels = balanced(task), torch.from_numpy(LABELS[task])
    logits = torch.from_numpy(logits_of(task))
    together = asked.losses(logits, labels)
    for at in range(5):
        others = torch.randn_like(logits) * 50
        others[at] = logits[at]
        turned = labels.flip(0).clone()
        turned[at] = labels[at]
        assert torch.equal(asked.losses(others, turned)[at], together[at])
        assert asked.errors(others.numpy(), turned.numpy())[at] == pytest.approx(
            asked.errors(logits.numpy(), labels.numpy())[at], abs=0
        )


def test_a_class_weighs_what_the_plan_says_and_nothing_else_does() -> None:
    logits, labels = torch.zeros((3, 3)), torch.tensor([0, 1, 2])
    asked = Question.of(plan_of(Task.MULTI_CLASS, class_weights=("0.5", "1", "7")))
    losses = asked.losses(logits, labels)
    assert torch.allclose(losses / losses[1], torch.tensor([0.5, 1.0, 7.0]))
    weighed = Question.of(plan_of(Task.BINARY, class_weights=("7",)))
    losses = weighed.losses(torch.zeros((2, 1)), torch.tensor([0, 1]))
    assert losses[1].item() == pytest.approx(7 * losses[0].item())


@TASKS
def test_the_heaviest_answer_weighs_what_an_answer_weighs_without_weights(task: Task) -> None:
    """The clip would undo what is weighed up; so the others are weighed down."""
    asked, heavier = Question.of(plan_of(task)), balanced(task)
    for weights in (heavier.present, heavier.absent):
        assert max(weights) <= 1
    assert max(heavier.present) == 1
    assert asked.present == asked.absent == (1.0,) * asked.outputs


def test_of_a_stated_prevalence_a_head_of_zeros_has_nothing_to_learn() -> None:
    """Where the shares are those of the labels, what is left to learn is what sets them apart."""
    labels = np.array([0] * 7 + [1] * 2 + [2])
    asked = Question.of(plan_of(Task.MULTI_CLASS, prevalence=("0.7", "0.2", "0.1")))
    assert np.abs(asked.errors(np.zeros((10, 3)), labels).sum(axis=0)).max() < 1e-12
    rare = Question.of(plan_of(Task.BINARY, prevalence=("0.1",)))
    assert abs(rare.errors(np.zeros((10, 1)), np.array([0] * 9 + [1])).sum()) < 1e-12


@TASKS
@given(scale=st.sampled_from([1.0, 1e3, 1e300]))
def test_probabilities_are_probabilities_of_any_logits(task: Task, scale: float) -> None:
    asked = Question.of(plan_of(task))
    found = asked.probabilities(logits_of(task) * scale)
    assert ((found >= 0) & (found <= 1)).all()
    if task is Task.MULTI_CLASS:
        assert np.allclose(found.sum(axis=1), 1)


def test_outlines_are_not_asked_for_as_an_answer_of_the_image() -> None:
    with pytest.raises(ValueError, match="outlines"):
        Question.of(plan_of(Task.SEGMENTATION))


def test_a_binary_question_is_the_one_that_was_always_asked() -> None:
    logits, labels = logits_of(Task.BINARY), LABELS[Task.BINARY]
    found = Question.of(plan_of(Task.BINARY)).losses(
        torch.from_numpy(logits), torch.from_numpy(labels)
    )
    plain = nn.functional.binary_cross_entropy_with_logits(
        torch.from_numpy(logits[:, 0]), torch.from_numpy(labels).double(), reduction="none"
    )
    assert torch.equal(found, plain)


@TASKS
def test_the_gate_passes_the_questions_of_plans(task: Task) -> None:
    check_question(balanced(task))


class Rebalanced(Question):
    """Weighs a class by how many of the batch carry it, as many libraries do."""

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        plain = nn.functional.cross_entropy(logits, labels, reduction="none")
        return plain / torch.bincount(labels)[labels]


class Averaged(Question):
    """Divides by the weights of the batch: what a weighted mean does."""

    def losses(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return super().losses(logits, labels) / labels.double().mean()


@pytest.mark.parametrize("coupled", [Rebalanced, Averaged])
def test_the_gate_finds_a_balance_that_comes_of_the_batch(coupled: type[Question]) -> None:
    ones = (1.0, 1.0, 1.0)
    asked = coupled(Task.MULTI_CLASS, present=ones, absent=ones, shifts=(0.0, 0.0, 0.0))
    with pytest.raises(NetworkError, match="depends on the others"):
        check_question(asked)


def test_labels_of_nobody_have_the_shape_of_labels() -> None:
    assert stack_labels([], plan_of(Task.MULTI_LABEL).cohort).shape == (0, 3)
    assert stack_labels([], plan_of(Task.MULTI_CLASS).cohort).shape == (0,)
    assert stack_labels([(1, 0, 1)], plan_of(Task.MULTI_LABEL).cohort).tolist() == [[1, 0, 1]]
    assert stack_labels([2, 0], plan_of(Task.MULTI_CLASS).cohort).tolist() == [2, 0]
