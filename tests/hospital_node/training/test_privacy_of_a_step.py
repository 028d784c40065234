"""The proof that a step keeps its promise on every engine, and would be noticed if it did not."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import pytest
import torch
from torch import nn
from training_cases import SeededRandomness, a_mechanism, answers_of, balanced, make_patients

from hospital_node.training import clipper, noise, randomness, train
from hospital_node.training.clipper import BoundedSum
from hospital_node.training.engine import Engine, HeadEngine
from hospital_node.training.features import PatientFeatures
from hospital_node.training.hooks import OpacusEngine
from hospital_node.training.loop import LoopEngine
from hospital_node.training.mechanism import PatientMechanism
from hospital_node.training.pictures import PatientPictures
from hospital_node.training.question import BINARY
from hospital_node.training.sampler import Draw
from protocol.plan import Task

EVERYBODY = a_mechanism(sample_rate=1.0, expected_patients=16)
REPEATS = 8
EDGE = 9
COUNTS = (1, 2, 3, 1) * 2


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As a node computes; several threads for so small a network wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Way:
    """One engine as a step is taken with it: how it is made and for what."""

    kind: type
    make: Callable[[PatientFeatures], tuple[Engine, np.ndarray]]
    """An engine for patients, and parameters to begin from."""

    def step(self, patients: PatientFeatures, mechanism: PatientMechanism, seed: int) -> np.ndarray:
        """The noised sum of one real step, in the units of the sum."""
        engine, parameters = self.make(patients)
        coins = SeededRandomness(seed)
        mean = train.noised_mean(engine, parameters, mechanism=mechanism, randomness=coins)
        return mean * mechanism.expected_patients


def a_network(outputs: int) -> nn.Module:
    """Convolutions and a norm, from pictures of 9 by 9."""
    torch.manual_seed(0)
    end = (nn.ReLU(), nn.Flatten(), nn.Linear(392, outputs))
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), *end).double()


def for_network(kind: type, task: Task = Task.BINARY) -> Way:
    asked = BINARY if task is Task.BINARY else balanced(task)
    known = a_network(asked.outputs)

    def make(patients: PatientFeatures) -> tuple[Engine, np.ndarray]:
        images = patients.images.reshape(-1, 1, EDGE, EDGE)
        pictures = PatientPictures(
            answers_of(patients.labels, task),
            patients.first_image,
            read=lambda row: images[row],
            loss=asked.losses,
        )
        network = a_network(asked.outputs)
        network.load_state_dict(known.state_dict())
        begin = nn.utils.parameters_to_vector(known.parameters()).detach().numpy().copy()
        return kind(network, pictures, torch.device("cpu")), begin

    return Way(kind, make)


def for_head(task: Task = Task.BINARY) -> Way:
    asked = BINARY if task is Task.BINARY else balanced(task)

    def make(patients: PatientFeatures) -> tuple[Engine, np.ndarray]:
        answered = replace(patients, labels=answers_of(patients.labels, task))
        return HeadEngine(answered, asked), np.zeros(asked.outputs * (EDGE**2 + 1))

    return Way(HeadEngine, make)


WAYS = [
    pytest.param(for_head(), id="head"),
    pytest.param(for_head(Task.MULTI_CLASS), id="head of classes"),
    pytest.param(for_head(Task.MULTI_LABEL), id="head of findings"),
    pytest.param(for_network(LoopEngine), id="loop"),
    pytest.param(for_network(LoopEngine, Task.MULTI_CLASS), id="loop of classes"),
    pytest.param(for_network(OpacusEngine), id="opacus"),
    pytest.param(for_network(OpacusEngine, Task.MULTI_LABEL), id="opacus of findings"),
]
every_way = pytest.mark.parametrize("way", WAYS)


def patients_of(counts: tuple[int, ...], seed: int = 0) -> PatientFeatures:
    return make_patients(counts, features=EDGE**2, seed=seed)


def noise_z(way: Way) -> float:
    """How many standard errors the noise's variance is from the one that is billed."""
    patients = patients_of(COUNTS)
    repeats = REPEATS * (8 if way.kind is HeadEngine else 1)  # so few parameters need more draws
    draws = np.stack([way.step(patients, EVERYBODY, seed) for seed in range(repeats)])
    billed = EVERYBODY.noise_multiplier * EVERYBODY.max_grad_norm
    # Deviations from the mean over repeats: no other implementation of the sum is needed.
    squares = np.square((draws - draws.mean(axis=0)) / billed).sum()
    freedom = (repeats - 1) * draws.shape[1]
    return float((squares - freedom) / sqrt(2 * freedom))


