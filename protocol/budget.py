"""What an access to patients costs, as the numbers from which ε can be recomputed.

Composition itself is done by the accountant at the node and, independently, by the verifier; this
module only fixes what a charge says.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from protocol.record import (
    DecimalText,
    Digest,
    Name,
    Record,
    canonical_bytes,
    sha256_text,
)


class Partition(StrEnum):
    """Disjoint groups of an account's patients; ε composes within one and not across."""

    TRAIN = "train"
    HELD_OUT = "held-out"


class Mechanism(Record):
    """A Gaussian mechanism on Poisson-sampled patients; `sample_rate` "1" means everybody, always.

    Source: Mironov, Talwar, Zhang 2019 (sampled Gaussian mechanism).
    """

    name: Literal["sampled-gaussian"] = "sampled-gaussian"
    sample_rate: DecimalText
    noise_multiplier: DecimalText
    """σ in units of the L2 sensitivity to one patient."""
    steps: Annotated[int, Field(ge=1)]


def account_of(site: str) -> Digest:
    """The account that every access to a hospital's patients is charged to.

    It is named by the hospital alone. An account named by what a plan asks for could be opened
    anew, over the same patients, by a plan that asks for them in other words.
    """
    return sha256_text(canonical_bytes({"account": "wardround/account/v1", "site": site}))


class Purpose(StrEnum):
    """Why patients' data was touched."""

    TRAINING = "training"
    COUNT = "count"
    EVALUATION = "evaluation"


class Charge(Record):
    """One committed line of a hospital's ledger."""

    site: Name
    account: Digest
    """The ledger's account: `account_of` the site."""
    partition: Partition
    purpose: Purpose
    plan_id: Digest
    run_id: str
    round: Annotated[int, Field(ge=0)]
    """0 for what is charged outside a training round."""
    mechanism: Mechanism
    epsilon: DecimalText
    """Cumulative ε of this account and partition after the charge, by the RDP accountant."""
    delta: DecimalText
    budget: DecimalText
    """The hospital's cap for this account."""
    unit: Literal["patient"] = "patient"
    neighbouring: Literal["add-remove"] = "add-remove"
    accountant: Literal["rdp"] = "rdp"
    accountant_version: str
    secure_noise: bool
