"""Holds, proposals and decisions in PostgreSQL, each written once.

The one rule: how something stands follows from what was written about it; nothing is updated. Who
writes here holds the turn (`take_turn`), so that no hold comes between a check and its removal.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

import psycopg

from audit.commitment import spell
from audit.payloads.errors import UnknownRecordError

Connection = psycopg.Connection[Any]

_TURN = 0x57415244_00000006
"""Advisory lock under which holds and proposals are written, one transaction after the other."""


class Matter(StrEnum):
    """What a proposal is about."""

    DISPOSAL = "disposal"
    ERASURE = "erasure"
    LIFT = "lift"


class Verdict(StrEnum):
    """How a proposal ended."""

    CONFIRMED = "confirmed"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Scope:
    """Which payloads a hold covers: those for which everything that is not none is true."""

    plan_id: str | None = None
    run_id: str | None = None
    producer: str | None = None
    type: str | None = None
    since_us: int | None = None
    until_us: int | None = None
    commitments: tuple[bytes, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """What is not none, as an entry says it."""
        value: dict[str, Any] = {
            name: part for name, part in asdict(self).items() if part is not None
        }
        if self.commitments is not None:
            value["commitments"] = [spell(one) for one in self.commitments]
        return value


@dataclass(frozen=True, slots=True)
class Why:
    """The reason for an act: a code for the log, and where the paper is."""

    reason: str
    reference: str
    """A file's number. Kept here and never in the log, which forgets nothing."""


@dataclass(frozen=True, slots=True)
class Hold:
    """A legal hold."""

    id: str
    scope: Scope
    why: Why
    set_by: str
    set_us: int
    event_id: str
    is_standing: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """How a proposal ended."""

    proposal: str
    verdict: Verdict
    decided_by: str
    decided_us: int
    event_id: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one records officer proposes, and a second one confirms or not."""

    id: str
    matter: Matter
    hold: str | None
    """The hold to be lifted."""
    commitments: tuple[bytes, ...]
    """Of the payloads to be removed, sorted."""
    why: Why
    proposed_by: str
    proposed_us: int
    event_id: str
    decision: Decision | None = None

    @property
    def digest(self) -> str:
        """Names what is proposed; whoever confirms says it, and so has seen the very same."""
        named = [str(self.matter), self.hold or "", *(spell(one) for one in self.commitments)]
        return "sha256:" + hashlib.sha256("\n".join(named).encode()).hexdigest()


def take_turn(connection: Connection) -> None:
    """Wait for everyone else who writes here; until the transaction ends, nobody else does."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_TURN])


def newest_us(connection: Connection) -> int:
    """The latest time that is written here; 0 before the first."""
    row = connection.execute(
        """
        SELECT coalesce(greatest(
            (SELECT max(set_us) FROM records_hold),
            (SELECT max(proposed_us) FROM records_proposal),
            (SELECT max(decided_us) FROM records_decision)
        ), 0)
        """
    ).fetchone()
    return int(row[0]) if row else 0


def unknown_names(connection: Connection, scope: Scope) -> list[str]:
    """The names in a scope that no entry of the log has."""
    unknown = []
    for column in ("plan_id", "run_id", "producer", "type"):
        value = getattr(scope, column)
        if value is None:
            continue
        row = connection.execute(
            f"SELECT 1 FROM audit_event WHERE {column} = %s LIMIT 1",  # noqa: S608 - constant
            [value],
        ).fetchone()
        if row is None:
            unknown.append(column)
    return unknown


def add_hold(connection: Connection, hold: Hold) -> None:
    """Write a hold."""
    scope = hold.scope
    connection.execute(
        """
        INSERT INTO records_hold (
            id, plan_id, run_id, producer, type, since_us, until_us, commitments,
            reason, reference, set_by, set_us, event_id
        ) VALUES (%s::uuid, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s::uuid)
        """,
        [
            hold.id,
            *(getattr(scope, one.name) for one in fields(Scope) if one.name != "commitments"),
            None if scope.commitments is None else list(scope.commitments),
            hold.why.reason,
            hold.why.reference,
            hold.set_by,
            hold.set_us,
            hold.event_id,
        ],
    )


_HOLD = """
SELECT h.id::text, h.plan_id, h.run_id, h.producer, h.type, h.since_us, h.until_us, h.commitments,
    h.reason, h.reference, h.set_by, h.set_us, h.event_id::text,
    EXISTS (SELECT FROM records_standing_hold s WHERE s.id = h.id)
FROM records_hold h
"""


