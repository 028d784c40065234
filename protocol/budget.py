"""What an access to patients costs, as the numbers from which ε can be recomputed.

Composition itself is done by the accountant at the node and, independently, by the verifier; this
module only fixes what a charge says.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from protocol.provenance import Software
from protocol.record import (
    DecimalText,
    Digest,
    Name,
    Record,
    RunId,
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
    MEMBERSHIP = "membership"


class Charge(Record):
    """One committed line of a hospital's ledger, in the terms of NIST SP 800-226."""

    site: Name
    account: Digest
    """The ledger's account: `account_of` the site."""
    partition: Partition
    purpose: Purpose
    plan_id: Digest
    run_id: RunId
    round: Annotated[int, Field(ge=0)]
    """0 for what is charged outside a training round."""
    mechanism: Mechanism
    epsilon: DecimalText
    """Cumulative ε of this account and partition after the charge, by the RDP accountant."""
    epsilon_alone: DecimalText
    """ε of this mechanism by itself, at the same δ."""
    delta: DecimalText
    budget: DecimalText
    """The hospital's cap for this account."""
    unit: Literal["patient"] = "patient"
    neighbouring: Literal["add-remove"] = "add-remove"
    clip_norm: DecimalText
    """The L2 sensitivity to one patient that the noise is scaled to: C, or 1 for counts."""
    sampling: Literal["poisson"] = "poisson"
    """With `sample_rate` "1", everybody."""
    accountant: Literal["rdp"] = "rdp"
    accountant_version: Software
    secure_noise: bool
    """Whether sampling and noise were drawn from a secure random generator."""
    trust_model: Literal["curator-per-site"] = "curator-per-site"
    """Each hospital noises its own patients' contributions; nobody beyond it need be trusted."""
    tuning_accounted: Literal[True] = True
    """Every further run on these patients is charged to the same account, tuning runs too."""


class Limit(StrEnum):
    """Which limit a charge would have exceeded."""

    ACCOUNT = "account"
    PLAN = "plan"


class BudgetRefusal(Record):
    """Body of `privacy.refused`: an access that was not made, since a limit did not bear it."""

    site: Name
    account: Digest
    partition: Partition
    purpose: Purpose
    plan_id: Digest
    run_id: RunId
    round: Annotated[int, Field(ge=0)]
    limit: Limit
    spent: DecimalText
    """ε before, rounded up."""
    after: DecimalText
    """ε that the access would have led to, rounded up."""
    cap: DecimalText
    delta: DecimalText


class Exhaustion(Record):
    """Body of `privacy.exhausted`: after this charge, the account bears no further such round."""

    site: Name
    account: Digest
    partition: Partition
    plan_id: Digest
    run_id: RunId
    round: Annotated[int, Field(ge=0)]
    epsilon: DecimalText
    """Cumulative ε now."""
    next: DecimalText
    """What one more such round would lead to."""
    cap: DecimalText
    delta: DecimalText
    charge_digest: Digest
    """The charge that used it up."""
