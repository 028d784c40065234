"""What a step of patient-level DP-SGD costs on cached features, and what the accountant does."""

import time

import numpy as np
from bars import record
from training_cases import a_mechanism, make_patients

from hospital_node.training.accountant import calibrate
from hospital_node.training.engine import HeadEngine
from hospital_node.training.features import PatientFeatures
from hospital_node.training.model import Head
from hospital_node.training.question import BINARY
from hospital_node.training.randomness import SecureRandomness
from hospital_node.training.sampler import draw_patients
from hospital_node.training.train import noised_mean

PATIENTS = 2000
STEPS = 40
BAR = 1.3


def test_a_step_and_a_calibration() -> None:
    patients = make_patients(tuple(1 + number % 4 for number in range(PATIENTS)))
    engine = HeadEngine(patients)
    parameters = np.zeros(patients.images.shape[1] + 1)
    mechanism = a_mechanism(sample_rate=0.25, expected_patients=PATIENTS // 4)
    randomness = SecureRandomness.from_system()
    private_s, plain_s = [], []
    for _ in range(STEPS):  # by turns, so that both see the same machine
        start = time.perf_counter()
        gradient = noised_mean(engine, parameters, mechanism=mechanism, randomness=randomness)
        private_s.append(time.perf_counter() - start)
        draw = draw_patients(patients.first_image, mechanism, randomness)
        start = time.perf_counter()
        plain = mean_gradient(patients, parameters, draw.images)
        plain_s.append(time.perf_counter() - start)
    assert np.isfinite(gradient).all()
    assert plain.shape == gradient.shape
    ratio = min(private_s) / min(plain_s)
    record(
        f"cached features, {PATIENTS // 4} patients a step: private ÷ without privacy",
        f"{ratio:.2f} x, {1000 * min(private_s):.1f} ms",
        bar=f"<= {BAR} x",
        is_met=ratio <= BAR,
    )
    start = time.perf_counter()
    noise_multiplier = calibrate(3.0, 1e-5, sample_rate=0.24, steps=100)
    calibrated_s = time.perf_counter() - start
    assert noise_multiplier > 0
    record("calibration of the noise for epsilon 3", f"{1000 * calibrated_s:.0f} ms")


def mean_gradient(
    patients: PatientFeatures, parameters: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """The gradient of the mean loss over images, as one would take it without patients."""
    labels = np.repeat(patients.labels, np.diff(patients.first_image))[rows]
    features = patients.images[rows]
    logits = Head.from_flat(parameters, outputs=1).logits(features)
    errors = BINARY.errors(logits, labels)[:, 0] / len(rows)
    return np.append(features.T @ errors.astype(np.float32), errors.sum())
