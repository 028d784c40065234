from math import sqrt

import numpy as np
import pytest
from training_cases import SeededRandomness, a_mechanism

from hospital_node.training.sampler import draw_patients

FIRST = np.cumsum([0, *(1 + patient % 9 for patient in range(2000))]).astype(np.int64)


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.93])
def test_every_patient_joins_with_the_billed_probability_however_many_images_it_has(
    rate: float,
) -> None:
    joined = np.zeros(2000)
    for seed in range(8):
        draw = draw_patients(FIRST, a_mechanism(sample_rate=rate), SeededRandomness(seed))
        joined[draw.patients] += 1
    for images in range(1, 10):
        group = joined[images - 1 :: 9]
        trials = 8 * group.size
        z = (group.sum() - rate * trials) / sqrt(trials * rate * (1 - rate))
        assert abs(z) < 4.5


def test_everybody_joins_always_at_rate_one() -> None:
    draw = draw_patients(FIRST, a_mechanism(sample_rate=1.0), SeededRandomness(0))
    assert np.array_equal(draw.patients, np.arange(2000))


def test_the_size_of_a_step_is_random() -> None:
    sizes = {
        draw_patients(FIRST, a_mechanism(), SeededRandomness(seed)).patients.size
        for seed in range(10)
    }
    assert len(sizes) > 3


def test_a_patient_brings_at_most_k_images_all_its_own_and_all_different() -> None:
    draw = draw_patients(FIRST, a_mechanism(images_per_patient=3), SeededRandomness(1))
    assert draw.counts.max() == 3
    groups = np.split(draw.images, np.cumsum(draw.counts)[:-1])
    for patient, images in zip(draw.patients, groups, strict=True):
        assert len(set(images.tolist())) == images.size
        assert ((images >= FIRST[patient]) & (images < FIRST[patient + 1])).all()


def test_each_of_a_patients_images_is_as_likely_as_another() -> None:
    first = np.array([0, 500])
    mechanism = a_mechanism(sample_rate=1.0, images_per_patient=4)
    coins = SeededRandomness(2)
    seen = np.bincount(
        np.concatenate([draw_patients(first, mechanism, coins).images for _ in range(2000)]),
        minlength=500,
    )
    assert abs((np.square(seen - 16) / 16).sum() - 499) < 4 * sqrt(2 * 499)


def test_a_patient_without_images_is_never_drawn() -> None:
    draw = draw_patients(np.array([0, 0, 2]), a_mechanism(sample_rate=1.0), SeededRandomness(0))
    assert draw.patients.tolist() == [1]
