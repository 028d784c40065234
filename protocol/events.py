"""Events: what the parties put on the record, one builder per kind.

An event here is what happened; numbering, time and signature are added by whoever writes it to the
log. Each body is a strict record of digests, numbers and words of a closed vocabulary. No builder
takes anything that identifies a patient: there is no parameter to put it in.
"""

from dataclasses import replace
from enum import StrEnum

from protocol.anomaly import BadWarrant, ClockSkew
from protocol.ballot import Activation, Ballot, Choice
from protocol.budget import BudgetRefusal, Charge, Exhaustion
from protocol.consortium import Consortium, Member
from protocol.event import Actor, Compliance, Event, Meaning, Outcome
from protocol.manifest import Manifest, ManifestWithdrawal
from protocol.membership import Membership
from protocol.plan import Plan
from protocol.policy import PolicyActivation, PolicyDecision, PolicyText, PolicyVote
from protocol.record import Record
from protocol.release import ModelRelease, ModelWithdrawal, Override, Read
from protocol.round import Candidate, Closing, Evaluation, Exclusion, Opening, Sent
from protocol.run import (
    Contribution,
    PlanWithdrawal,
    RunEnd,
    RunHalt,
    RunResumption,
    RunStart,
)
from protocol.standing import Anchor, KeyRotation, Revocation, WitnessChange
from protocol.words import Reason


class Kind(StrEnum):
    """The kinds of event of schema `v1` that members write; the audit service has its own."""

    CONSORTIUM_FOUNDED = "consortium.founded"
    SITE_ENROLLED = "site.enrolled"
    SITE_REVOKED = "site.revoked"
    SITE_KEY_ROTATED = "site.key_rotated"
    WITNESS_ADDED = "witness.added"
    WITNESS_REMOVED = "witness.removed"
    POLICY_PROPOSED = "policy.proposed"
    POLICY_VOTED = "policy.voted"
    POLICY_ACTIVATED = "policy.activated"
    POLICY_DECISION = "policy.decision"
    PLAN_PROPOSED = "plan.proposed"
    PLAN_VOTED = "plan.voted"
    PLAN_ACTIVATED = "plan.activated"
    PLAN_WITHDRAWN = "plan.withdrawn"
    RUN_CREATED = "run.created"
    RUN_COMPLETED = "run.completed"
    RUN_HALTED = "run.halted"
    RUN_RESUMED = "run.resumed"
    ROUND_OPENED = "round.opened"
    ROUND_CLOSED = "round.closed"
    ROUND_ABANDONED = "round.abandoned"
    UPDATE_SENT = "update.sent"
    UPDATE_RECEIVED = "update.received"
    UPDATE_REJECTED = "update.rejected"
    PRIVACY_CHARGED = "privacy.charged"
    PRIVACY_REFUSED = "privacy.refused"
    PRIVACY_EXHAUSTED = "privacy.exhausted"
    MODEL_CANDIDATE = "model.candidate"
    MODEL_RELEASED = "model.released"
    MODEL_WITHDRAWN = "model.withdrawn"
    EVALUATION_RELEASED = "evaluation.released"
    MEMBERSHIP_RELEASED = "membership.released"
    READ_SIGNED = "read.signed"
    OVERSIGHT_OVERRIDE = "oversight.override"
    DATA_MANIFEST = "data.manifest"
    DATA_WITHDRAWN = "data.withdrawn"
    CONTRIBUTION_SCORED = "contribution.scored"
    LOG_ANCHORED = "log.anchored"
    ANOMALY_PROOF_INVALID = "anomaly.proof_invalid"
    ANOMALY_FORK_SEEN = "anomaly.fork_seen"
    ANOMALY_CLOCK_SKEW = "anomaly.clock_skew"


def consortium_founded(consortium: Consortium) -> Event:
    """The members, rule and witnesses everything later is checked against."""
    return _event(Kind.CONSORTIUM_FOUNDED, consortium)


def site_enrolled(member: Member) -> Event:
    """A hospital's keys were taken into the consortium."""
    return _event(Kind.SITE_ENROLLED, member)


def site_revoked(revocation: Revocation) -> Event:
    """A hospital takes part in no later round."""
    return _event(Kind.SITE_REVOKED, revocation)


