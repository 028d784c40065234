"""Records keeping: legal holds, disposal and erasure of payloads, by two persons each time.

The one rule: what is removed, the decision to remove it and the entry that says so commit together,
and no hold stands at that moment. One records officer proposes a set, frozen by its digest; another
says the digest and confirms. Setting a hold takes one person, because it removes nothing. This
module knows no HTTP and not what is in a payload.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from psycopg_pool import ConnectionPool

from audit.commitment import Opening
from audit.desk.callers import Caller
from audit.desk.recorder import Recorder
from audit.desk.records import checks as records_checks
from audit.desk.records import statements, store
from audit.desk.records.checks import Moment
from audit.desk.records.policy import RetentionPolicy
from audit.desk.records.store import (
    Decision,
    Hold,
    Matter,
    Proposal,
    Scope,
    Verdict,
    Why,
)
from audit.desk.statements import DeskEvent
from audit.payloads import store as payload
from audit.payloads.errors import (
    ClockBehindError,
    NotDueError,
    RecordsConflictError,
    SecondPersonError,
    UnknownRecordError,
)
from audit.payloads.store import Payload

MOST_AT_ONCE = 500
"""Payloads of one disposal: the entry names each, and an entry is at most 65,535 bytes."""

CLOCK_BEHIND_US = 600_000_000
"""How far the clock may be behind what is recorded already: as far as the log lets one be ahead."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a records officer asks for, whatever it is about."""

    id: str
    """Chosen by who asks: the same request sent again is the same request."""
    why: Why
    officer: Caller


