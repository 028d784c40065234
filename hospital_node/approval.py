"""Approval: a person's word for a plan, where the hospital's policy asks for one.

The one rule: the word is an entry of the hospital's own log, signed with its event key and naming
the person by a pseudonym; a row that is not borne out by such an entry approves nothing. What the
plan costs, and whether it may run at all, are others' business.
"""

from audit.entry import ActorKind, Entry
from audit.errors import AuditError
from audit.note import Verifier
from hospital_node import store
from hospital_node.database import Connection
from hospital_node.errors import VoteError
from hospital_node.local_events import LocalKind, PlanApproved, plan_approved
from hospital_node.site import Site
from hospital_node.store import CastBallot
from protocol.ballot import Choice
from protocol.event import Actor

WANTED = (
    "this hospital's policy wants a person's approval before anything is done under a plan, and "
    "nobody has given it; `wardround node approve` gives it"
)


def approve(site: Site, plan_id: str, actor: Actor) -> None:
    """Put a person's approval of a plan that this hospital has voted for on the record.

    Raises:
        VoteError: this hospital has not voted for it, or a person has approved it already.
    """
    with site.pool.connection() as connection:
        cast = store.load_ballot(connection, plan_id)
        if cast is None or cast.ballot.choice is not Choice.APPROVE:
            raise VoteError(
                f"{site.name} has not voted for {plan_id}; vote first (`wardround node vote`): "
                "a person's vote is an approval"
            )
        if is_approved(connection, site, cast):
            raise VoteError(f"a person has approved {plan_id} already")
        entry = site.local.append(connection, plan_approved(PlanApproved(plan_id=plan_id), actor))
        store.insert_approval(connection, plan_id, entry=entry, approved_us=site.clock_us())


def is_approved(connection: Connection, site: Site, cast: CastBallot) -> bool:
    """Whether a person has cast the ballot, or approved its plan since."""
    verifier = site.local.signer.verifier
    if _is_a_persons(cast.entry, verifier):
        return True
    entry = store.load_approval(connection, cast.plan.id)
    return (
        entry is not None
        and _is_a_persons(entry, verifier)
        and (Entry.parse(entry).type, Entry.parse(entry).plan_id)
        == (LocalKind.PLAN_APPROVED, cast.plan.id)
    )


def _is_a_persons(content: bytes, verifier: Verifier) -> bool:
    """Whether this hospital signed an entry, and a person acted."""
    try:
        entry = Entry.parse(content)
        entry.verify(verifier)
    except AuditError:
        return False
    return entry.actor is not None and entry.actor.kind == ActorKind.PERSON
