from math import sqrt

import numpy as np
from training_cases import SeededRandomness

from hospital_node.training.accountant import epsilon
from hospital_node.training.release import (
    SCORE_BINS,
    auc_from_counts,
    counting,
    noised_count,
    noised_score_counts,
)


def chi_square_z(values: np.ndarray, sigma: float) -> float:
    # Rounding to a whole number adds 1/12 to the variance.
    squares = np.square(values).sum() / (sigma**2 + 1 / 12)
    return float((squares - values.size) / sqrt(2 * values.size))


def test_a_count_has_the_noise_that_is_billed() -> None:
    coins = SeededRandomness(4)
    drawn = np.array(
        [noised_count(500, noise_multiplier=10, randomness=coins) - 500 for _ in range(4000)]
    )
    assert abs(chi_square_z(drawn, 10)) < 4
    assert chi_square_z(drawn, 10 * sqrt(2)) < -20
    assert abs(drawn.mean()) < 4 * 10 / sqrt(4000)


def test_a_count_is_never_below_one() -> None:
    coins = SeededRandomness(5)
    drawn = [noised_count(1, noise_multiplier=10, randomness=coins) for _ in range(50)]
    assert min(drawn) == 1


def test_score_counts_have_the_noise_that_is_billed_in_every_cell() -> None:
    empty = (np.zeros(0), np.zeros(0, dtype=np.int64))
    coins = SeededRandomness(6)
    drawn = [noised_score_counts(*empty, noise_multiplier=4, randomness=coins) for _ in range(300)]
    cells = np.array([[*one.negative, *one.positive] for one in drawn])
    assert cells.shape == (300, 2 * SCORE_BINS)
    assert abs(chi_square_z(cells, 4)) < 4


def test_removing_one_patient_moves_one_cell_by_one() -> None:
    scores = np.array([0.0, 0.05, 0.5, 0.999, 1.0, np.nan, 0.31])
    labels = np.array([0, 1, 0, 1, 1, 0, 1])

    def cells(keep: np.ndarray) -> np.ndarray:
        counts = noised_score_counts(
            scores[keep], labels[keep], noise_multiplier=3, randomness=SeededRandomness(7)
        )
        return np.array([*counts.negative, *counts.positive])

    everybody = np.arange(7)
    for patient in everybody:
        moved = cells(everybody) - cells(np.delete(everybody, patient))
        assert np.abs(moved).sum() == 1


def test_the_auc_from_noised_counts_is_near_the_true_one() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 2
    scores = np.clip(0.5 + 0.2 * generator.standard_normal(400) + 0.2 * (labels - 0.5), 0, 1)
    truth = np.mean(scores[labels == 1][:, None] > scores[labels == 0][None, :])
    counts = noised_score_counts(scores, labels, noise_multiplier=4, randomness=SeededRandomness(8))
    assert abs((auc_from_counts(counts.negative, counts.positive) or 0.0) - truth) < 0.07


def test_a_release_costs_what_a_gaussian_mechanism_costs() -> None:
    assert 0.3 < epsilon([counting(10)], 1e-5) < 0.4
    assert epsilon([counting(4)], 1e-5) < 1.2