@dataclass(frozen=True, slots=True)
class Records:
    """What records officers do; safe to share between threads."""

    pool: ConnectionPool
    recorder: Recorder
    policy: RetentionPolicy
    clock_us: Callable[[], int]

    def set_hold(self, asked: Asked, scope: Scope) -> Hold:
        """Set a legal hold: until two persons lift it, nothing it covers is removed.

        Raises:
            UnknownRecordError: the scope names what no entry of the log has.
            RecordsConflictError: the id was used for another hold.
        """
        with self._turn() as moment:
            known = store.find_hold(moment.connection, asked.id)
            if known is not None:
                return _same_hold(known, asked, scope)
            unknown = store.unknown_names(moment.connection, scope)
            if unknown:
                raise UnknownRecordError(
                    f"no entry of the log has this {' or '.join(unknown)}; "
                    "take it from an entry, letter by letter"
                )
            said = statements.hold_set(asked.id, scope, asked.why, officer=asked.officer)
            entry = self.recorder.append(moment.connection, said)
            hold = Hold(asked.id, scope, asked.why, asked.officer.id, moment.now_us, entry.event_id)
            store.add_hold(moment.connection, hold)
            return hold

    def propose_lift(self, asked: Asked, hold: str) -> Proposal:
        """Propose that a hold be lifted.

        Raises:
            UnknownRecordError: there is no such hold.
            RecordsConflictError: it is lifted already.
        """
        with self._turn() as moment:
            proposal = _proposal(asked, Matter.LIFT, moment.now_us, hold=hold)
            return self._propose(moment, proposal, asked.officer)

    def propose_disposal(
        self, asked: Asked, *, retention: str, commitments: Sequence[bytes] | None = None
    ) -> Proposal:
        """Release payloads of one class for disposal: these, or the oldest that are due.

        Raises:
            NotDueError: one is not due, or none is.
            HeldError: a hold stands on one.
        """
        with self._turn() as moment:
            known = store.find_proposal(moment.connection, asked.id)
            if known is not None and commitments is None:
                again = replace(known, matter=Matter.DISPOSAL, why=asked.why)
                return _same_proposal(known, again, asked.officer)
            chosen = commitments
            if chosen is None:
                chosen = [one.commitment for one in self._due(moment, retention)]
            if not chosen:
                raise NotDueError(f"no payload of class {retention} is due and under no hold")
            proposal = _proposal(asked, Matter.DISPOSAL, moment.now_us, commitments=chosen)
            return self._propose(moment, proposal, asked.officer)

    def propose_erasure(self, asked: Asked, commitment: bytes) -> Proposal:
        """Propose that one payload be erased, as a data subject asked.

        Raises:
            UnknownRecordError: there is no such payload.
            HeldError: a hold stands on it.
            NotDueError: the law asks that it be kept until its period is over.
        """
        with self._turn() as moment:
            proposal = _proposal(asked, Matter.ERASURE, moment.now_us, commitments=[commitment])
            return self._propose(moment, proposal, asked.officer)

    def confirm(self, officer: Caller, matter: Matter, proposal: str, *, digest: str) -> Proposal:
        """Do what was proposed, as the second person; the proposal with its decision.

        Raises:
            UnknownRecordError: there is no such proposal.
            SecondPersonError: the officer proposed it.
            RecordsConflictError: it is decided already, or is not what the digest names, or what
                it names has changed since: a hold was set, a payload was removed.
        """
        with self._turn() as moment:
            proposed = store.read_proposal(moment.connection, matter, proposal)
            if digest != proposed.digest:
                raise RecordsConflictError(
                    f"the digest names another set than proposal {proposal}, which has "
                    f"{proposed.digest}; look at it again before you confirm"
                )
            if proposed.decision is not None:
                return _decided_alike(proposed, officer, Verdict.CONFIRMED)
            if officer.id == proposed.proposed_by:
                raise SecondPersonError(
                    "who proposed does not confirm; another records officer does, with a key of "
                    "their own"
                )
            basis = records_checks.check(moment, proposed, self.policy)
            said = statements.confirmed(proposed, officer, legal_basis=basis)
            decided = self._decide(moment, proposed, officer, verdict=Verdict.CONFIRMED, said=said)
            self._carry_out(moment, decided)
            return decided

    def withdraw(self, officer: Caller, matter: Matter, proposal: str) -> Proposal:
        """Withdraw what was proposed; one person is enough, because nothing is done.

        Raises:
            UnknownRecordError: there is no such proposal.
            RecordsConflictError: it is confirmed already.
        """
        with self._turn() as moment:
            proposed = store.read_proposal(moment.connection, matter, proposal)
            if proposed.decision is not None:
                return _decided_alike(proposed, officer, Verdict.WITHDRAWN)
            said = statements.withdrawn(proposed, officer)
            return self._decide(moment, proposed, officer, verdict=Verdict.WITHDRAWN, said=said)

    def open(self, officer: Caller, commitment: bytes, *, purpose: str) -> tuple[Payload, Opening]:
        """A payload with what is in it; that it was read is on record before this returns.

        Raises:
            UnknownRecordError: there is no such payload.
            PayloadRemovedError: it was removed.
        """
        with self.pool.connection() as connection, connection.transaction():
            found = payload.find(connection, commitment)
            opening = payload.open_payload(connection, commitment)
            said = statements.payload_read(found, officer, purpose=purpose)
            self.recorder.append(connection, said)
        return found, opening

    def due(self, retention: str, *, limit: int) -> list[Payload]:
        """The oldest payloads of a class that are due for disposal and under no hold."""
        with self.pool.connection() as connection:
            return self._due(Moment(connection, self.clock_us()), retention, limit=limit)

    def sweep(self) -> bool:
        """Free the database's files of the bytes of what was removed; whether it was done.

        Removal is complete in the tables before this; a crash in between leaves it to be done.
        """
        with self.pool.connection() as connection:
            return payload.sweep(connection)

    @contextmanager
    def _turn(self) -> Iterator[Moment]:
        with self.pool.connection() as connection, connection.transaction():
            store.take_turn(connection)
            now_us = self.clock_us()
            newest_us = max(store.newest_us(connection), payload.newest_us(connection))
            if now_us < newest_us - CLOCK_BEHIND_US:
                raise ClockBehindError(
                    f"the clock shows {now_us} µs, and {newest_us} µs is recorded already; "
                    "set the clock right, no period is counted by it until then"
                )
            yield Moment(connection, now_us)

    def _propose(self, moment: Moment, proposal: Proposal, officer: Caller) -> Proposal:
        known = store.find_proposal(moment.connection, proposal.id)
        if known is not None:
            return _same_proposal(known, proposal, officer)
        basis = records_checks.check(moment, proposal, self.policy)
        said = statements.proposed(proposal, officer, legal_basis=basis)
        entry = self.recorder.append(moment.connection, said)
        written = replace(proposal, event_id=entry.event_id)
        store.add_proposal(moment.connection, written)
        return written

    def _due(self, moment: Moment, retention: str, *, limit: int = MOST_AT_ONCE) -> list[Payload]:
        named = self.policy.classes.get(retention)
        if named is None:
            raise UnknownRecordError(
                f"the retention policy has no class {retention}; what it does not name is kept"
            )
        before_us = moment.now_us - named.least_us
        return payload.find_kept_before(
            moment.connection, retention, before_us=before_us, limit=limit
        )

    def _decide(
        self,
        moment: Moment,
        proposal: Proposal,
        officer: Caller,
        *,
        verdict: Verdict,
        said: DeskEvent,
    ) -> Proposal:
        entry = self.recorder.append(moment.connection, said)
        decision = Decision(proposal.id, verdict, officer.id, moment.now_us, entry.event_id)
        store.add_decision(moment.connection, decision)
        return replace(proposal, decision=decision)

    def _carry_out(self, moment: Moment, proposal: Proposal) -> None:
        """Remove what a confirmed proposal names; a lifted hold follows from the decision alone."""
        if proposal.matter is Matter.LIFT:
            return
        emptied = payload.empty(moment.connection, proposal.id)
        if emptied != len(proposal.commitments):
            raise RuntimeError(f"{emptied} payloads emptied, {len(proposal.commitments)} checked")


def _proposal(
    asked: Asked,
    matter: Matter,
    now_us: int,
    *,
    hold: str | None = None,
    commitments: Sequence[bytes] = (),
) -> Proposal:
    return Proposal(
        id=asked.id,
        matter=matter,
        hold=hold,
        commitments=tuple(sorted(set(commitments))),
        why=asked.why,
        proposed_by=asked.officer.id,
        proposed_us=now_us,
        event_id="",
    )


def _same_hold(known: Hold, asked: Asked, scope: Scope) -> Hold:
    if (known.scope, known.why, known.set_by) != (scope, asked.why, asked.officer.id):
        raise RecordsConflictError(f"id {asked.id} names another hold; draw a new one")
    return known


def _same_proposal(known: Proposal, offered: Proposal, officer: Caller) -> Proposal:
    """The proposal that is known, where the one that was sent again is the same."""

    def terms(proposal: Proposal) -> tuple[object, ...]:
        return proposal.digest, proposal.why, proposal.proposed_by

    if terms(known) != terms(offered) or officer.id != known.proposed_by:
        raise RecordsConflictError(f"id {known.id} names another proposal; draw a new one")
    return known


def _decided_alike(proposal: Proposal, officer: Caller, verdict: Verdict) -> Proposal:
    """The proposal, where this very officer decided this very thing before."""
    decision = proposal.decision
    if decision is None or (decision.verdict, decision.decided_by) != (verdict, officer.id):
        raise RecordsConflictError(f"proposal {proposal.id} is decided already")
    return proposal
