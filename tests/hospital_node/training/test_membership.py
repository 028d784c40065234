import numpy as np
import pytest
from training_cases import SeededRandomness

from hospital_node.training.membership import Sureness, attack, sureness_of, told_apart
from hospital_node.training.release import noised_histograms, score_cells
from protocol.membership import Membership
from protocol.record import decimal_text, sha256_text
from protocol.round import Evaluation

D = sha256_text(b"a digest")
RUN = "0199f2a3-5b6c-7d8e-9f01-23456789abcd"


def some(count: int, *, surer: float = 0.0, seed: int = 0) -> Sureness:
    """Patients of two classes, of one of which every model is surer."""
    generator = np.random.default_rng(seed)
    strata = generator.integers(2, size=count)
    return Sureness(generator.standard_normal(count) * (1 + strata) + 3 * strata + surer, strata)


def test_a_model_that_is_no_surer_of_its_own_patients_gives_none_away() -> None:
    found = attack(some(600), some(400, seed=1))
    assert found is not None
    for figure, nothing in (("auc", 0.5), ("advantage", 0.0)):
        value, low, high = found[figure]
        assert low < nothing < high
        assert low <= value <= high
        assert high - low < 0.2
    assert found["hits_at"]["0.01"][1] < 0.01 < found["hits_at"]["0.01"][2]
    assert (found["patients_train"], found["patients_held_out"]) == (600, 400)


def test_a_model_that_is_surer_of_its_own_patients_gives_them_away() -> None:
    found = attack(some(600, surer=3.0), some(400, seed=1))
    assert found is not None
    assert found["auc"][1] > 0.85
    assert found["advantage"][1] > 0.3
    assert found["hits_at"]["0.1"][1] > 0.5


def test_other_shares_of_the_classes_are_no_sign_of_training() -> None:
    """Held-out patients are mostly of the class of which the model is surer."""
    covered = 0
    for seed in range(0, 20, 2):
        train, held_out = some(300, seed=seed), some(300, seed=seed + 1)
        kept = (held_out.strata == 1) | (np.arange(300) % 4 == 0)
        found = attack(train, Sureness(held_out.values[kept], held_out.strata[kept]))
        assert found is not None
        covered += found["auc"][1] < 0.5 < found["auc"][2]
    # Nineteen of twenty intervals hold the truth; without the classes the AUC is 0.35.
    assert covered >= 8


def test_classes_without_held_out_patients_are_left_out() -> None:
    train = Sureness(np.arange(6.0), np.array([0, 0, 0, 1, 2, 2]))
    held_out = Sureness(np.arange(5.0), np.array([0, 0, 0, 3, 3]))
    found = attack(train, held_out)
    assert found is not None
    assert (found["patients_train"], found["patients_held_out"]) == (3, 3)
    assert attack(train, Sureness(np.zeros(0), np.zeros(0, dtype=np.int64))) is None


def test_sureness_is_of_the_true_answer_whatever_the_question() -> None:
    binary = sureness_of(np.array([[0.9], [0.9]]), np.array([[1], [0]]), exclusive=False)
    assert binary.values == pytest.approx([np.log(9), -np.log(9)])
    assert binary.strata.tolist() == [1, 0]
    said, truth = np.array([[0.2, 0.5, 0.3], [0.0, 0.0, 1.0]]), np.array([[0, 1, 0], [0, 0, 1]])
    one = sureness_of(said, truth, exclusive=True)
    assert one.values[0] == pytest.approx(0.0)
    assert np.isfinite(one.values).all()
    assert one.strata.tolist() == [1, 2]
    several = sureness_of(said[:1], np.array([[0, 0, 0]]), exclusive=False)
    assert several.values[0] == pytest.approx((np.log(4) + 0 + np.log(7 / 3)) / 3)
    assert several.strata.tolist() == [0]


def released(record: type, *, surer: float, noise: float, seed: int, classes=()):
    """Noised counts of 3,000 patients, of whose true answers the model is as sure as said."""
    generator = np.random.default_rng(seed)
    findings = max(1, len(classes))
    truth = generator.integers(2, size=(3000, findings))
    odds = (2 * truth - 1) * (1 + surer + generator.standard_normal((3000, findings)))
    coins = SeededRandomness(seed)
    cells = score_cells(1 / (1 + np.exp(-odds)), truth)
    counts = noised_histograms(cells, noise_multiplier=noise, randomness=coins)
    return record(
        plan_id=D,
        run_id=RUN,
        site="amber",
        model_digest=D,
        negative=tuple(counts[:, :10].ravel().tolist()),
        positive=tuple(counts[:, 10:].ravel().tolist()),
        noise_multiplier=decimal_text(noise),
        charge_digest=D,
        classes=classes,
    )


@pytest.mark.parametrize("classes", [(), ("effusion", "oedema")])
def test_noised_counts_tell_as_much_as_the_attack(classes: tuple[str, ...]) -> None:
    covered = 0
    for seed in range(0, 40, 2):
        held_out = released(Evaluation, surer=0.0, noise=4.0, seed=seed, classes=classes)
        same = released(Membership, surer=0.0, noise=10.0, seed=seed + 1, classes=classes)
        nothing = told_apart(same, held_out)
        assert nothing is not None
        covered += nothing.auc[1] < 0.5 < nothing.auc[2]
        covered += nothing.advantage[1] < 0.0 < nothing.advantage[2]
    # Of forty intervals thirty-eight hold the truth.
    assert covered >= 33
    known = released(Membership, surer=1.0, noise=10.0, seed=99, classes=classes)
    much = told_apart(known, held_out)
    assert much is not None
    # Two normal distributions a standard deviation apart: 0.76, less what ten bins lose.
    assert much.auc[1] < 0.76
    assert 0.7 < much.auc[0] < 0.78
    assert 0.2 < much.advantage[1] < much.advantage[0] < 0.45


def test_the_interval_grows_with_the_noise() -> None:
    held_out = released(Evaluation, surer=0.0, noise=4.0, seed=1)
    widths = []
    for noise in (1.0, 10.0, 100.0):
        found = told_apart(released(Membership, surer=0.0, noise=noise, seed=2), held_out)
        assert found is not None
        widths.append(found.auc[2] - found.auc[1])
    assert widths[0] < widths[1] < widths[2]


def test_counts_of_which_noise_left_nothing_tell_nothing() -> None:
    held_out = released(Evaluation, surer=0.0, noise=4.0, seed=1)
    nobody = released(Membership, surer=0.0, noise=10.0, seed=2).model_copy(
        update={"negative": (-1,) * 10, "positive": (0,) * 10}
    )
    assert told_apart(nobody, held_out) is None


def test_of_outlines_there_are_no_patients_without_the_finding() -> None:
    held_out = released(Evaluation, surer=0.0, noise=4.0, seed=1)
    outlined = held_out.model_copy(update={"negative": ()})
    same = Membership.from_json(outlined.to_json())
    found = told_apart(same, outlined)
    assert found is not None
    assert found.auc[0] == pytest.approx(0.5)
    assert found.auc[1] < 0.5 < found.auc[2]
