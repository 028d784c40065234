"""What a step of patient-level DP-SGD costs on cached features, and what the accountant does."""

import time

import numpy as np
from training_cases import SeededRandomness, a_mechanism, make_patients

from hospital_node.training.accountant import calibrate
from hospital_node.training.engine import HeadEngine
from hospital_node.training.train import noised_mean

PATIENTS = 270
STEPS = 50


def test_a_step_and_a_calibration() -> None:
    patients = make_patients(tuple(1 + number % 4 for number in range(PATIENTS)))
    engine = HeadEngine(patients)
    parameters = np.zeros(patients.images.shape[1] + 1)
    mechanism = a_mechanism(sample_rate=0.24, expected_patients=64)
    randomness = SeededRandomness(1)
    start = time.perf_counter()
    for _ in range(STEPS):
        gradient = noised_mean(
            engine,
            parameters,
            mechanism=mechanism,
            randomness=randomness,
        )
    step_s = (time.perf_counter() - start) / STEPS
    assert np.isfinite(gradient).all()
    start = time.perf_counter()
    noise_multiplier = calibrate(3.0, 1e-5, sample_rate=0.24, steps=100)
    calibrated_s = time.perf_counter() - start
    assert noise_multiplier > 0
    print(
        f"\na step of 64 of {PATIENTS} patients: {1000 * step_s:.2f} ms; "
        f"calibration for epsilon 3: {1000 * calibrated_s:.0f} ms"
    )
