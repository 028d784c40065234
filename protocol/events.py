"""Events: what the parties put on the record, one builder per kind.

An event here is what happened; numbering, time and signature are added by whoever writes it to the
log. No builder takes anything that identifies a patient: there is no parameter to put it in.
"""

from dataclasses import asdict, dataclass
from enum import IntEnum, StrEnum
from typing import Any

from protocol.ballot import Ballot
from protocol.budget import Charge
from protocol.consortium import Consortium, Member
from protocol.plan import Plan
from protocol.record import Record
from protocol.round import Candidate, Closing, Evaluation, Opening, Reason, Sent


class Kind(StrEnum):
    """The kinds of event of schema `v1` that this release writes."""

    CONSORTIUM_FOUNDED = "consortium.founded"
    SITE_ENROLLED = "site.enrolled"
    PLAN_PROPOSED = "plan.proposed"
    PLAN_VOTED = "plan.voted"
    PLAN_ACTIVATED = "plan.activated"
    RUN_CREATED = "run.created"
    RUN_COMPLETED = "run.completed"
    RUN_HALTED = "run.halted"
    ROUND_OPENED = "round.opened"
    ROUND_CLOSED = "round.closed"
    ROUND_ABANDONED = "round.abandoned"
    UPDATE_SENT = "update.sent"
    UPDATE_RECEIVED = "update.received"
    UPDATE_REJECTED = "update.rejected"
    PRIVACY_CHARGED = "privacy.charged"
    PRIVACY_REFUSED = "privacy.refused"
    MODEL_CANDIDATE = "model.candidate"
    EVALUATION_RELEASED = "evaluation.released"
    DATA_MANIFEST = "data.manifest"
    LOG_ANCHORED = "log.anchored"


class ActorKind(StrEnum):
    """What acted."""

    PERSON = "person"
    SERVICE = "service"
    SYSTEM = "system"


class Meaning(StrEnum):
    """What a signature says about what it signs (21 CFR 11.50)."""

    REVIEWED = "reviewed"
    APPROVED = "approved"
    RESPONSIBLE = "responsible"
    AUTHORED = "authored"


class Outcome(IntEnum):
    """How an act ended (FHIR R4 `AuditEvent.outcome`)."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted, where it was not simply the party's own system."""

    kind: ActorKind
    id: str
    """A pseudonymous key id; never a name."""
    organisation: str
    role: str | None = None
    purpose: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry's member `actor`."""
        return {**asdict(self), "kind": str(self.kind)}


@dataclass(frozen=True, slots=True)
class Compliance:
    """What a regulator asks of an entry beside its content."""

    legal_basis: str | None = None
    retention: str | None = None
    meaning: Meaning | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry's member `compliance`."""
        meaning = None if self.meaning is None else str(self.meaning)
        return {**asdict(self), "meaning": meaning}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, before it is numbered and signed."""

    type: str
    body: dict[str, Any]
    plan_id: str | None = None
    run_id: str | None = None
    round: int | None = None
    actor: Actor | None = None
    outcome: int = Outcome.SUCCESS
    compliance: Compliance | None = None
    supersedes: str | None = None


def consortium_founded(consortium: Consortium) -> Event:
    """The members, rule and witnesses everything later is checked against."""
    return Event(Kind.CONSORTIUM_FOUNDED, consortium.to_json())


def site_enrolled(member: Member) -> Event:
    """A hospital's keys were taken into the consortium."""
    return Event(Kind.SITE_ENROLLED, member.to_json())


def plan_proposed(plan: Plan) -> Event:
    """A plan was put to the vote; the body is the whole plan."""
    return Event(Kind.PLAN_PROPOSED, plan.to_json(), plan_id=plan.id)


def plan_voted(ballot: Ballot) -> Event:
    """A hospital voted; signed by the hospital."""
    return Event(Kind.PLAN_VOTED, ballot.to_json(), plan_id=ballot.plan_id)


def plan_activated(plan: Plan, signers: tuple[str, ...]) -> Event:
    """The rule was met."""
    return Event(Kind.PLAN_ACTIVATED, {"signers": list(signers)}, plan_id=plan.id)


def run_created(plan: Plan, run_id: str) -> Event:
    """A run of an active plan began."""
    return Event(Kind.RUN_CREATED, {"rounds": plan.rounds}, plan.id, run_id)


def run_completed(plan: Plan, run_id: str, *, rounds_completed: int) -> Event:
    """A run reached its last round."""
    body = {"rounds_completed": rounds_completed, "rounds_planned": plan.rounds}
    return Event(Kind.RUN_COMPLETED, body, plan.id, run_id)


def run_halted(plan: Plan, run_id: str, *, explanation: str) -> Event:
    """A run stopped before its last round."""
    return Event(Kind.RUN_HALTED, {"explanation": explanation}, plan.id, run_id)


def round_opened(opening: Opening) -> Event:
    """The centre opened a round to the sites that signed."""
    return _of_round(Kind.ROUND_OPENED, opening, opening.round)


def round_closed(closing: Closing) -> Event:
    """A round ended with an aggregate."""
    return _of_round(Kind.ROUND_CLOSED, closing, closing.round)


def round_abandoned(closing: Closing) -> Event:
    """A round ended without its quorum; nothing was applied."""
    return _of_round(Kind.ROUND_ABANDONED, closing, closing.round)


def update_sent(sent: Sent) -> Event:
    """A packed update left a hospital; signed by the hospital."""
    return _of_round(Kind.UPDATE_SENT, sent, sent.round)


def update_received(sent: Sent) -> Event:
    """The centre took an update in; the body repeats what the hospital signed."""
    return _of_round(Kind.UPDATE_RECEIVED, sent, sent.round)


def update_rejected(opening: Opening, *, site: str, reason: Reason, explanation: str) -> Event:
    """The centre did not take an update, or none came."""
    body = {"site": site, "reason": str(reason), "explanation": explanation}
    return Event(Kind.UPDATE_REJECTED, body, opening.plan_id, opening.run_id, opening.round)


def privacy_charged(charge: Charge) -> Event:
    """A hospital committed a charge to its ledger, before the work it pays for."""
    return Event(
        Kind.PRIVACY_CHARGED, charge.to_json(), charge.plan_id, charge.run_id or None, charge.round
    )


def privacy_refused(plan_id: str, run_id: str, *, round_number: int, explanation: str) -> Event:
    """A hospital refused an access because its budget would not bear it."""
    return Event(
        Kind.PRIVACY_REFUSED, {"explanation": explanation}, plan_id, run_id or None, round_number
    )


def model_candidate(candidate: Candidate) -> Event:
    """A run produced a model that may be evaluated."""
    return _of_round(Kind.MODEL_CANDIDATE, candidate, candidate.rounds_completed)


def evaluation_released(evaluation: Evaluation) -> Event:
    """A hospital released noised, billed figures about a model."""
    return _of_round(Kind.EVALUATION_RELEASED, evaluation, 0)


def data_manifest(plan_id: str, *, manifest: str, patients_noised: int) -> Event:
    """A hospital committed to the images it will use; the count is noised and billed."""
    body = {"manifest": manifest, "patients_noised": patients_noised}
    return Event(Kind.DATA_MANIFEST, body, plan_id)


def log_anchored(*, checkpoint: str) -> Event:
    """A hospital fixed the state of its local log; the entries stay with it."""
    return Event(Kind.LOG_ANCHORED, {"checkpoint": checkpoint})


def _of_round(kind: Kind, record: Record, round_number: int) -> Event:
    body = record.to_json()
    return Event(kind, body, body["plan_id"], body["run_id"], round_number)