def sensitivity(way: Way) -> float:
    """How far removing one patient, a thousand times as loud as others, moves the noised sum."""
    with_loud, quiet = patients_of((*COUNTS, 4)), patients_of((*COUNTS, 4))
    with_loud.images[with_loud.first_image[-2] :] *= 1000
    without = PatientFeatures(
        labels=quiet.labels[:-1],
        first_image=quiet.first_image[:-1],
        images=quiet.images[: quiet.first_image[-2]],
    )
    # A patient who is wrong by so much has a gradient to match: its label is turned round.
    with_loud.labels[-1] = 1 - with_loud.labels[-1]
    moved = way.step(with_loud, EVERYBODY, 1) - way.step(without, EVERYBODY, 1)
    return float(np.linalg.norm(moved))


def is_private(way: Way) -> bool:
    return sensitivity(way) <= EVERYBODY.max_grad_norm * (1 + 1e-3) and abs(noise_z(way)) < 4


@every_way
def test_a_step_has_the_noise_and_the_sensitivity_that_are_billed(way: Way) -> None:
    assert abs(noise_z(way)) < 4
    assert EVERYBODY.max_grad_norm * 0.5 < sensitivity(way)
    assert sensitivity(way) <= EVERYBODY.max_grad_norm * (1 + 1e-3)


Sabotage = Callable[[pytest.MonkeyPatch, Way], None]


def scale_noise(factor: float) -> Sabotage:
    def sabotage(patch: pytest.MonkeyPatch, way: Way) -> None:
        real = randomness.standard_normal
        patch.setattr(randomness, "standard_normal", lambda *args: factor * real(*args))

    return sabotage


def no_noise(patch: pytest.MonkeyPatch, way: Way) -> None:
    patch.setattr(noise, "add_noise", lambda bounded, *_: bounded.value)


def no_clipping(patch: pytest.MonkeyPatch, way: Way) -> None:
    patch.setattr(clipper, "clip_factors", lambda norms, _: np.ones_like(norms))


def clip_after_averaging(patch: pytest.MonkeyPatch, way: Way) -> None:
    real = way.kind.clipped_sum

    def clipped(engine: Engine, parameters: np.ndarray, draw: Draw, max_norm: float) -> BoundedSum:
        mean = real(engine, parameters, draw, 1e30).value / draw.patients.size
        row = clipper.clip_rows(mean[None], max_norm)[0]
        return BoundedSum(draw.patients.size * row, sensitivity=max_norm)

    patch.setattr(way.kind, "clipped_sum", clipped)


SABOTAGES = [
    pytest.param(no_noise, id="no noise"),
    pytest.param(no_clipping, id="no clipping"),
    pytest.param(clip_after_averaging, id="clip after averaging"),
    pytest.param(scale_noise(1 / 2), id="half the noise"),
    pytest.param(scale_noise(1 / sqrt(2)), id="noise divided by the root of two"),
    pytest.param(scale_noise(1 / EVERYBODY.expected_patients), id="noise divided by B"),
    pytest.param(scale_noise(sqrt(2)), id="more noise than is billed"),
]


@every_way
@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_every_sabotage_of_the_step_is_caught(
    way: Way, sabotage: Sabotage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch, way)
    assert not is_private(way)


@every_way
def test_a_patient_weighs_the_same_with_one_image_or_with_many(way: Way) -> None:
    one, many = patients_of((1,)), patients_of((30,))
    many.images[:] = one.images[0]
    silent = a_mechanism(sample_rate=1.0, noise_multiplier=1e-9)
    assert np.allclose(way.step(one, silent, 0), way.step(many, silent, 0), atol=1e-6)


@every_way
def test_a_step_that_draws_nobody_is_noise_only(way: Way) -> None:
    nobody = a_mechanism(sample_rate=1e-12)
    drawn = way.step(patients_of((1, 2, 3)), nobody, seed=3)
    # The coins of the noise are the same, whoever the patients are.
    assert np.array_equal(drawn, way.step(patients_of((1, 1, 5), seed=9), nobody, seed=3))
    assert np.linalg.norm(drawn) > 0


@every_way
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_an_image_that_is_not_finite_contributes_zero(way: Way, poison: float) -> None:
    patients, rest = patients_of((1, 1, 1, 2)), patients_of((1, 1, 1, 1))
    rest.images[:] = patients.images[:4]
    patients.images[3:, 7] = poison
    silence = a_mechanism(sample_rate=1.0, noise_multiplier=1e-9)
    found = way.step(patients, silence, seed=5)
    rest.images[3, 7] = np.nan
    assert np.isfinite(found).all()
    assert np.allclose(found, way.step(rest, silence, seed=5), atol=1e-7)
    assert np.linalg.norm(found) > 0


def test_noise_is_drawn_anew_for_every_coordinate_of_a_large_network() -> None:
    nothing = BoundedSum(np.zeros(2 * noise.BLOCK + 7, dtype=np.float32), sensitivity=1.0)
    drawn = noise.add_noise(nothing, 1.0, randomness.SecureRandomness.from_system())
    first, second = drawn[: noise.BLOCK], drawn[noise.BLOCK : 2 * noise.BLOCK]
    assert drawn.dtype == np.float32
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert 0.98 < drawn.std() < 1.02
    assert drawn[2 * noise.BLOCK :].all()
