import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from protocol_strategies import a_plan
from torch import nn
from training_cases import make_patients, make_pictures, pictures_of

from hospital_node.training.evaluate import auc, image_scores, patient_scores
from hospital_node.training.release import auc_from_counts
from protocol.catalogue import CATALOGUE, layout_of
from protocol.plan import Cohort, Network, Plan, Task

scored = st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=2, max_size=40)


@given(scored)
def test_auc_is_the_share_of_pairs_in_the_right_order(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score / 10 for score, _ in pairs])
    labels = np.array([int(label) for _, label in pairs])
    wins = [
        (a > b) + (a == b) / 2
        for a, la in zip(scores, labels, strict=True)
        for b, lb in zip(scores, labels, strict=True)
        if la and not lb
    ]
    found = auc(scores, labels)
    assert found is None if not wins else np.isclose(found or 0.0, np.mean(wins))


@given(scored)
def test_counts_without_noise_tell_the_same_auc_as_the_scores_in_the_bins(
    pairs: list[tuple[int, bool]],
) -> None:
    scores = np.array([score for score, _ in pairs])
    labels = np.array([int(label) for _, label in pairs])
    negative, positive = (np.bincount(scores[labels == c], minlength=10).tolist() for c in (0, 1))
    found, direct = auc_from_counts(negative, positive), auc(scores / 10, labels)
    assert (found is None and direct is None) or np.isclose(found or 0.0, direct or 0.0)


def test_a_site_without_one_of_the_classes_has_no_auc() -> None:
    assert auc(np.array([0.1, 0.9]), np.array([1, 1])) is None
    assert auc_from_counts((0, -3), (4, 4)) is None


def test_a_patients_score_is_the_mean_over_its_images() -> None:
    plan = a_plan()
    patients = make_patients((1, 3))
    patients.images[3] = np.nan
    model = np.zeros(layout_of(plan.network).size, dtype=np.float32)
    model[0] = 4.0
    single = 1 / (1 + np.exp(-4.0 * patients.images[:3, 0].astype(float)))
    expected = [single[0], (single[1] + single[2] + 0.5) / 3]
    assert np.allclose(patient_scores(plan, model, patients), expected)


def three_classes(task: Task) -> Plan:
    cohort = Cohort(
        modality=("CR",), label="kind", minimum_patients=1, task=task, classes=("a", "b", "c")
    )
    card = CATALOGUE["groupnorm-cnn"]
    network = Network(name=card.name, weights_digest=card.weights_digest, classes=3)
    return a_plan(cohort=cohort, network=network)


class Shown(nn.Module):
    """A network whose logits are the first pixels of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.times = nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1)[:, :3] * self.times


@pytest.mark.parametrize("task", [Task.MULTI_CLASS, Task.MULTI_LABEL])
def test_each_image_has_a_probability_of_each_class(task: Task) -> None:
    pictures = make_pictures((2, 1), shape=(1, 2, 2))
    shown = pictures.stack(np.arange(3)).reshape(3, -1)
    shown[1, 3] = np.inf  # beyond what the network looks at
    broken = pictures_of(shown.reshape(3, 1, 2, 2), pictures.labels, pictures.first_image)
    plan, model = three_classes(task), np.ones(1, dtype=np.float32)
    found = image_scores(Shown(), plan, model, patients=broken)
    powers = np.exp(shown[:, :3])
    exclusive = powers / powers.sum(axis=1, keepdims=True)
    expected = exclusive if task is Task.MULTI_CLASS else powers / (1 + powers)
    assert np.allclose(found[[0, 2]], expected[[0, 2]], atol=1e-6)
    assert np.isnan(found[1]).all()
