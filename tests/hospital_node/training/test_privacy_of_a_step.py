"""The proof that a step keeps its promise, and that the proof would notice if it did not."""

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
from training_cases import SeededRandomness, a_mechanism, make_patients, without_last

from hospital_node.training import clipper, noise, randomness, train
from hospital_node.training.clipper import BoundedSum
from hospital_node.training.engine import HeadEngine
from hospital_node.training.features import PatientFeatures
from hospital_node.training.mechanism import PatientMechanism

EVERYBODY = a_mechanism(sample_rate=1.0, expected_patients=16)
REPEATS = 8


def step(patients: PatientFeatures, mechanism: PatientMechanism, seed: int) -> np.ndarray:
    """The noised sum of one real step, in the units of the sum."""
    mean = train.noised_mean(
        HeadEngine(patients),
        np.zeros(patients.images.shape[1] + 1),
        first_image=patients.first_image,
        mechanism=mechanism,
        randomness=SeededRandomness(seed),
    )
    return mean * mechanism.expected_patients


def noise_z() -> float:
    """How many standard errors the noise's variance is from the one that is billed."""
    patients = make_patients((1, 2, 3, 1) * 8)
    draws = np.stack([step(patients, EVERYBODY, seed) for seed in range(REPEATS)])
    billed = EVERYBODY.noise_multiplier * EVERYBODY.max_grad_norm
    # Deviations from the mean over repeats: no other implementation of the sum is needed.
    squares = np.square((draws - draws.mean(axis=0)) / billed).sum()
    freedom = (REPEATS - 1) * draws.shape[1]
    return float((squares - freedom) / sqrt(2 * freedom))


def sensitivity() -> float:
    """How far removing one patient, a thousand times as loud as others, moves the noised sum."""
    patients = make_patients((1, 2, 3, 1) * 8 + (4,))
    patients.images[patients.first_image[-2] :] *= 1000
    quiet = step(without_last(patients), EVERYBODY, seed=1)
    return float(np.linalg.norm(step(patients, EVERYBODY, seed=1) - quiet))


def is_private() -> bool:
    return abs(noise_z()) < 4 and sensitivity() <= EVERYBODY.max_grad_norm * (1 + 1e-3)


def test_a_step_has_the_noise_and_the_sensitivity_that_are_billed() -> None:
    assert abs(noise_z()) < 4
    assert EVERYBODY.max_grad_norm * 0.5 < sensitivity() <= EVERYBODY.max_grad_norm * (1 + 1e-3)


def scale_noise(factor: float) -> Callable[[pytest.MonkeyPatch], None]:
    def sabotage(patch: pytest.MonkeyPatch) -> None:
        real = randomness.standard_normal
        patch.setattr(randomness, "standard_normal", lambda *args: factor * real(*args))

    return sabotage


def no_noise(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(noise, "add_noise", lambda bounded, *_: bounded.value)


def no_clipping(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(clipper, "clip_rows", lambda gradients, _: gradients)


def clip_after_averaging(patch: pytest.MonkeyPatch) -> None:
    real = clipper.clip_rows

    def clipped(gradients: np.ndarray, max_norm: float) -> BoundedSum:
        mean = gradients.mean(axis=0, keepdims=True)
        return BoundedSum(len(gradients) * real(mean, max_norm)[0], sensitivity=max_norm)

    patch.setattr(clipper, "clipped_sum", clipped)


@pytest.mark.parametrize(
    "sabotage",
    [
        pytest.param(no_noise, id="no noise"),
        pytest.param(no_clipping, id="no clipping"),
        pytest.param(clip_after_averaging, id="clip after averaging"),
        pytest.param(scale_noise(1 / 2), id="half the noise"),
        pytest.param(scale_noise(1 / sqrt(2)), id="noise divided by the root of two"),
        pytest.param(scale_noise(1 / EVERYBODY.expected_patients), id="noise divided by B"),
        pytest.param(scale_noise(sqrt(2)), id="more noise than is billed"),
    ],
)
def test_every_sabotage_of_the_step_is_caught(
    sabotage: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert is_private()
    sabotage(monkeypatch)
    assert not is_private()


def test_a_patient_weighs_the_same_with_one_image_or_with_many() -> None:
    one, many = make_patients((1,)), make_patients((30,))
    many.images[:] = one.images[0]
    silent = a_mechanism(sample_rate=1.0, noise_multiplier=1e-9)
    assert np.allclose(step(one, silent, 0), step(many, silent, 0), atol=1e-6)


def test_a_step_that_draws_nobody_is_noise_only() -> None:
    nobody = a_mechanism(sample_rate=1e-12)
    patients = make_patients((1, 2, 3))
    drawn = step(patients, nobody, seed=3)
    # The coins of the noise are the same, whoever the patients are.
    assert np.array_equal(drawn, step(make_patients((1, 1, 5), seed=9), nobody, seed=3))
    assert np.linalg.norm(drawn) > 0


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_an_image_that_is_not_finite_contributes_zero(poison: float) -> None:
    patients = make_patients((1, 1, 1, 2))
    before = step(without_last(patients), EVERYBODY, seed=5)
    patients.images[patients.first_image[-2] :, 7] = poison
    assert np.array_equal(step(patients, EVERYBODY, seed=5), before)
