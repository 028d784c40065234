"""The coordinator's rows: runs, rounds, updates, models.

Each function runs in the caller's transaction, beside the event that says the same. A round changes
state only as `protocol.round.TRANSITIONS` allows; a stored state nobody knows stops the centre.
"""

from dataclasses import dataclass

import numpy as np

from protocol.round import Closing, Exclusion, Opening, RoundState, check_transition
from protocol.update import Packed, packed_digest
from services.database import Connection
from services.errors import CentreError, NotFoundError


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as the coordinator holds it."""

    run_id: str
    plan_id: str
    state: str
    """`running`, `completed` or `halted`."""
    model_digest: str
    explanation: str
    candidate: bytes | None
    """The signed entry that puts the run's model on the record."""
    created_us: int
    ended_us: int | None


@dataclass(frozen=True, slots=True)
class StoredRound:
    """A round as the coordinator holds it."""

    number: int
    state: RoundState
    opening: Opening | None
    entry: bytes | None
    """The signed opening."""
    closing: Closing | None
    changed_us: int


@dataclass(frozen=True, slots=True)
class StoredEvaluation:
    """How a site answered the order to evaluate."""

    site: str
    reason: str
    explanation: str
    released: bool


def save_model(connection: Connection, packed: Packed) -> str:
    """Keep a model; returns its digest."""
    digest = packed_digest(packed)
    connection.execute(
        "INSERT INTO models (digest, packed) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        (digest, np.ascontiguousarray(packed, dtype="<f4").tobytes()),
    )
    return digest


def load_model(connection: Connection, digest: str) -> Packed:
    """The model of that digest.

    Raises:
        NotFoundError: there is none.
        CentreError: the stored bytes have another digest.
    """
    row = connection.execute("SELECT packed FROM models WHERE digest = %s", (digest,)).fetchone()
    if row is None:
        raise NotFoundError(f"no model {digest}")
    packed: Packed = np.frombuffer(row[0], dtype="<f4")
    if packed_digest(packed) != digest:
        raise CentreError(f"model {digest} is damaged in the database; restore it from a backup")
    return packed


def insert_run(
    connection: Connection, run_id: str, plan_id: str, *, model_digest: str, created_us: int
) -> None:
    """Begin a run."""
    connection.execute(
        """
        INSERT INTO runs (run_id, plan_id, state, model_digest, created_us)
        VALUES (%s, %s, 'running', %s, %s)
        """,
        (run_id, plan_id, model_digest, created_us),
    )


def set_run_model(connection: Connection, run_id: str, model_digest: str) -> None:
    """Give a running run its new model."""
    connection.execute(
        "UPDATE runs SET model_digest = %s WHERE run_id = %s AND state = 'running'",
        (model_digest, run_id),
    )


def set_candidate(connection: Connection, run_id: str, entry: bytes) -> None:
    """Note the entry that puts a run's model on the record."""
    connection.execute("UPDATE runs SET candidate = %s WHERE run_id = %s", (entry, run_id))


def end_run(
    connection: Connection, run_id: str, state: str, *, explanation: str, ended_us: int
) -> bool:
    """End a run as `completed` or `halted`; false when it had ended before."""
    cursor = connection.execute(
        """
        UPDATE runs SET state = %s, explanation = %s, ended_us = %s
        WHERE run_id = %s AND state = 'running'
        """,
        (state, explanation, ended_us, run_id),
    )
    return cursor.rowcount == 1


