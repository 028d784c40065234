"""What must be true before records officers may propose or confirm: kept, free of holds, due.

The one rule: the same is asked at the proposal and again at the confirmation, inside the
transaction that removes; between the two a hold may have been set or a policy lengthened.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from audit.commitment import spell
from audit.desk.records import store
from audit.desk.records.policy import RetentionPolicy
from audit.desk.records.store import Connection, Matter, Proposal
from audit.payloads import store as payload
from audit.payloads.errors import (
    HeldError,
    NotDueError,
    PayloadRemovedError,
    RecordsConflictError,
    UnknownRecordError,
)
from audit.payloads.store import Payload


@dataclass(frozen=True, slots=True)
class Moment:
    """One transaction in which nobody else writes here, and its time."""

    connection: Connection
    now_us: int


def check(moment: Moment, proposal: Proposal, policy: RetentionPolicy) -> str | None:
    """Pass when the proposal may be carried out now; the law that lets a disposal pass.

    Raises:
        UnknownRecordError: it names a hold or a payload that is not known here.
        RecordsConflictError: the hold is lifted already, or the set is not of one class.
        PayloadRemovedError: a payload is gone already.
        HeldError: a hold stands on a payload.
        NotDueError: a payload must be kept for longer.
    """
    if proposal.matter is Matter.LIFT:
        _check_stands(moment, proposal)
        return None
    found = _check_kept(moment, proposal)
    _check_free(moment, proposal)
    if proposal.matter is Matter.ERASURE:
        _check_erasable(moment, found[0], policy)
        return None
    return _check_due(moment, found, policy)


def _check_stands(moment: Moment, proposal: Proposal) -> None:
    hold = store.find_hold(moment.connection, proposal.hold or "")
    if hold is None:
        raise UnknownRecordError(f"there is no hold {proposal.hold}")
    if not hold.is_standing:
        raise RecordsConflictError(f"hold {hold.id} is lifted already")


def _check_kept(moment: Moment, proposal: Proposal) -> list[Payload]:
    found = payload.find_several(moment.connection, list(proposal.commitments))
    unknown = set(proposal.commitments) - {one.commitment for one in found}
    if unknown:
        raise UnknownRecordError(f"no payload was handed in for {spell(min(unknown))}")
    for one in found:
        if one.removed_by is not None:
            raise PayloadRemovedError(
                f"{spell(one.commitment)}: removed already, on proposal {one.removed_by}"
            )
    return found


def _check_free(moment: Moment, proposal: Proposal) -> None:
    held = store.holds_on(moment.connection, proposal.commitments)
    if held:
        commitment, name = min(held.items())
        hold = store.find_hold(moment.connection, name)
        reason = hold.why.reason if hold else "unknown"
        raise HeldError(
            f"hold {name} ({reason}) stands on {spell(commitment)}; of the "
            f"{len(proposal.commitments)} payloads {len(held)} are held. "
            "Two records officers can lift a hold"
        )


def _check_erasable(moment: Moment, found: Payload, policy: RetentionPolicy) -> None:
    if not policy.may_erase(found, moment.now_us):
        named = policy.classes[found.retention]
        raise NotDueError(
            f"{spell(found.commitment)}: {named.legal_basis} asks that it be kept for "
            f"{named.least_days} days; it can be erased when they are over"
        )


def _check_due(moment: Moment, found: Sequence[Payload], policy: RetentionPolicy) -> str:
    names = {one.retention for one in found}
    if len(names) != 1:
        raise RecordsConflictError("a disposal is of one retention class; propose each apart")
    early = [one for one in found if not policy.is_due(one, moment.now_us)]
    if early:
        raise NotDueError(
            f"{len(early)} of {len(found)} payloads are not due, {spell(early[0].commitment)} "
            "the first; GET /v1/retention/due lists what is"
        )
    return policy.classes[names.pop()].legal_basis
