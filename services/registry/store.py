"""The registry's rows.

Each function runs in the caller's transaction, beside the event that says the same.
"""

from dataclasses import dataclass

from protocol.plan import Plan
from services.database import Connection
from services.errors import NotActiveError, NotFoundError


@dataclass(frozen=True, slots=True)
class StoredPlan:
    """A plan as the registry holds it."""

    plan: Plan
    state: str
    """`proposed`, `active` or `withdrawn`."""
    signers: tuple[str, ...]
    ballots: tuple[bytes, ...]
    """The signed entries that made it active."""


def insert_plan(connection: Connection, plan: Plan, *, proposed_us: int) -> bool:
    """Keep a new plan; false when this very plan is kept already."""
    cursor = connection.execute(
        """
        INSERT INTO plans (plan_id, content, state, proposed_us)
        VALUES (%s, %s, 'proposed', %s)
        ON CONFLICT DO NOTHING
        """,
        (plan.id, plan.to_bytes(), proposed_us),
    )
    return cursor.rowcount == 1


def mark_active(
    connection: Connection, plan_id: str, *, signers: tuple[str, ...], ballots: tuple[bytes, ...]
) -> bool:
    """Note that its ballots made a plan active; false when that was noted before."""
    cursor = connection.execute(
        """
        UPDATE plans
        SET state = 'active', signers = %s, ballots = %s
        WHERE plan_id = %s AND state = 'proposed'
        """,
        (list(signers), list(ballots), plan_id),
    )
    return cursor.rowcount == 1


def mark_withdrawn(connection: Connection, plan_id: str) -> bool:
    """Note that a plan was taken back; false when that was noted before."""
    cursor = connection.execute(
        "UPDATE plans SET state = 'withdrawn' WHERE plan_id = %s AND state <> 'withdrawn'",
        (plan_id,),
    )
    return cursor.rowcount == 1


def hold_active(connection: Connection, plan_id: str) -> None:
    """Keep a plan active until the transaction ends: who withdraws it meanwhile waits.

    Raises:
        NotActiveError: it is not active.
    """
    row = connection.execute(
        "SELECT state FROM plans WHERE plan_id = %s FOR SHARE", (plan_id,)
    ).fetchone()
    if row is None or row[0] != "active":
        raise NotActiveError(f"plan {plan_id} is not active, so nothing of it starts")


def load_plan(connection: Connection, plan_id: str) -> StoredPlan:
    """The plan of that id.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(
        "SELECT content, state, signers, ballots FROM plans WHERE plan_id = %s", (plan_id,)
    ).fetchone()
    if row is None:
        raise NotFoundError(f"no plan {plan_id}; `wardround centre status` lists the plans")
    return StoredPlan(Plan.from_bytes(row[0]), row[1], tuple(row[2]), tuple(row[3]))


def load_plans(connection: Connection) -> tuple[StoredPlan, ...]:
    """Every plan, the newest first."""
    rows = connection.execute(
        "SELECT content, state, signers, ballots FROM plans ORDER BY proposed_us DESC, plan_id"
    ).fetchall()
    return tuple(StoredPlan(Plan.from_bytes(r[0]), r[1], tuple(r[2]), tuple(r[3])) for r in rows)
