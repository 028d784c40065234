"""The aggregate: what each rule makes of honest updates, and of those that are not."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydantic import ValidationError

from protocol.aggregation import Aggregation, AggregationRule, Weighting
from protocol.errors import LayoutError
from protocol.update import Layout, Tensor
from services.coordinator.aggregate import Aggregator
from services.coordinator.combining import HeldUpdates, weights_of

WIDTH = 5
LAYOUT = Layout(tensors=(Tensor(name="w", shape=(WIDTH,)),))
numbers = st.floats(-1e6, 1e6, width=32)
updates = st.lists(arrays("<f4", WIDTH, elements=numbers), min_size=1, max_size=6)
ROBUST = ("median", "trimmed-mean", "krum", "multi-krum", "geometric-median")


@dataclass(frozen=True)
class InStrips:
    """Updates that are read two elements at a time."""

    arrays: Sequence[np.ndarray]

    @property
    def sites(self) -> Sequence[str]:
        return [f"site-{number}" for number in range(len(self.arrays))]

    def strips(self) -> Iterator[np.ndarray]:
        together = np.stack(self.arrays)
        for begin in range(0, together.shape[1], 2):
            yield together[:, begin : begin + 2]


def rule(name: str, **said: object) -> Aggregation:
    """A rule that tolerates two where it can tolerate any."""
    tolerated = {"tolerated": 2} if name in {"trimmed-mean", "krum", "multi-krum"} else {}
    return Aggregation(
        **{"rule": AggregationRule(name), "quorum": 7, "deadline_s": 60, **tolerated, **said}
    )


def aggregator(aggregation: Aggregation, layout: Layout = LAYOUT, **sigmas: str) -> Aggregator:
    terms = {site: SimpleNamespace(noise_multiplier=sigma) for site, sigma in sigmas.items()}
    return Aggregator(aggregation, layout, terms)


def moved(name: str, sent: Sequence[np.ndarray], model: np.ndarray | None = None) -> np.ndarray:
    start = np.zeros(WIDTH, "<f4") if model is None else model
    return aggregator(rule(name)).aggregate(start, InStrips(sent)).model


@given(updates, arrays("<f4", WIDTH, elements=numbers))
def test_the_mean_is_exact_to_the_last_bit_in_strips_or_whole(sent, model) -> None:
    total = np.zeros(WIDTH)
    for update in sent:
        total = total + update.astype(np.float64)
    expected = (model.astype(np.float64) + total / len(sent)).astype("<f4")
    np.testing.assert_array_equal(moved("fedavg", sent, model), expected)
    held = HeldUpdates([str(number) for number in range(len(sent))], sent)
    whole = aggregator(rule("fedavg")).aggregate(model, held)
    np.testing.assert_array_equal(whole.model, expected)
    assert whole.weights == ()


def test_there_is_no_mean_of_nothing() -> None:
    with pytest.raises(ValueError, match="no updates"):
        moved("fedavg", [])


@pytest.mark.parametrize("name", [*ROBUST, "fedavg"])
def test_a_model_that_is_not_finite_is_no_model(name: str) -> None:
    with pytest.raises(LayoutError, match="not finite"):
        moved(name, [np.full(WIDTH, 3e38, "<f4")] * 7, np.full(WIDTH, 3e38, "<f4"))


@pytest.mark.parametrize("name", ROBUST)
def test_where_all_say_the_same_every_rule_says_it_too(name: str) -> None:
    said = np.arange(WIDTH, dtype="<f4")
    np.testing.assert_allclose(moved(name, [said] * 7), said, rtol=1e-6)


@pytest.mark.parametrize("name", ROBUST)
@given(seed=st.integers(0, 10_000))
def test_two_of_seven_cannot_lead_a_robust_rule_away(name: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    honest = [generator.normal(1, 0.1, WIDTH).astype("<f4") for _ in range(5)]
    liars = [generator.normal(0, 1e3, WIDTH).astype("<f4") for _ in range(2)]
    sent = [*honest, *liars]
    generator.shuffle(sent)
    middle = np.mean(honest, axis=0)
    assert np.abs(moved(name, sent) - middle).max() < 0.5
    assert np.abs(moved("fedavg", sent) - middle).max() > 0.5


def test_a_trimmed_mean_and_a_median_are_what_they_are_called() -> None:
    sent = [np.full(WIDTH, value, "<f4") for value in (9, -100, 1, 2, 3, 100, -9)]
    np.testing.assert_array_equal(moved("trimmed-mean", sent), np.full(WIDTH, 2, "<f4"))
    np.testing.assert_array_equal(moved("median", sent[:6]), np.full(WIDTH, 2.5, "<f4"))


def test_krum_takes_one_update_as_it_is_and_multi_krum_all_but_the_tolerated() -> None:
    at = [0.0, 0.1, 0.2, 0.3, 0.4, 50.0, 60.0]
    sent = InStrips([np.full(WIDTH, value, "<f4") for value in at])
    assert weights_of(rule("krum"), sent, {}) == ("0", "0", "1", "0", "0", "0", "0")
    assert weights_of(rule("multi-krum"), sent, {}) == ("1", "1", "1", "1", "1", "0", "0")


def test_a_geometric_median_is_nearer_to_all_together_than_any_point_beside_it() -> None:
    generator = np.random.default_rng(1)
    sent = [generator.normal(0, 1, WIDTH).astype("<f4") for _ in range(7)]

    def apart(point: np.ndarray) -> float:
        return sum(float(np.linalg.norm(one - point)) for one in sent)

    found = moved("geometric-median", sent).astype(np.float64)
    for _ in range(200):
        assert apart(found) <= apart(found + generator.normal(0, 0.01, WIDTH)) + 1e-9


def test_half_the_noise_counts_four_times() -> None:
    said = rule("fedavg", weighting=Weighting.INVERSE_NOISE_VARIANCE)
    sent = InStrips([np.zeros(WIDTH, "<f4"), np.full(WIDTH, 5, "<f4")])
    found = aggregator(said, **{"site-0": "4", "site-1": "2"}).aggregate(
        np.zeros(WIDTH, "<f4"), sent
    )
    assert found.weights == ("0.25", "1")
    np.testing.assert_array_equal(found.model, np.full(WIDTH, 4, "<f4"))


def test_momentum_remembers_the_rounds_before() -> None:
    made = aggregator(rule("fedavgm", server_momentum="0.5", server_rate="2"))
    model = np.zeros(WIDTH, "<f4")
    found = []
    for value in (1, 1, 0):
        model = made.aggregate(model, InStrips([np.full(WIDTH, value, "<f4")])).model
        found.append(float(model[0]))
    assert found == [2.0, 5.0, 6.5]  # moments 1, 1.5, 0.75


@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
def test_adaptive_rules_are_reddis_algorithm(name: str) -> None:
    made = aggregator(rule(name, server_rate="0.1", adaptivity="0.01"))
    generator = np.random.default_rng(2)
    model = np.zeros(WIDTH, "<f4")
    moment, spread = np.zeros(WIDTH), np.full(WIDTH, 0.01**2)
    for _ in range(4):
        sent = [generator.normal(0, 1, WIDTH).astype("<f4") for _ in range(3)]
        step = np.mean(np.stack(sent).astype(np.float64), axis=0)
        moment = 0.9 * moment + 0.1 * step
        if name == "fedadam":
            spread = 0.99 * spread + 0.01 * step**2
        else:
            spread = spread - 0.01 * step**2 * np.sign(spread - step**2)
        expected = model + 0.1 * moment / (np.sqrt(spread) + 0.01)
        model = made.aggregate(model, InStrips(sent)).model
        np.testing.assert_allclose(model, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"rule": "krum", "tolerated": 3}, "needs a quorum of at least 9, and this one is 7"),
        ({"rule": "trimmed-mean", "tolerated": 4}, "needs a quorum of at least 9"),
        ({"rule": "multi-krum"}, "tolerates none is a mean"),
        ({"rule": "fedavg", "tolerated": 1}, "takes no such number"),
        ({"rule": "median", "weighting": "inverse-noise-variance"}, "takes equal weights alone"),
        ({"rule": "fedavg", "server_rate": "2"}, "does not read it; leave it out"),
        ({"rule": "fedavgm", "adaptivity": "0.1"}, "does not read it; leave it out"),
        ({"rule": "fedadam", "server_momentum": "1"}, "not at least 0 and below 1"),
        ({"rule": "fedyogi", "server_rate": "0"}, "must be positive"),
        ({"rule": "fedmean"}, "Input should be"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_the_reason(said: dict, why: str) -> None:
    asked = {"quorum": 7, "deadline_s": 60, **said}
    with pytest.raises(ValidationError, match=why):
        Aggregation.model_validate_json(json.dumps(asked))


def test_a_plain_mean_has_the_bytes_it_always_had() -> None:
    plain = Aggregation(quorum=2, deadline_s=60)
    assert plain.to_bytes() == b'{"deadline_s":60,"quorum":2,"rule":"fedavg"}'
    tolerant = Aggregation(rule=AggregationRule.KRUM, quorum=5, deadline_s=60, tolerated=1)
    assert tolerant.to_bytes() == b'{"deadline_s":60,"quorum":5,"rule":"krum","tolerated":1}'