def site_key_rotated(rotation: KeyRotation) -> Event:
    """A member signs with another key from now on."""
    return _event(Kind.SITE_KEY_ROTATED, rotation)


def witness_added(change: WitnessChange) -> Event:
    """One more organisation cosigns the log's checkpoints."""
    return _event(Kind.WITNESS_ADDED, change)


def witness_removed(change: WitnessChange) -> Event:
    """An organisation's cosignatures no longer count."""
    return _event(Kind.WITNESS_REMOVED, change)


def policy_proposed(policy: PolicyText) -> Event:
    """Rules as code were put to the vote."""
    return _event(Kind.POLICY_PROPOSED, policy)


def policy_voted(vote: PolicyVote, actor: Actor | None = None) -> Event:
    """A hospital voted on a policy; signed by the hospital."""
    return _vote(_event(Kind.POLICY_VOTED, vote), vote.choice, actor)


def policy_activated(activation: PolicyActivation) -> Event:
    """A policy is in force."""
    return _event(Kind.POLICY_ACTIVATED, activation)


def policy_decision(decision: PolicyDecision) -> Event:
    """A party's policy was asked, and answered."""
    event = _event(Kind.POLICY_DECISION, decision)
    return _failed(event) if decision.authorisation.decision == "deny" else event


def plan_proposed(plan: Plan, actor: Actor | None = None) -> Event:
    """A plan was put to the vote; the body is the whole plan."""
    authored = Compliance(meaning=Meaning.AUTHORED)
    event = replace(_event(Kind.PLAN_PROPOSED, plan), plan_id=plan.id)
    return replace(event, actor=actor, compliance=authored)


def plan_voted(ballot: Ballot, actor: Actor | None = None) -> Event:
    """A hospital voted; signed by the hospital."""
    return _vote(_event(Kind.PLAN_VOTED, ballot), ballot.choice, actor)


def plan_activated(activation: Activation) -> Event:
    """The rule was met."""
    return _event(Kind.PLAN_ACTIVATED, activation)


def plan_withdrawn(withdrawal: PlanWithdrawal, actor: Actor | None = None) -> Event:
    """A plan was taken back: nothing of it starts any more."""
    event = _event(Kind.PLAN_WITHDRAWN, withdrawal)
    return replace(event, actor=actor, compliance=Compliance(meaning=Meaning.RESPONSIBLE))


def run_created(start: RunStart) -> Event:
    """A run of an active plan began."""
    return _event(Kind.RUN_CREATED, start)


def run_completed(end: RunEnd) -> Event:
    """A run reached its last round."""
    return _event(Kind.RUN_COMPLETED, end)


def run_halted(halt: RunHalt) -> Event:
    """A run stopped before its last round."""
    return _failed(_event(Kind.RUN_HALTED, halt), Outcome.SERIOUS_FAILURE)


def run_resumed(resumption: RunResumption) -> Event:
    """A run that was cut off goes on where it stood."""
    return _failed(_event(Kind.RUN_RESUMED, resumption), Outcome.MINOR_FAILURE)


def round_opened(opening: Opening) -> Event:
    """The centre opened a round to the sites that signed."""
    return _event(Kind.ROUND_OPENED, opening)


def round_closed(closing: Closing) -> Event:
    """A round ended with an aggregate."""
    return _event(Kind.ROUND_CLOSED, closing)


def round_abandoned(closing: Closing) -> Event:
    """A round ended without its quorum; nothing was applied."""
    return _failed(_event(Kind.ROUND_ABANDONED, closing))


def update_sent(sent: Sent) -> Event:
    """A packed update left a hospital; signed by the hospital."""
    return _event(Kind.UPDATE_SENT, sent)


def update_received(sent: Sent) -> Event:
    """The centre took an update in; the body repeats what the hospital signed."""
    return _event(Kind.UPDATE_RECEIVED, sent)


def update_rejected(opening: Opening, exclusion: Exclusion) -> Event:
    """The centre did not take an update, or none came."""
    event = replace(_event(Kind.UPDATE_REJECTED, exclusion), plan_id=opening.plan_id)
    return _failed(replace(event, run_id=opening.run_id, round=opening.round))


def privacy_charged(charge: Charge) -> Event:
    """A hospital committed a charge to its ledger, before the work it pays for."""
    return _event(Kind.PRIVACY_CHARGED, charge)


