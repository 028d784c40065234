"""The engines against the obvious way, and against one another: one patient at a time, no noise."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import nn
from training_cases import (
    SEVERAL,
    SeededRandomness,
    a_mechanism,
    answers_of,
    balanced,
    make_patients,
    make_pictures,
    pictures_of,
)

from hospital_node.training import hooks
from hospital_node.training.engine import HeadEngine
from hospital_node.training.features import PatientFeatures
from hospital_node.training.hooks import OpacusEngine
from hospital_node.training.loop import LoopEngine
from hospital_node.training.pictures import PatientPictures
from hospital_node.training.sampler import Draw, draw_patients
from protocol.plan import Task

CPU = torch.device("cpu")
NOBODY = Draw(*(np.array([], dtype=np.int64) for _ in range(3)))
ENGINES = [pytest.param(LoopEngine, id="loop"), pytest.param(OpacusEngine, id="opacus")]


def differentiate(patients: PatientFeatures, parameters: np.ndarray, draw: Draw) -> np.ndarray:
    """Each drawn patient's mean-loss gradient by torch, in float64."""
    rows = []
    begin = 0
    for patient, count in zip(draw.patients, draw.counts, strict=True):
        images = torch.tensor(patients.images[draw.images[begin : begin + count]]).double()
        begin += count
        weight = torch.tensor(parameters, requires_grad=True)
        logits = images @ weight[:-1] + weight[-1]
        labels = torch.full_like(logits, float(patients.labels[patient]))
        torch.nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
        assert weight.grad is not None
        rows.append(weight.grad.numpy())
    return np.stack(rows)


def a_network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 1)
    ).double()


def flat(network: nn.Module) -> np.ndarray:
    return nn.utils.parameters_to_vector(network.parameters()).detach().numpy().copy()


@pytest.mark.parametrize("seed", range(4))
def test_the_closed_form_equals_one_patient_at_a_time(seed: int) -> None:
    patients = make_patients((1, 7, 2, 1, 4, 3), features=20, seed=seed)
    parameters = np.random.default_rng(seed).standard_normal(21) * 3
    draw = draw_patients(patients.first_image, a_mechanism(sample_rate=0.9), SeededRandomness(seed))
    rows = differentiate(patients, parameters, draw)
    factors = np.minimum(1, 0.1 / np.linalg.norm(rows, axis=1, keepdims=True))
    summed = HeadEngine(patients).clipped_sum(parameters, draw, 0.1)
    assert np.allclose(summed.value, (rows * factors).sum(axis=0), atol=1e-6)
    assert summed.sensitivity == 0.1


@pytest.mark.parametrize("max_norm", [0.05, 0.4, 100.0])
def test_three_engines_compute_one_sum_for_a_linear_head(max_norm: float) -> None:
    patients = make_patients((1, 7, 2, 1, 4, 3) * 4, features=20)
    patients.images[3, 5] = np.nan
    pictures = pictures_of(patients.images, patients.labels, patients.first_image)
    parameters = np.random.default_rng(1).standard_normal(21)
    draw = draw_patients(patients.first_image, a_mechanism(sample_rate=0.9), SeededRandomness(1))
    closed = HeadEngine(patients).clipped_sum(parameters, draw, max_norm)
    for make in (LoopEngine, OpacusEngine):
        engine = make(nn.Linear(20, 1).double(), pictures, CPU)
        summed = engine.clipped_sum(parameters, draw, max_norm)
        assert np.abs(summed.value - closed.value).max() < 1e-6
        assert summed.sensitivity == closed.sensitivity


@pytest.mark.parametrize("task", SEVERAL)
@pytest.mark.parametrize("max_norm", [0.05, 0.4, 100.0])
def test_three_engines_compute_one_sum_for_a_head_of_several_outputs(
    task: Task, max_norm: float
) -> None:
    binary = make_patients((1, 7, 2, 1, 4, 3) * 4, features=20)
    patients = dataclasses.replace(binary, labels=answers_of(binary.labels, task))
    patients.images[3, 5] = np.nan
    asked = balanced(task)
    pictures = dataclasses.replace(
        pictures_of(patients.images, patients.labels, patients.first_image), loss=asked.losses
    )
    parameters = np.random.default_rng(1).standard_normal(63)
    draw = draw_patients(patients.first_image, a_mechanism(sample_rate=0.9), SeededRandomness(1))
    closed = HeadEngine(patients, asked).clipped_sum(parameters, draw, max_norm)
    for make in (LoopEngine, OpacusEngine):
        engine = make(nn.Linear(20, 3).double(), pictures, CPU)
        summed = engine.clipped_sum(parameters, draw, max_norm)
        scale = max(1.0, float(np.linalg.norm(summed.value)))
        assert np.abs(summed.value - closed.value).max() < 1e-6 * scale
        assert summed.sensitivity == closed.sensitivity


