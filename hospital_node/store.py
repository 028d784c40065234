"""This node's rows: ballots cast, orders answered, reports made.

Each function runs in the caller's transaction, beside the entry that says the same.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from hospital_node.database import Connection
from protocol.ballot import Ballot
from protocol.budget import Partition
from protocol.plan import Plan
from protocol.round import OrderKind
from protocol.update import Packed


@dataclass(frozen=True, slots=True)
class CastBallot:
    """A vote of this hospital, with the signed entry that carries it."""

    plan: Plan
    ballot: Ballot
    entry: bytes
    salt: bytes
    """Opens the commitment to the images; secret."""


@dataclass(frozen=True, slots=True)
class Task:
    """Which piece of work an order asks for; no task is done twice."""

    run_id: str
    kind: OrderKind
    round: int


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """What became of a task."""

    warrant_digest: str
    answer: bytes | None
    """None where the work was begun and never answered."""
    packed: Packed | None


def insert_ballot(connection: Connection, cast: CastBallot, *, voted_us: int) -> bool:
    """Keep a ballot; false when this hospital has voted on the plan before."""
    cursor = connection.execute(
        """
        INSERT INTO ballots (plan_id, plan, ballot, entry, salt, voted_us)
        VALUES (%s, %s, %s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        (
            cast.plan.id,
            cast.plan.to_bytes(),
            cast.ballot.to_bytes(),
            cast.entry,
            cast.salt,
            voted_us,
        ),
    )
    return cursor.rowcount == 1


def load_ballot(connection: Connection, plan_id: str) -> CastBallot | None:
    """This hospital's ballot about a plan, or none."""
    row = connection.execute(
        "SELECT plan, ballot, entry, salt FROM ballots WHERE plan_id = %s", (plan_id,)
    ).fetchone()
    if row is None:
        return None
    plan, ballot = Plan.from_bytes(row[0]), Ballot.from_bytes(row[1])
    return CastBallot(plan, ballot, entry=bytes(row[2]), salt=bytes(row[3]))


def begin_task(connection: Connection, task: Task, *, warrant_digest: str, started_us: int) -> bool:
    """Claim a task for this order; false when it was claimed before."""
    cursor = connection.execute(
        """
        INSERT INTO answers (run_id, kind, round, warrant_digest, started_us)
        VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        (task.run_id, task.kind, task.round, warrant_digest, started_us),
    )
    return cursor.rowcount == 1


def lock_task(connection: Connection, task: Task) -> bool:
    """Hold a task until the transaction ends; false while another connection holds it."""
    row = connection.execute(
        "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))",
        (f"{task.run_id}/{task.kind}/{task.round}",),
    ).fetchone()
    return bool(row and row[0])


def finish_task(
    connection: Connection, task: Task, *, answer: bytes, packed: Packed | None, answered_us: int
) -> None:
    """Keep the answer to a task, before it leaves."""
    array = None if packed is None else np.ascontiguousarray(packed, dtype="<f4").tobytes()
    connection.execute(
        """
        UPDATE answers SET answer = %s, packed = %s, answered_us = %s
        WHERE run_id = %s AND kind = %s AND round = %s AND answer IS NULL
        """,
        (answer, array, answered_us, task.run_id, task.kind, task.round),
    )


def load_answer(connection: Connection, task: Task) -> StoredAnswer | None:
    """What became of a task, or none when it was never begun."""
    row = connection.execute(
        """
        SELECT warrant_digest, answer, packed FROM answers
        WHERE run_id = %s AND kind = %s AND round = %s
        """,
        (task.run_id, task.kind, task.round),
    ).fetchone()
    if row is None:
        return None
    packed = None if row[2] is None else np.frombuffer(row[2], dtype="<f4").astype("<f4")
    return StoredAnswer(row[0], None if row[1] is None else bytes(row[1]), packed)


def load_accounts(connection: Connection) -> tuple[tuple[str, Partition], ...]:
    """The ledger's accounts that were ever charged, and their partitions."""
    rows = connection.execute(
        """
        SELECT account, partition
        FROM ledger_account
        WHERE charges > 0
        ORDER BY account, partition
        """
    ).fetchall()
    return tuple((account, Partition(partition)) for account, partition in rows)


def save_report(
    connection: Connection, plan_id: str, run_id: str, *, report: dict[str, Any], made_us: int
) -> None:
    """Keep the local report about a run's candidate; a later one takes its place."""
    connection.execute(
        """
        INSERT INTO reports (run_id, plan_id, report, made_us)
        VALUES (%s, %s, %s, %s)
        ON CONFLICT (run_id) DO UPDATE SET report = EXCLUDED.report, made_us = EXCLUDED.made_us
        """,
        (run_id, plan_id, json.dumps(report), made_us),
    )


def load_reports(connection: Connection) -> tuple[dict[str, Any], ...]:
    """Every local report, the newest first, each with its run and plan."""
    rows = connection.execute(
        "SELECT run_id, plan_id, report FROM reports ORDER BY made_us DESC, run_id"
    ).fetchall()
    return tuple({"run_id": run, "plan_id": plan, **report} for run, plan, report in rows)
