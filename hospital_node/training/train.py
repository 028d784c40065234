"""Training at one hospital: noisy steps from the global model to a packed delta.

The one rule: every step draws, clips, sums, adds noise and divides by a public number, in this
order; the noised mean is the only thing that the optimiser sees. Whether the steps were paid for is
the caller's business: charge the ledger before calling.
"""

from hospital_node.training import noise, sampler
from hospital_node.training.engine import Engine, Parameters
from hospital_node.training.mechanism import PatientMechanism
from hospital_node.training.randomness import Randomness
from protocol.catalogue import initial_state, layout_of
from protocol.plan import Optimiser, Plan
from protocol.update import Packed, check_packed


def noised_mean(
    engine: Engine,
    parameters: Parameters,
    *,
    mechanism: PatientMechanism,
    randomness: Randomness,
) -> Parameters:
    """One step's gradient: the noised sum divided by the expected number of patients. Shape (D,).

    A step that happens to draw nobody is noise only.

    Guarantee: the sampled Gaussian mechanism with (q, σ) of `mechanism`, one patient added or
    removed; the divisor is public.
    """
    draw = sampler.draw_patients(engine.first_image, mechanism, randomness)
    bounded = engine.clipped_sum(parameters, draw, mechanism.max_grad_norm)
    noised = noise.add_noise(bounded, mechanism.noise_multiplier, randomness)
    noised /= mechanism.expected_patients
    return noised


def train_steps(
    plan: Plan,
    engine: Engine,
    *,
    mechanism: PatientMechanism,
    start: Packed,
    randomness: Randomness,
) -> Packed:
    """The change of one round's noisy steps from `start`, in the catalogue's layout. Shape (D,).

    Guarantee: `mechanism.billed()` of patient-level privacy, nothing more is spent; everything
    after the noise is post-processing.

    Raises:
        LayoutError: `start` is not a model of the plan's network.
    """
    check_packed(layout_of(plan.network), start)
    begin = start.astype(engine.precision, copy=False)
    descent = _Descent(begin, plan.optimiser)
    for _ in range(mechanism.steps):
        descent.step(
            noised_mean(engine, descent.parameters, mechanism=mechanism, randomness=randomness)
        )
    return (descent.parameters - begin).astype("<f4", copy=False)


def train_alone(
    plan: Plan,
    engine: Engine,
    *,
    mechanism: PatientMechanism,
    randomness: Randomness,
) -> Packed:
    """The model that this hospital gets by itself with all the plan's rounds and the same noise.

    The comparator shown beside the global model; it is private, but unbilled: it must stay here.
    """
    model = initial_state(plan.network)
    for _ in range(plan.rounds):
        model = model + train_steps(
            plan, engine, mechanism=mechanism, start=model, randomness=randomness
        )
    return model


class _Descent:
    """Stochastic gradient descent with heavy-ball momentum, in place: a network may be large."""

    def __init__(self, begin: Parameters, optimiser: Optimiser) -> None:
        self.parameters = begin.copy()
        self._velocity: Parameters | None = None
        self._optimiser = optimiser

    def step(self, gradient: Parameters) -> None:
        """Move the parameters against the gradient, the weight decay and what was moved before.

        The first gradient is kept as it is, and is what later ones are added to.
        """
        if self._velocity is None:
            self._velocity = gradient
        else:
            self._velocity *= float(self._optimiser.momentum)
            self._velocity += gradient
        decay = float(self._optimiser.weight_decay)
        if decay:
            self._velocity += decay * self.parameters
        self.parameters -= float(self._optimiser.learning_rate) * self._velocity