@pytest.mark.parametrize("task", SEVERAL)
@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_of_several_outputs_equals_one_patient_at_a_time(
    task: Task, seed: int
) -> None:
    """The oracle: the textbook's loss by torch, with the weights and shifts written out."""
    binary = make_patients((1, 7, 2, 1, 4, 3), features=20, seed=seed)
    patients = dataclasses.replace(binary, labels=answers_of(binary.labels, task))
    parameters = np.random.default_rng(seed).standard_normal(63) * 3
    draw = draw_patients(patients.first_image, a_mechanism(sample_rate=0.9), SeededRandomness(seed))
    expected, begin = np.zeros(63), 0
    for patient, count in zip(draw.patients, draw.counts, strict=True):
        images = torch.tensor(patients.images[draw.images[begin : begin + count]]).double()
        begin += count
        weight = torch.tensor(parameters, requires_grad=True)
        logits = images @ weight[:60].reshape(3, 20).T + weight[60:]
        _textbook_loss(task, logits, patients.labels[patient]).backward()
        assert weight.grad is not None
        expected += weight.grad.numpy() * min(1.0, 0.1 / float(weight.grad.norm()))
    summed = HeadEngine(patients, balanced(task)).clipped_sum(parameters, draw, 0.1)
    assert np.abs(summed.value - expected).max() < 1e-6


def _textbook_loss(task: Task, logits: torch.Tensor, answer: np.ndarray) -> torch.Tensor:
    """One patient's mean loss under the weights 0.5, 2, 7 and the shares 0.7, 0.2, 0.1."""
    weights, shares = torch.tensor([0.5, 2.0, 7.0]).double(), torch.tensor([0.7, 0.2, 0.1]).double()
    if task is Task.MULTI_CLASS:
        likely = torch.log_softmax(logits + shares.log(), dim=1)[:, int(answer)]
        return -(weights[int(answer)] / 7 * likely).mean()
    inside = torch.sigmoid(logits + (shares / (1 - shares)).log())
    truth = torch.from_numpy(answer)
    entropies = -(weights * truth * inside.log() + (1 - truth) * (1 - inside).log())
    return (entropies / torch.tensor([1.0, 2.0, 7.0])).mean()


@pytest.mark.parametrize("max_norm", [0.05, 1.0, 100.0])
def test_loop_and_hooks_compute_one_sum_for_a_network(max_norm: float) -> None:
    patients = make_pictures((1, 9, 2, 1, 4, 3) * 4)
    draw = draw_patients(
        patients.first_image,
        a_mechanism(sample_rate=0.9, images_per_patient=9),
        SeededRandomness(1),
    )
    network = a_network()
    sums = [
        make(copy.deepcopy(network), patients, CPU).clipped_sum(flat(network), draw, max_norm)
        for make in (LoopEngine, OpacusEngine)
    ]
    assert np.linalg.norm(sums[0].value) > 0.01
    assert np.abs(sums[0].value - sums[1].value).max() < 1e-9


@pytest.mark.parametrize("make", ENGINES)
def test_the_sum_for_a_network_is_that_of_its_patients_one_at_a_time(make: type) -> None:
    """The oracle: torch's own mean over one patient's images, and the clip written out."""
    patients = make_pictures((1, 4, 2))
    network = a_network()
    engine = make(copy.deepcopy(network), patients, CPU)
    draw = draw_patients(patients.first_image, a_mechanism(sample_rate=1.0), SeededRandomness(0))
    expected = np.zeros_like(flat(network))
    for patient in range(3):
        network.zero_grad()
        rows = np.arange(patients.first_image[patient], patients.first_image[patient + 1])
        logits = network(torch.from_numpy(patients.stack(rows))).flatten()
        labels = torch.full_like(logits, float(patients.labels[patient]))
        nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
        row = np.concatenate([p.grad.numpy().ravel() for p in network.parameters()])
        expected += row * min(1.0, 0.3 / np.linalg.norm(row))
    found = engine.clipped_sum(flat(network), draw, 0.3)
    assert np.abs(found.value - expected).max() < 1e-9