def load_run(connection: Connection, run_id: str) -> StoredRun:
    """The run of that id.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(f"{_SELECT_RUN} WHERE run_id = %s", (run_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"no run {run_id}; `wardround centre status` lists the runs")
    return StoredRun(*row)


def load_runs(connection: Connection) -> tuple[StoredRun, ...]:
    """Every run, the newest first."""
    rows = connection.execute(f"{_SELECT_RUN} ORDER BY created_us DESC, run_id").fetchall()
    return tuple(StoredRun(*row) for row in rows)


def insert_round(connection: Connection, run_id: str, number: int, *, changed_us: int) -> None:
    """Begin a round, pending."""
    connection.execute(
        "INSERT INTO rounds (run_id, number, state, changed_us) VALUES (%s, %s, 'pending', %s)",
        (run_id, number, changed_us),
    )


def open_round(connection: Connection, opening: Opening, *, entry: bytes, changed_us: int) -> None:
    """Move a pending round to open; `entry` is the signed opening.

    Raises:
        TransitionError: it is not pending.
    """
    connection.execute(
        "UPDATE rounds SET opening = %s, entry = %s WHERE run_id = %s AND number = %s",
        (opening.to_bytes(), entry, opening.run_id, opening.round),
    )
    _change_state(connection, opening, RoundState.OPEN, changed_us=changed_us)


def end_round(
    connection: Connection, closing: Closing, state: RoundState, *, changed_us: int
) -> None:
    """Move a round to closed or abandoned.

    Raises:
        TransitionError: the round cannot go there from where it is.
    """
    _change_state(connection, closing, state, changed_us=changed_us)


def load_rounds(connection: Connection, run_id: str) -> tuple[StoredRound, ...]:
    """The rounds of a run, in order."""
    rows = connection.execute(
        """
        SELECT number, state, opening, entry, closing, changed_us
        FROM rounds WHERE run_id = %s ORDER BY number
        """,
        (run_id,),
    ).fetchall()
    return tuple(
        StoredRound(
            number,
            RoundState(state),
            None if opening is None else Opening.from_bytes(opening),
            entry,
            None if closing is None else Closing.from_bytes(closing),
            changed_us,
        )
        for number, state, opening, entry, closing, changed_us in rows
    )


def hold_update(
    connection: Connection, opening: Opening, *, site: str, packed: Packed, receipt: bytes
) -> None:
    """Keep an update as it arrived, outside the sum."""
    connection.execute(
        """
        INSERT INTO updates (run_id, number, site, digest, packed, receipt)
        VALUES (%s, %s, %s, %s, %s, %s)
        """,
        (
            opening.run_id,
            opening.round,
            site,
            packed_digest(packed),
            np.ascontiguousarray(packed, dtype="<f4").tobytes(),
            receipt,
        ),
    )


def take_update(connection: Connection, opening: Opening, *, site: str) -> None:
    """Give a held update the next place, which is its place in the aggregate.

    Raises:
        NotFoundError: none of that site is held.
    """
    taken = connection.execute(
        """
        UPDATE updates
        SET place = (
            SELECT count(place) FROM updates WHERE run_id = %(run)s AND number = %(number)s
        )
        WHERE run_id = %(run)s AND number = %(number)s AND site = %(site)s AND place IS NULL
        """,
        {"run": opening.run_id, "number": opening.round, "site": site},
    )
    if taken.rowcount != 1:
        raise NotFoundError(f"run {opening.run_id}, round {opening.round}: none held of {site}")


def drop_update(connection: Connection, opening: Opening, *, site: str) -> None:
    """Let go of what is held of a site, if anything is; what has a place stays."""
    connection.execute(
        "DELETE FROM updates WHERE run_id = %s AND number = %s AND site = %s AND place IS NULL",
        (opening.run_id, opening.round, site),
    )


def drop_held(connection: Connection, opening: Opening) -> None:
    """Let go of all that has no place yet: whoever sent it is asked again, and has kept it."""
    connection.execute(
        "DELETE FROM updates WHERE run_id = %s AND number = %s AND place IS NULL",
        (opening.run_id, opening.round),
    )


def load_taken(connection: Connection, opening: Opening) -> tuple[tuple[str, str], ...]:
    """Site and digest of each update that has a place in a round, in order."""
    rows = connection.execute(
        """
        SELECT site, digest FROM updates
        WHERE run_id = %s AND number = %s AND place IS NOT NULL ORDER BY place
        """,
        (opening.run_id, opening.round),
    ).fetchall()
    return tuple((str(site), str(digest)) for site, digest in rows)


def insert_exclusion(connection: Connection, opening: Opening, exclusion: Exclusion) -> None:
    """Note that a site is not in a round."""
    connection.execute(
        "INSERT INTO exclusions (run_id, number, site, record) VALUES (%s, %s, %s, %s)",
        (opening.run_id, opening.round, exclusion.site, exclusion.to_bytes()),
    )


def load_exclusions(connection: Connection, opening: Opening) -> tuple[Exclusion, ...]:
    """Who is not in a round so far, and why; by site."""
    rows = connection.execute(
        "SELECT record FROM exclusions WHERE run_id = %s AND number = %s ORDER BY site",
        (opening.run_id, opening.round),
    ).fetchall()
    return tuple(Exclusion.from_bytes(record) for (record,) in rows)


def insert_evaluation(
    connection: Connection, run_id: str, *, site: str, answer: tuple[str, str], receipt: bytes
) -> None:
    """Keep how a site answered the order to evaluate: reason, explanation, signed release."""
    connection.execute(
        """
        INSERT INTO evaluations (run_id, site, reason, explanation, receipt)
        VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT DO NOTHING
        """,
        (run_id, site, *answer, receipt),
    )


def load_evaluations(connection: Connection, run_id: str) -> tuple[StoredEvaluation, ...]:
    """How the sites answered the order to evaluate, by site."""
    rows = connection.execute(
        """
        SELECT site, reason, explanation, length(receipt) > 0
        FROM evaluations WHERE run_id = %s ORDER BY site
        """,
        (run_id,),
    ).fetchall()
    return tuple(StoredEvaluation(*row) for row in rows)


_SELECT_RUN = """
SELECT run_id, plan_id, state, model_digest, explanation, candidate, created_us, ended_us FROM runs
"""


def _change_state(
    connection: Connection, record: Opening | Closing, then: RoundState, *, changed_us: int
) -> None:
    """Lock the round's row, check the step, take it."""
    key = (record.run_id, record.round)
    row = connection.execute(
        "SELECT state FROM rounds WHERE run_id = %s AND number = %s FOR UPDATE", key
    ).fetchone()
    if row is None:
        raise NotFoundError(f"run {record.run_id} has no round {record.round}")
    check_transition(RoundState(row[0]), then)
    closing = record.to_bytes() if isinstance(record, Closing) else None
    connection.execute(
        """
        UPDATE rounds SET state = %s, changed_us = %s, closing = %s
        WHERE run_id = %s AND number = %s
        """,
        (then, changed_us, closing, *key),
    )
