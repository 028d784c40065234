from math import sqrt

import numpy as np
import pytest
from training_cases import SeededRandomness

from hospital_node.training.accountant import epsilon
from hospital_node.training.release import (
    SCORE_BINS,
    auc_from_counts,
    counting,
    noised_count,
    noised_histograms,
    score_cells,
    sensitivity,
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


def several(findings: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores and answers of seven patients, some odd."""
    generator = np.random.default_rng(3)
    scores = generator.random((7, findings))
    scores[:, 0] = [0.0, 0.05, 0.5, 0.999, 1.0, np.nan, 0.31]
    return scores, generator.integers(0, 2, (7, findings))


def told(scores: np.ndarray, truth: np.ndarray, *, sigma: float, seed: int) -> np.ndarray:
    return noised_histograms(
        score_cells(scores, truth), noise_multiplier=sigma, randomness=SeededRandomness(seed)
    )


@pytest.mark.parametrize("findings", [1, 4])
def test_histograms_have_the_noise_that_is_billed_in_every_cell(findings: int) -> None:
    """σ is in units of what one patient moves: of four findings the noise is twice as large."""
    nobody = np.zeros((0, findings)), np.zeros((0, findings), dtype=np.int64)
    cells = np.stack([told(*nobody, sigma=4, seed=seed) for seed in range(100)])
    assert cells.shape == (100, findings, 2 * SCORE_BINS)
    moved = 4 * sqrt(findings)
    assert abs(chi_square_z(cells.ravel(), moved)) < 4
    assert chi_square_z(cells.ravel(), moved * sqrt(2)) < -10
    assert chi_square_z(cells.ravel(), moved / sqrt(2)) > 10


@pytest.mark.parametrize("findings", [1, 4])
def test_removing_a_patient_moves_the_histograms_by_what_the_noise_is_scaled_to(
    findings: int,
) -> None:
    scores, truth = several(findings)
    everybody = told(scores, truth, sigma=3, seed=7)
    for patient in range(7):
        others = np.arange(7) != patient
        moved = everybody - told(scores[others], truth[others], sigma=3, seed=7)
        assert (np.abs(moved).sum(axis=1) == 1).all()
        assert np.isclose(np.linalg.norm(moved), sensitivity(findings))


def test_patients_are_counted_by_their_answer_and_score() -> None:
    scores = np.array([[0.0, 0.95], [0.05, 0.95], [1.0, 0.1]])
    truth = np.array([[0, 1], [0, 1], [1, 0]])
    counted = told(scores, truth, sigma=1e-9, seed=1)
    assert counted[0].tolist() == [2, *[0] * 18, 1]
    assert counted[1].tolist() == [0, 1, *[0] * 17, 2]


def test_the_auc_from_noised_counts_is_near_the_true_one() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 2
    scores = np.clip(0.5 + 0.2 * generator.standard_normal(400) + 0.2 * (labels - 0.5), 0, 1)
    truth = np.mean(scores[labels == 1][:, None] > scores[labels == 0][None, :])
    counts = told(scores[:, None], labels[:, None], sigma=4, seed=8)[0]
    assert abs((auc_from_counts(counts[:10], counts[10:]) or 0.0) - truth) < 0.07


def test_a_release_costs_what_a_gaussian_mechanism_costs() -> None:
    assert 0.3 < epsilon([counting(10)], 1e-5) < 0.4
    assert epsilon([counting(4)], 1e-5) < 1.2