@pytest.mark.parametrize("make", ENGINES)
def test_an_engine_computes_with_the_parameters_of_now(make: type) -> None:
    patients = make_pictures((1, 4, 2))
    network = a_network()
    engine = make(copy.deepcopy(network), patients, CPU)
    draw = draw_patients(patients.first_image, a_mechanism(sample_rate=1.0), SeededRandomness(0))
    begin = flat(network)
    first = engine.clipped_sum(begin, draw, 9.0).value
    assert not np.allclose(engine.clipped_sum(begin + 0.1, draw, 9.0).value, first)
    assert np.array_equal(engine.clipped_sum(begin, draw, 9.0).value, first)
    assert np.array_equal(begin, flat(network))


@pytest.mark.parametrize("make", ENGINES)
def test_the_sum_over_nobody_is_zero_for_a_network(make: type) -> None:
    network = a_network()
    engine = make(network, make_pictures((1, 2)), CPU)
    summed = engine.clipped_sum(flat(network), NOBODY, 1.0)
    assert np.array_equal(summed.value, np.zeros(flat(network).size))


def test_the_sum_over_nobody_is_zero() -> None:
    patients = make_patients((1, 2), features=5)
    summed = HeadEngine(patients).clipped_sum(np.zeros(6), NOBODY, 1.0)
    assert np.array_equal(summed.value, np.zeros(6))


@pytest.mark.parametrize("make", ENGINES)
def test_a_patient_whose_gradient_overflows_counts_as_nothing(make: type) -> None:
    """Finite pixels that the network turns into infinity: the others' sum is as without them."""
    patients = make_pictures((1, 2, 3))
    images = patients.stack(np.arange(6)).astype(np.float32)
    images[3:] = 3e38
    network = a_network().float()
    loud = pictures_of(images, patients.labels, patients.first_image)
    draw = draw_patients(patients.first_image, a_mechanism(sample_rate=1.0), SeededRandomness(0))
    quiet = Draw(draw.patients[:2], draw.images[:3], draw.counts[:2])
    engine = make(network, loud, CPU)
    found = engine.clipped_sum(flat(network), draw, 1.0).value
    assert np.isfinite(found).all()
    assert np.allclose(found, engine.clipped_sum(flat(network), quiet, 1.0).value, atol=1e-6)


@pytest.mark.parametrize("make", ENGINES)
def test_a_patient_with_five_hundred_images_enters_with_k_of_them(make: type) -> None:
    patients = make_pictures((1, 500))
    read: list[int] = []

    def note(row: int) -> np.ndarray:
        read.append(row)
        return patients.read(row)

    counted = PatientPictures(patients.labels, patients.first_image, note)
    network = a_network()
    draw = draw_patients(patients.first_image, a_mechanism(sample_rate=1.0), SeededRandomness(0))
    summed = make(network, counted, CPU).clipped_sum(flat(network), draw, 0.01)
    assert len([row for row in read if row > 0]) == 4
    assert np.linalg.norm(summed.value) <= 2 * 0.01 * (1 + 1e-9)


@pytest.mark.parametrize("at_once", [1, 2, 5, 24])
def test_the_hooks_sum_is_the_same_in_however_many_parts(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    patients = make_pictures((1, 3, 2, 1, 4, 3))
    network = a_network()
    draw = draw_patients(patients.first_image, a_mechanism(sample_rate=1.0), SeededRandomness(1))
    whole = OpacusEngine(copy.deepcopy(network), patients, CPU).clipped_sum(
        flat(network), draw, 0.1
    )
    monkeypatch.setattr(hooks, "IMAGES_AT_ONCE", at_once)
    parts = OpacusEngine(network, patients, CPU).clipped_sum(flat(network), draw, 0.1)
    assert np.allclose(parts.value, whole.value, atol=1e-12)
