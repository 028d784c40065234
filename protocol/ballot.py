"""Ballots, and the rule by which they make a plan active.

A ballot travels as the body of a log entry signed with the hospital's own key, so its signature is
the entry's. The decision is a pure function that the centre, every node and every auditor evaluate
alike; nobody's word is taken for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from protocol.plan import Plan
from protocol.provenance import Authorisation
from protocol.record import DecimalText, Digest, Name, Record, canonical_bytes, sha256_text
from protocol.words import Ground

RULE_ENGINE = "wardround-rule/v1"
RULE_VERSION = "1.0"
"""The rule is the pure function below; its version changes when what it answers does."""


class Choice(StrEnum):
    """What a hospital answers to a plan."""

    APPROVE = "approve"
    REFUSE = "refuse"


class Ballot(Record):
    """One hospital's answer to one plan, and the terms it binds itself to."""

    plan_id: Digest
    site: Name
    choice: Choice
    ground: Ground = Ground.NONE
    """Why, in a word of the vocabulary."""
    manifest: Digest | None = None
    """Salted commitment to the instances this site will train on."""
    epsilon_cap: DecimalText = "0"
    """The site's own limit for this plan; training stops before it is exceeded."""
    sample_rate: DecimalText = "0"
    """q: probability with which a patient joins a step, from a noised and billed patient count."""
    noise_multiplier: DecimalText = "0"
    """σ: standard deviation of the noise in units of max_grad_norm, frozen for the run."""


class Rule(Record):
    """The consortium's rule: how many invited hospitals must approve, and how many may refuse."""

    approvals: Annotated[int, Field(ge=1)]
    refusals_allowed: Annotated[int, Field(ge=0)] = 0


class Counted(Record):
    """One ballot that was counted."""

    site: Name
    ballot_digest: Digest


class Activation(Record):
    """Body of `plan.activated`: the decision, and all that is needed to take it again."""

    plan_id: Digest
    signers: Annotated[tuple[Name, ...], Field(min_length=1)]
    ballots: Annotated[tuple[Counted, ...], Field(min_length=1)]
    """The first ballot of each invited site, by site."""
    authorisation: Authorisation


@dataclass(frozen=True, slots=True)
class Activated:
    """The plan may run, at exactly these sites."""

    signers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotActivated:
    """The plan may not run (yet), and why."""

    reason: str


def decide_activation(
    plan: Plan, ballots: Iterable[Ballot], rule: Rule
) -> Activated | NotActivated:
    """Whether `ballots` make `plan` active under `rule`.

    The first ballot of a site counts; ballots of other plans and of sites not invited do not.
    """
    first = counted(plan, ballots)
    signers = tuple(sorted(s for s, b in first.items() if b.choice is Choice.APPROVE))
    refusers = sorted(s for s, b in first.items() if b.choice is Choice.REFUSE)
    if len(refusers) > rule.refusals_allowed:
        return NotActivated(
            f"{len(refusers)} refused ({', '.join(refusers)}); {rule.refusals_allowed} may"
        )
    needed = max(rule.approvals, plan.aggregation.quorum)
    if len(signers) < needed:
        return NotActivated(f"{len(signers)} of {needed} approvals so far")
    return Activated(signers)


def counted(plan: Plan, ballots: Iterable[Ballot]) -> dict[str, Ballot]:
    """The ballot of each invited site that counts: its first."""
    first: dict[str, Ballot] = {}
    for ballot in ballots:
        if ballot.plan_id == plan.id and ballot.site in plan.sites:
            first.setdefault(ballot.site, ballot)
    return first


def activation_of(
    plan: Plan, ballots: Iterable[Ballot], rule: Rule, *, signers: tuple[str, ...]
) -> Activation:
    """The record of a decision that `decide_activation` has taken."""
    listed = tuple(
        Counted(site=site, ballot_digest=ballot.digest)
        for site, ballot in sorted(counted(plan, ballots).items())
    )
    considered = {"plan_id": plan.id, "ballots": [one.to_json() for one in listed]}
    authorisation = Authorisation(
        policy_digest=rule.digest,
        input_digest=sha256_text(canonical_bytes(considered)),
        decision="allow",
        engine=RULE_ENGINE,
        version=RULE_VERSION,
    )
    return Activation(plan_id=plan.id, signers=signers, ballots=listed, authorisation=authorisation)
