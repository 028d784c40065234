"""Governance: what was proposed, who voted how, what became active, and under which rule.

The one rule: a vote counts when the hospital itself signed it, the first one it gave; what the
centre says about votes is shown beside what the votes come to.
"""

from collections.abc import Mapping
from typing import Any

from audit.desk import search
from audit.desk.search import Connection, Fact, Search
from audit.desk.shapes import Answer, Index, Shape
from audit.trust import Rule

_PLAN = ("plan.proposed", "plan.voted", "plan.activated", "plan.withdrawn")
_POLICY = ("policy.proposed", "policy.voted", "policy.activated")


class VoteShape(Shape):
    """One hospital's vote."""

    site: str
    choice: str
    ground: str | None
    manifest: str | None
    """Commitment to the data that the hospital binds itself to."""
    actor: str | None
    """Pseudonym of the person who decided."""
    time_us: int
    counts: bool
    """Whether the hospital was asked, signed it itself, and had not voted before."""
    index: Index


class ActivationShape(Shape):
    """The centre's word that a proposal is active."""

    signers: tuple[str, ...]
    time_us: int
    index: Index


class RuleShape(Shape):
    """What activates a proposal."""

    approvals: int
    """Approvals that are needed, by the consortium's rule and the plan's own quorum."""
    refusals_allowed: int


class ProposalShape(Shape):
    """One plan or policy that was put to the vote."""

    kind: str
    """`plan` or `policy`."""
    id: str
    """Its digest."""
    title: str | None
    purpose: str | None
    proposed_by: str | None
    proposed_us: int
    index: Index
    sites: tuple[str, ...]
    """Hospitals that were asked; none named means all."""
    votes: tuple[VoteShape, ...]
    rule: RuleShape
    meets_rule: bool
    """Whether the votes that count come to an activation."""
    activation: ActivationShape | None
    withdrawn: Index | None


class GovernanceAnswer(Answer):
    """Every proposal, in the order of the log."""

    proposals: tuple[ProposalShape, ...]


def proposals(
    connection: Connection, rule: Rule, sites: Mapping[str, str], *, plan_id: str | None
) -> dict[str, Any]:
    """Every proposal, or one plan's; `sites` names the site of each producer."""
    found = search.facts(connection, Search(plan_id=plan_id), (*_PLAN, *_POLICY))
    by_subject: dict[str, list[Fact]] = {}
    for fact in found:
        subject = fact.plan_id or fact.text("policy_digest")
        if subject:
            by_subject.setdefault(subject, []).append(fact)
    shapes = (_proposal(subject, facts, rule, sites=sites) for subject, facts in by_subject.items())
    return {"proposals": tuple(shape for shape in shapes if shape)}


def _proposal(
    subject: str, facts: list[Fact], rule: Rule, *, sites: Mapping[str, str]
) -> ProposalShape | None:
    proposed = _first(facts, "proposed")
    if proposed is None:
        return None
    asked = proposed.texts("sites")
    votes = _votes(facts, asked, sites)
    quorum = proposed.inner("aggregation").get("quorum")
    needed = max(rule.approvals, quorum if type(quorum) is int else 0)
    choices = [vote.choice for vote in votes if vote.counts]
    activation, withdrawn = _first(facts, "activated"), _first(facts, "withdrawn")
    return ProposalShape(
        kind=proposed.type.partition(".")[0],
        id=subject,
        title=proposed.text("title"),
        purpose=proposed.text("purpose"),
        proposed_by=proposed.text("proposed_by") or sites.get(proposed.producer),
        proposed_us=proposed.time_us,
        index=proposed.index,
        sites=asked,
        votes=votes,
        rule=RuleShape(approvals=needed, refusals_allowed=rule.refusals_allowed),
        meets_rule=choices.count("approve") >= needed
        and choices.count("refuse") <= rule.refusals_allowed,
        activation=_activation(activation) if activation else None,
        withdrawn=withdrawn.index if withdrawn else None,
    )


def _votes(
    facts: list[Fact], asked: tuple[str, ...], sites: Mapping[str, str]
) -> tuple[VoteShape, ...]:
    voted: set[str] = set()
    votes = []
    for fact in facts:
        if not fact.type.endswith(".voted"):
            continue
        site = fact.text("site") or ""
        counts = (
            sites.get(fact.producer) == site and (not asked or site in asked) and site not in voted
        )
        if counts:
            voted.add(site)
        votes.append(_vote(fact, site, counts=counts))
    return tuple(votes)


def _vote(fact: Fact, site: str, *, counts: bool) -> VoteShape:
    return VoteShape(
        site=site,
        choice=fact.text("choice") or "",
        ground=fact.text("ground"),
        manifest=fact.text("manifest"),
        actor=fact.actor,
        time_us=fact.time_us,
        counts=counts,
        index=fact.index,
    )


def _activation(fact: Fact) -> ActivationShape:
    return ActivationShape(signers=fact.texts("signers"), time_us=fact.time_us, index=fact.index)


def _first(facts: list[Fact], word: str) -> Fact | None:
    return next((fact for fact in facts if fact.type.endswith(f".{word}")), None)
