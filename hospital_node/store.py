"""This node's rows: ballots cast, orders answered, reports made.

Each function runs in the caller's transaction, beside the entry that says the same.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from hospital_node.database import Connection
from hospital_node.imaging.dataset import Selection
from protocol.ballot import Ballot, Choice
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
    patients_noised: int | None = None
    """The count that was billed and told; none where nothing was counted."""


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
        INSERT INTO ballots (plan_id, plan, ballot, entry, salt, patients_noised, voted_us)
        VALUES (%s, %s, %s, %s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        (
            cast.plan.id,
            cast.plan.to_bytes(),
            cast.ballot.to_bytes(),
            cast.entry,
            cast.salt,
            cast.patients_noised,
            voted_us,
        ),
    )
    return cursor.rowcount == 1


def load_ballot(connection: Connection, plan_id: str) -> CastBallot | None:
    """This hospital's ballot about a plan, or none."""
    row = connection.execute(
        "SELECT plan, ballot, entry, salt, patients_noised FROM ballots WHERE plan_id = %s",
        (plan_id,),
    ).fetchone()
    return None if row is None else _cast_of(row)


def insert_approval(
    connection: Connection, plan_id: str, *, entry: bytes, approved_us: int
) -> None:
    """Keep the entry by which a person approved a plan."""
    connection.execute(
        "INSERT INTO approvals (plan_id, entry, approved_us) VALUES (%s, %s, %s)",
        (plan_id, entry, approved_us),
    )


def load_approval(connection: Connection, plan_id: str) -> bytes | None:
    """The entry by which a person approved a plan; none where nobody has."""
    row = connection.execute(
        "SELECT entry FROM approvals WHERE plan_id = %s", (plan_id,)
    ).fetchone()
    return bytes(row[0]) if row else None


def load_approvals(connection: Connection) -> tuple[CastBallot, ...]:
    """Every ballot that binds images, in the order of the votes."""
    rows = connection.execute(
        "SELECT plan, ballot, entry, salt, patients_noised FROM ballots ORDER BY voted_us, plan_id"
    ).fetchall()
    cast = map(_cast_of, rows)
    return tuple(one for one in cast if one.ballot.choice is Choice.APPROVE)


def bind_patients(connection: Connection, plan_id: str, selection: Selection) -> None:
    """Keep whose images a ballot's manifest binds."""
    partitions = ((selection.train, Partition.TRAIN), (selection.held_out, Partition.HELD_OUT))
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO ballot_patients (plan_id, pseudonym, partition) VALUES (%s, %s, %s)",
            [
                (plan_id, patient.pseudonym, partition)
                for patients, partition in partitions
                for patient in patients
            ],
        )


def plans_with(connection: Connection, patient: str) -> dict[str, Partition]:
    """The plans whose ballots bind images of a patient, and as what."""
    rows = connection.execute(
        "SELECT plan_id, partition FROM ballot_patients WHERE pseudonym = %s", (patient,)
    ).fetchall()
    return {plan_id: Partition(partition) for plan_id, partition in rows}


def count_bound(connection: Connection, plan_id: str) -> dict[Partition, int]:
    """How many patients a ballot binds, by partition."""
    rows = connection.execute(
        """
        SELECT partition, count(*) FROM ballot_patients WHERE plan_id = %s GROUP BY partition
        """,
        (plan_id,),
    ).fetchall()
    return dict.fromkeys(Partition, 0) | {Partition(name): count for name, count in rows}


def count_withdrawn(connection: Connection, plan_id: str) -> int:
    """How many patients whom a ballot binds have been withdrawn since."""
    row = connection.execute(
        """
        SELECT count(*)
        FROM ballot_patients JOIN imaging_withdrawal USING (pseudonym)
        WHERE plan_id = %s
        """,
        (plan_id,),
    ).fetchone()
    return int(row[0]) if row else 0


def withdrawn_of(connection: Connection, plan_id: str) -> tuple[str, ...]:
    """The patients, by pseudonym, whom a ballot binds and who have been withdrawn since."""
    rows = connection.execute(
        """
        SELECT pseudonym
        FROM ballot_patients JOIN imaging_withdrawal USING (pseudonym)
        WHERE plan_id = %s
        ORDER BY pseudonym
        """,
        (plan_id,),
    )
    return tuple(patient for (patient,) in rows)


def _cast_of(row: tuple[Any, ...]) -> CastBallot:
    plan, ballot, entry, salt, count = row
    return CastBallot(
        Plan.from_bytes(plan),
        Ballot.from_bytes(ballot),
        entry=bytes(entry),
        salt=bytes(salt),
        patients_noised=count,
    )


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
