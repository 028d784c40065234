"""How large an honest update can be: the last check before it leaves, and the first on arrival.

Both sides compute the bound from the plan and the site's ballot alone. It says nothing about
privacy; it stops what training under this plan cannot have made.
"""

from math import sqrt

from protocol.ballot import Ballot
from protocol.catalogue import layout_of
from protocol.plan import Plan

_SLACK = 4.0
"""Patients per step and noise are random: four times the expected number and norm are never met."""


def largest_norm(plan: Plan, ballot: Ballot, *, start_norm: float) -> float:
    """An L2 norm that no honest update of one round exceeds.

    Each step moves the model by the learning rate times (clipped sum + noise) / expected patients,
    plus weight decay; momentum m can pile steps up by 1/(1 - m). `start_norm` is the L2 norm of the
    model the round starts from.
    """
    clip = float(plan.privacy.max_grad_norm)
    steps, rate = plan.optimiser.local_steps, float(plan.optimiser.learning_rate)
    noise = float(ballot.noise_multiplier) * clip * sqrt(layout_of(plan.network).size)
    gradient = _SLACK * (clip + noise / plan.privacy.expected_patients)
    decay = float(plan.optimiser.weight_decay) * _SLACK * start_norm
    return steps * rate * (gradient + decay) / (1.0 - float(plan.optimiser.momentum))
