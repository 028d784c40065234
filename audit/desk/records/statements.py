"""Statements of records keeping: holds, what was removed and on whose word, who read a payload.

The one rule: an entry names commitments, reason codes and pseudonyms, never what a commitment opens
to, nor a reference that somebody typed: those stay in the tables.
"""

from typing import Any

from audit.commitment import spell
from audit.desk.callers import Caller
from audit.desk.records.store import Matter, Proposal, Scope, Why
from audit.desk.statements import DeskEvent
from audit.entry import Compliance, Meaning
from audit.payloads.store import Payload

HOLD_SET = "retention.hold_set"
HOLD_LIFTED = "retention.hold_lifted"
LIFT_PROPOSED = "retention.lift_proposed"
RELEASED = "retention.released"
DISPOSED = "retention.disposed"
WITHDRAWN = "retention.withdrawn"
ERASURE_PROPOSED = "erasure.proposed"
ERASURE_PERFORMED = "erasure.performed"
PAYLOAD_READ = "payload.read"

_PROPOSED = {
    Matter.DISPOSAL: RELEASED,
    Matter.ERASURE: ERASURE_PROPOSED,
    Matter.LIFT: LIFT_PROPOSED,
}
_CONFIRMED = {
    Matter.DISPOSAL: DISPOSED,
    Matter.ERASURE: ERASURE_PERFORMED,
    Matter.LIFT: HOLD_LIFTED,
}

PURPOSE = "records-keeping"
"""Purpose of use of everything here but the reading of a payload, which names its own."""


def hold_set(hold: str, scope: Scope, why: Why, *, officer: Caller) -> DeskEvent:
    """A records officer set a legal hold."""
    body = {"hold": hold, "reason": why.reason, "scope": scope.to_json()}
    return DeskEvent(HOLD_SET, body, officer.actor(PURPOSE), compliance=_signed(Meaning.AUTHORED))


def proposed(proposal: Proposal, officer: Caller, *, legal_basis: str | None) -> DeskEvent:
    """A records officer put something before a second one; a disposal's set is released for it."""
    return DeskEvent(
        _PROPOSED[proposal.matter],
        _named(proposal),
        officer.actor(PURPOSE),
        compliance=_signed(Meaning.AUTHORED, legal_basis),
    )


def confirmed(proposal: Proposal, officer: Caller, *, legal_basis: str | None) -> DeskEvent:
    """A second records officer confirmed, and what was proposed was done."""
    body = {
        **_named(proposal),
        "proposed_by": proposal.proposed_by,
        "confirmed_by": officer.id,
    }
    return DeskEvent(
        _CONFIRMED[proposal.matter],
        body,
        officer.actor(PURPOSE),
        compliance=_signed(Meaning.APPROVED, legal_basis),
    )


def withdrawn(proposal: Proposal, officer: Caller) -> DeskEvent:
    """A records officer withdrew what was proposed; nothing was done."""
    body = {
        "matter": str(proposal.matter),
        "proposal": proposal.id,
        "digest": proposal.digest,
        "proposed_by": proposal.proposed_by,
    }
    return DeskEvent(WITHDRAWN, body, officer.actor(PURPOSE), compliance=_signed(Meaning.REVIEWED))


def payload_read(payload: Payload, officer: Caller, *, purpose: str) -> DeskEvent:
    """A records officer is about to see what a commitment opens to."""
    body = {"commitment": spell(payload.commitment), "event_id": payload.event_id}
    return DeskEvent(
        PAYLOAD_READ,
        body,
        officer.actor(purpose),
        plan_id=payload.plan_id,
        run_id=payload.run_id,
    )


def _named(proposal: Proposal) -> dict[str, Any]:
    body: dict[str, Any] = {
        "proposal": proposal.id,
        "digest": proposal.digest,
        "reason": proposal.why.reason,
    }
    if proposal.matter is Matter.LIFT:
        return {**body, "hold": proposal.hold}
    commitments = [spell(one) for one in proposal.commitments]
    return {**body, "commitments": commitments, "count": len(commitments)}


def _signed(meaning: Meaning, legal_basis: str | None = None) -> Compliance:
    return Compliance(legal_basis=legal_basis, meaning=meaning)
