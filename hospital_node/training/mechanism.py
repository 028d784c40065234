"""The mechanism of a run: one frozen value that sampler, clip, noise and accountant all read.

The one rule: nobody else holds q, σ or C, so a step cannot be taken with other numbers than those
that are billed. What is trained is not known here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from hospital_node.errors import PrivacyError
from hospital_node.training.accountant import calibrate
from protocol.budget import Mechanism
from protocol.plan import Plan
from protocol.record import decimal_text

SAMPLE_RATE_DIGITS = 6
"""Digits of q after the point: one patient in a million."""


@dataclass(frozen=True, slots=True)
class PatientMechanism:
    """Poisson-sampled patients, clipped once each, summed with Gaussian noise.

    Guarantee: with add-or-remove of all images of one patient as neighbours, `steps` steps are
    exactly the sampled Gaussian mechanism that `billed` names (Mironov, Talwar, Zhang 2019),
    provided the coins are secure.
    """

    sample_rate: float
    """q: probability with which each patient joins a step."""
    noise_multiplier: float
    """σ, in units of max_grad_norm."""
    max_grad_norm: float
    """C."""
    images_per_patient: int
    """K."""
    expected_patients: int
    """Public divisor of the noised sum."""
    steps: int
    """Steps in one round."""

    def __post_init__(self) -> None:
        if not 0 < self.sample_rate <= 1:
            raise PrivacyError(f"sample rate {self.sample_rate}: expected more than 0, at most 1")
        if not self.noise_multiplier > 0:
            raise PrivacyError(
                f"noise multiplier {self.noise_multiplier}: without noise there is no privacy; "
                "expected more than 0"
            )
        if not self.max_grad_norm > 0:
            raise PrivacyError(f"max_grad_norm {self.max_grad_norm}: expected more than 0")

    @classmethod
    def of(cls, plan: Plan, *, sample_rate: str, noise_multiplier: str) -> Self:
        """The mechanism of one round of `plan` under the terms a hospital's ballot froze.

        Raises:
            PrivacyError: the terms give no privacy.
        """
        return cls(
            sample_rate=float(sample_rate),
            noise_multiplier=float(noise_multiplier),
            max_grad_norm=float(plan.privacy.max_grad_norm),
            images_per_patient=plan.privacy.images_per_patient,
            expected_patients=plan.privacy.expected_patients,
            steps=plan.optimiser.local_steps,
        )

    def billed(self, rounds: int = 1) -> Mechanism:
        """What `rounds` rounds cost, as the ledger writes it."""
        return Mechanism(
            sample_rate=decimal_text(self.sample_rate),
            noise_multiplier=decimal_text(self.noise_multiplier),
            steps=self.steps * rounds,
        )


def rates(plan: Plan, *, patients: int, also: Sequence[Mechanism]) -> tuple[str, str]:
    """The q and σ with which a hospital of so many training patients keeps the plan's ε.

    Args:
        plan: the plan.
        patients: their noised count, which is public.
        also: what else the plan releases about the same patients.

    Raises:
        PrivacyError: no noise keeps the plan's ε beside what `also` costs.
    """
    share = min(1.0, plan.privacy.expected_patients / patients)
    # Rounded up: billed at least as often as a patient joins in.
    step = 10**SAMPLE_RATE_DIGITS
    sample_rate = math.ceil(share * step) / step
    noise = calibrate(
        float(plan.privacy.epsilon),
        float(plan.privacy.delta),
        sample_rate=sample_rate,
        steps=plan.total_steps,
        also=also,
    )
    return decimal_text(sample_rate), decimal_text(noise)
