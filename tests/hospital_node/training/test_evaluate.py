import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from protocol_strategies import a_plan
from training_cases import make_patients

from hospital_node.training.evaluate import auc, auc_with_interval, patient_scores, roc_curve
from hospital_node.training.release import auc_from_counts
from protocol.catalogue import layout_of

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


def test_an_interval_covers_the_truth_as_often_as_it_says() -> None:
    truth = 0.8413447  # Φ(√2/√2): scores N(0, 1) against N(√2, 1)
    covered = 0
    for seed in range(60):
        generator = np.random.default_rng(seed)
        labels = np.arange(120) % 2
        found = auc_with_interval(
            generator.standard_normal(120) + np.sqrt(2) * labels, labels, seed=seed
        )
        assert found is not None
        covered += found.low <= truth <= found.high
    assert 50 <= covered <= 60


def test_the_same_seed_gives_the_same_interval() -> None:
    scores, labels = np.linspace(0, 1, 50) ** 2, np.arange(50) % 3 // 2
    assert auc_with_interval(scores, labels, seed=1) == auc_with_interval(scores, labels, seed=1)
    assert auc_with_interval(scores, labels, seed=1) != auc_with_interval(scores, labels, seed=2)


def test_a_site_without_one_of_the_classes_has_no_auc() -> None:
    assert auc(np.array([0.1, 0.9]), np.array([1, 1])) is None
    assert auc_with_interval(np.array([0.1, 0.9]), np.array([0, 0]), seed=0) is None
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


def test_the_roc_curve_goes_from_corner_to_corner_and_has_the_auc_below_it() -> None:
    generator = np.random.default_rng(3)
    labels = np.arange(80) % 2
    scores = np.round(generator.random(80) + labels / 3, 1)
    false_rate, true_rate = roc_curve(scores, labels)
    assert (false_rate[0], true_rate[0], false_rate[-1], true_rate[-1]) == (0, 0, 1, 1)
    assert np.isclose(np.trapezoid(true_rate, false_rate), auc(scores, labels) or 0.0)