def find_hold(connection: Connection, hold: str) -> Hold | None:
    """A hold, standing or lifted."""
    row = connection.execute(_HOLD + "WHERE h.id = %s::uuid", [hold]).fetchone()
    return _hold(row) if row else None


def holds(connection: Connection, *, limit: int) -> list[Hold]:
    """The last holds, newest first."""
    rows = connection.execute(_HOLD + "ORDER BY h.set_us DESC, h.id LIMIT %s", [limit])
    return [_hold(row) for row in rows]


def holds_on(connection: Connection, commitments: Sequence[bytes]) -> dict[bytes, str]:
    """The first hold on each of these payloads that is held, by commitment."""
    rows = connection.execute(
        """
        SELECT commitment, hold::text
        FROM audit_payload p CROSS JOIN LATERAL records_hold_on(p) hold
        WHERE commitment = ANY(%s) AND hold IS NOT NULL
        """,
        [list(commitments)],
    )
    return {bytes(commitment): hold for commitment, hold in rows}


def add_proposal(connection: Connection, proposal: Proposal) -> None:
    """Write a proposal."""
    connection.execute(
        """
        INSERT INTO records_proposal (
            id, kind, hold, commitments, reason, reference, proposed_by, proposed_us, event_id
        ) VALUES (%s::uuid, %s, %s::uuid, %s, %s, %s, %s, %s, %s::uuid)
        """,
        [
            proposal.id,
            str(proposal.matter),
            proposal.hold,
            list(proposal.commitments),
            proposal.why.reason,
            proposal.why.reference,
            proposal.proposed_by,
            proposal.proposed_us,
            proposal.event_id,
        ],
    )


_PROPOSAL = """
SELECT p.id::text, p.kind, p.hold::text, p.commitments, p.reason, p.reference, p.proposed_by,
    p.proposed_us, p.event_id::text, d.verdict, d.decided_by, d.decided_us, d.event_id::text
FROM records_proposal p LEFT JOIN records_decision d ON d.proposal = p.id
"""


def find_proposal(connection: Connection, proposal: str) -> Proposal | None:
    """A proposal with its decision, if there is one."""
    row = connection.execute(_PROPOSAL + "WHERE p.id = %s::uuid", [proposal]).fetchone()
    return _proposal(row) if row else None


def read_proposal(connection: Connection, matter: Matter, proposal: str) -> Proposal:
    """A proposal about this matter.

    Raises:
        UnknownRecordError: there is none of this id.
    """
    found = find_proposal(connection, proposal)
    if found is None or found.matter is not matter:
        raise UnknownRecordError(f"there is no proposal {proposal} of {matter}")
    return found


def proposals(connection: Connection, matter: Matter, *, limit: int) -> list[Proposal]:
    """The last proposals about this matter, newest first."""
    rows = connection.execute(
        _PROPOSAL + "WHERE p.kind = %s ORDER BY p.proposed_us DESC, p.id LIMIT %s",
        [str(matter), limit],
    )
    return [_proposal(row) for row in rows]


def add_decision(connection: Connection, decision: Decision) -> None:
    """Write how a proposal ended; the tables refuse a confirmation by who proposed."""
    connection.execute(
        """
        INSERT INTO records_decision (proposal, verdict, decided_by, decided_us, event_id)
        VALUES (%s::uuid, %s, %s, %s, %s::uuid)
        """,
        [
            decision.proposal,
            str(decision.verdict),
            decision.decided_by,
            decision.decided_us,
            decision.event_id,
        ],
    )


def _hold(row: tuple[Any, ...]) -> Hold:
    commitments = None if row[7] is None else tuple(bytes(one) for one in row[7])
    plan_id, run_id, producer, type_, since_us, until_us = row[1:7]
    scope = Scope(plan_id, run_id, producer, type_, since_us, until_us, commitments)
    return Hold(row[0], scope, Why(row[8], row[9]), *row[10:])


def _proposal(row: tuple[Any, ...]) -> Proposal:
    decision = None
    if row[9] is not None:
        decision = Decision(row[0], Verdict(row[9]), *row[10:])
    proposed_by, proposed_us, event_id = row[6:9]
    return Proposal(
        id=row[0],
        matter=Matter(row[1]),
        hold=row[2],
        commitments=tuple(bytes(one) for one in row[3]),
        why=Why(row[4], row[5]),
        proposed_by=proposed_by,
        proposed_us=proposed_us,
        event_id=event_id,
        decision=decision,
    )
