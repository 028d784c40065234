"""Membership: what may be told of whether a model knows the patients it was trained on.

The one rule: what is told of training patients are the same noised counts, in the same cells, as
are told of held-out ones; how far the two lie apart anybody can compute. Attacks are not known
here, but what bounds all of them is.
"""

from math import exp
from typing import Annotated

from pydantic import Field

from protocol.record import DecimalText, Digest, Name, RunId, SparingRecord, Text


class Membership(SparingRecord):
    """Body of `membership.released`: noised counts of training patients, by what a model says.

    The cells are those of `evaluation.released`, whose counts are of held-out patients: what the
    model learnt of its own patients, and not of patients, is what the two differ by. Each training
    patient falls in exactly one cell of each finding.
    """

    unsaid = frozenset({"classes"})

    plan_id: Digest
    run_id: RunId
    site: Name
    model_digest: Digest
    negative: tuple[int, ...]
    positive: tuple[int, ...]
    noise_multiplier: DecimalText
    """σ in units of the L2 sensitivity."""
    charge_digest: Digest
    """The charge to the training patients that paid for it."""
    classes: Annotated[tuple[Text, ...], Field(max_length=1000)] = ()
    """The findings that are told of, of a plan that names several; left out of the bytes where
    there is one."""


def advantage_bound(epsilon: float, delta: float) -> float:
    """The most that any attack on a patient's membership can have: true less false positive rate.

    (e^ε - 1 + 2δ) / (e^ε + 1): the corner of what an (ε, δ)-private mechanism leaves to a test of
    two neighbours, where both its errors are (1 - δ) / (1 + e^ε) (Kairouz, Oh, Viswanath 2015;
    Humphries et al. 2023 for membership). Of patients who were dealt to both groups by chance.
    """
    # In this form a large ε overflows nothing.
    return 1.0 - 2.0 * (1.0 - delta) / (1.0 + exp(min(epsilon, 700.0)))