def privacy_refused(refusal: BudgetRefusal) -> Event:
    """A hospital refused an access because its budget would not bear it."""
    return _failed(_event(Kind.PRIVACY_REFUSED, refusal))


def privacy_exhausted(exhaustion: Exhaustion) -> Event:
    """A hospital's account bears no further round of this kind."""
    return _failed(_event(Kind.PRIVACY_EXHAUSTED, exhaustion))


def model_candidate(candidate: Candidate) -> Event:
    """A run produced a model that may be evaluated."""
    return replace(_event(Kind.MODEL_CANDIDATE, candidate), round=candidate.rounds_completed)


def model_released(release: ModelRelease, actor: Actor | None = None) -> Event:
    """A model may be used."""
    event = _event(Kind.MODEL_RELEASED, release)
    return replace(event, actor=actor, compliance=Compliance(meaning=Meaning.RESPONSIBLE))


def model_withdrawn(withdrawal: ModelWithdrawal, actor: Actor | None = None) -> Event:
    """A model must not be used any more."""
    event = _event(Kind.MODEL_WITHDRAWN, withdrawal)
    return replace(event, actor=actor, compliance=Compliance(meaning=Meaning.RESPONSIBLE))


def evaluation_released(evaluation: Evaluation) -> Event:
    """A hospital released noised, billed figures about a model."""
    return replace(_event(Kind.EVALUATION_RELEASED, evaluation), round=0)


def membership_released(membership: Membership) -> Event:
    """A hospital released noised, billed counts of how well a model knows its own patients."""
    return replace(_event(Kind.MEMBERSHIP_RELEASED, membership), round=0)


def read_signed(read: Read, actor: Actor) -> Event:
    """A hospital's readers judge a model; signed by the hospital, on a reader's word."""
    event = _event(Kind.READ_SIGNED, read)
    return replace(event, actor=actor, compliance=Compliance(meaning=Meaning.REVIEWED))


def oversight_override(override: Override, actor: Actor) -> Event:
    """A person decided otherwise than the system."""
    event = _event(Kind.OVERSIGHT_OVERRIDE, override)
    return replace(event, actor=actor, compliance=Compliance(meaning=Meaning.RESPONSIBLE))


def data_manifest(manifest: Manifest) -> Event:
    """A hospital committed to the images it will use; the count is noised and billed."""
    return _event(Kind.DATA_MANIFEST, manifest)


def data_withdrawn(withdrawal: ManifestWithdrawal) -> Event:
    """A hospital took images out of all later use."""
    return _event(Kind.DATA_WITHDRAWN, withdrawal)


def contribution_scored(contribution: Contribution) -> Event:
    """Who took part in a run's aggregates, and how often."""
    return _event(Kind.CONTRIBUTION_SCORED, contribution)


def log_anchored(anchor: Anchor) -> Event:
    """A hospital fixed the state of its local log; the entries stay with it."""
    return _event(Kind.LOG_ANCHORED, anchor)


def warrant_not_borne(seen: BadWarrant) -> Event:
    """A hospital was shown an order that the log does not bear, or another log than it watches."""
    if seen.reason is Reason.LOG_FORKED:
        return _failed(_event(Kind.ANOMALY_FORK_SEEN, seen), Outcome.MAJOR_FAILURE)
    return _failed(_event(Kind.ANOMALY_PROOF_INVALID, seen), Outcome.SERIOUS_FAILURE)


def clock_skewed(skew: ClockSkew) -> Event:
    """A party's clock was far from the log's."""
    return _failed(_event(Kind.ANOMALY_CLOCK_SKEW, skew))


def _event(kind: Kind, record: Record) -> Event:
    """The event with this body, in the plan, run and round that the body names."""
    body = record.to_json()
    return Event(
        kind,
        body,
        plan_id=body.get("plan_id"),
        run_id=body.get("run_id") or None,
        round=body.get("round"),
    )


def _failed(event: Event, outcome: Outcome = Outcome.MINOR_FAILURE) -> Event:
    return replace(event, outcome=outcome)


def _vote(event: Event, choice: Choice, actor: Actor | None) -> Event:
    meaning = Meaning.APPROVED if choice is Choice.APPROVE else Meaning.RESPONSIBLE
    return replace(event, actor=actor, compliance=Compliance(meaning=meaning))
