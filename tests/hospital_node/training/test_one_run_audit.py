"""An audit of whole trainings, from outside: what the update tells of who was in it.

Each canary's gradient is three hundred times as long as the clip allows, all in one coordinate of
its own, so that nothing hides it but the mechanism: the real sampler, clip, noise and optimiser,
with coins of the real cipher. Only its key is the test's, so that a run can be done again.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from math import exp, log, sqrt

import numpy as np
import pytest
import torch
from one_run import Fit, Guesses, certified_epsilon, chance, fit, guess
from protocol_strategies import a_plan
from scipy.stats import binom
from torch import nn

from hospital_node.training import clipper, noise, randomness, sampler
from hospital_node.training.accountant import calibrate
from hospital_node.training.engine import Engine, HeadEngine
from hospital_node.training.features import PatientFeatures
from hospital_node.training.hooks import OpacusEngine
from hospital_node.training.loop import LoopEngine
from hospital_node.training.mechanism import PatientMechanism
from hospital_node.training.pictures import PatientPictures
from hospital_node.training.randomness import SecureRandomness
from hospital_node.training.train import train_steps
from protocol.catalogue import initial_state
from protocol.plan import Optimiser

CANARIES = 1280
"""A coordinate each: the slopes of the linear head of the catalogue."""
LOUDNESS = 300
CLIP = 0.5
DELTA = 1e-5
CLAIM = 2.0
EACH = 100
"""So many canaries are guessed to have been in, and so many not to."""

PLAN = a_plan(optimiser=Optimiser(learning_rate="0.000001", local_steps=4))
"""Steps so small that a canary is as loud in the last as in the first."""


@dataclass(frozen=True)
class Training:
    """An engine over patients, and how its steps are sampled."""

    engine: Callable[[PatientFeatures], Engine]
    sample_rate: float = 1.0
    steps: int = 4

    @property
    def mechanism(self) -> PatientMechanism:
        """As much noise as the claim needs by the accountant that bills it."""
        sigma = calibrate(CLAIM, DELTA, sample_rate=self.sample_rate, steps=self.steps)
        return PatientMechanism(
            sample_rate=self.sample_rate,
            noise_multiplier=sigma,
            max_grad_norm=CLIP,
            images_per_patient=1,
            expected_patients=1,
            steps=self.steps,
        )

    @property
    def shift(self) -> float:
        """How far a canary should move its coordinate, in standard deviations of the noise."""
        return self.sample_rate * sqrt(self.steps) / self.mechanism.noise_multiplier


def pictures(engine: type) -> Callable[[PatientFeatures], Engine]:
    def make(patients: PatientFeatures) -> Engine:
        network = nn.Linear(CANARIES, 1)
        shown = PatientPictures(
            patients.labels, patients.first_image, read=lambda row: patients.images[row]
        )
        return engine(network, shown, torch.device("cpu"))

    return make


@dataclass(frozen=True)
class Audit:
    """What one run told."""

    certified: float
    fit: Fit

    def bears_out(self, training: Training) -> bool:
        """Whether nothing speaks against the claim, nor for more noise than it names."""
        found = self.fit
        return (
            self.certified < CLAIM
            and abs(found.shift - training.shift) < 5 * found.shift_error
            and abs(found.spread - 1) < 5 * found.spread_error
        )


def audit(training: Training, key: int = 0) -> Audit:
    """Train once on canaries that a coin chose, and look at nothing but the update."""
    were_in = np.random.default_rng([20, key]).random(CANARIES) < 0.5
    loud = np.flatnonzero(were_in)
    images = np.zeros((loud.size, CANARIES), dtype=np.float32)
    # The error of an undecided head is one half.
    images[np.arange(loud.size), loud] = 2 * LOUDNESS * CLIP
    canaries = PatientFeatures(
        labels=np.zeros(loud.size, dtype=np.int64),
        first_image=np.arange(loud.size + 1),
        images=images,
    )
    mechanism = training.mechanism
    update = train_steps(
        PLAN,
        training.engine(canaries),
        mechanism=mechanism,
        start=initial_state(PLAN.network),
        randomness=SecureRandomness(bytes([key] * randomness.KEY_BYTES)),
    )
    unit = float(PLAN.optimiser.learning_rate) * CLIP * mechanism.noise_multiplier
    scores = -update[:CANARIES].astype(np.float64) / (unit * sqrt(mechanism.steps))
    return Audit(certified_epsilon(guess(scores, were_in, EACH), DELTA), fit(scores, were_in))


HEAD = Training(HeadEngine)
SAMPLED = Training(HeadEngine, sample_rate=0.25, steps=16)
TRAININGS = [
    pytest.param(HEAD, id="head"),
    pytest.param(SAMPLED, id="head, a quarter of the patients a step"),
    pytest.param(Training(pictures(LoopEngine), steps=2), id="loop"),
    pytest.param(Training(pictures(OpacusEngine), steps=2), id="opacus"),
]


@pytest.mark.parametrize("training", TRAININGS)
def test_one_run_bears_out_what_is_claimed_and_is_not_silent(training: Training) -> None:
    found = audit(training)
    assert found.bears_out(training)
    assert 0.1 < found.certified < CLAIM
    assert found.fit.shift > 5 * found.fit.shift_error


Sabotage = Callable[[pytest.MonkeyPatch], None]


def scaled_noise(factor: float) -> Sabotage:
    def sabotage(patch: pytest.MonkeyPatch) -> None:
        real = randomness.standard_normal
        patch.setattr(randomness, "standard_normal", lambda *args: factor * real(*args))

    return sabotage


def no_noise(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(noise, "add_noise", lambda bounded, *_: bounded.value)


def no_clipping(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(clipper, "clip_factors", lambda norms, _: np.ones_like(norms))


def everybody_every_time(patch: pytest.MonkeyPatch) -> None:
    real = sampler.draw_patients
    patch.setattr(
        sampler,
        "draw_patients",
        lambda first, mechanism, coins: real(first, replace(mechanism, sample_rate=1.0), coins),
    )


SABOTAGES = [
    pytest.param(HEAD, scaled_noise(1 / 2), id="half the noise"),
    pytest.param(HEAD, scaled_noise(1 / sqrt(2)), id="noise divided by the root of two"),
    pytest.param(HEAD, scaled_noise(sqrt(2)), id="more noise than is billed"),
    pytest.param(HEAD, no_noise, id="no noise"),
    pytest.param(HEAD, no_clipping, id="no clipping"),
    pytest.param(SAMPLED, everybody_every_time, id="everybody every time"),
]


@pytest.mark.parametrize(("training", "sabotage"), SABOTAGES)
def test_one_run_finds_a_mechanism_that_is_not_what_is_billed(
    training: Training, sabotage: Sabotage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch)
    assert not audit(training).bears_out(training)


@pytest.mark.parametrize("sabotage", [no_noise, no_clipping, scaled_noise(1 / 8)])
def test_a_run_without_privacy_is_certified_to_break_the_claim(
    sabotage: Sabotage, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch)
    assert audit(HEAD).certified > CLAIM


def test_without_delta_the_bound_is_the_tail_of_a_coin() -> None:
    found = Guesses(canaries=1000, made=40, right=31)
    for epsilon in (0.0, 0.5, 2.0):
        coin = exp(epsilon) / (1 + exp(epsilon))
        tail = sum(binom.pmf(right, 40, coin) for right in range(31, 41))
        assert chance(found, epsilon, 0.0) == pytest.approx(tail, rel=1e-9)


def test_guesses_that_are_all_right_certify_what_can_be_worked_out_by_hand() -> None:
    found = certified_epsilon(Guesses(canaries=100, made=100, right=100), 0.0)
    coin = 0.05 ** (1 / 100)
    assert found == pytest.approx(log(coin / (1 - coin)), abs=1e-3)


def test_guesses_like_a_coins_certify_nothing_and_better_ones_more() -> None:
    found = [certified_epsilon(Guesses(1000, 200, right), 1e-5) for right in range(100, 201, 10)]
    assert found[0] == 0.0
    assert all(later > before for before, later in pairwise(found[2:]))
    assert certified_epsilon(Guesses(1000, 200, 180), 1e-3) < found[8]


@pytest.mark.parametrize("epsilon", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("delta", [0.0, 0.002, 0.05])
def test_no_private_mechanism_is_told_apart_more_often_than_the_bound_says(
    epsilon: float, delta: float
) -> None:
    # Of each canary the answer is given away with δ, and otherwise by a coin that e^ε loads.
    coin = delta + (1 - delta) * exp(epsilon) / (1 + exp(epsilon))
    for right in range(51):
        truth = float(binom.sf(right - 1, 50, coin))
        assert truth <= chance(Guesses(50, 50, right), epsilon, delta) + 1e-12
