"""Health: how far log, witnesses and projection have got, read from the database alone.

The one rule: it tells nothing of what was recorded, so that an operator may see it.
"""

from typing import Any

from audit.checkpoint import WitnessPolicy, add_cosignatures
from audit.desk.search import Connection
from audit.desk.shapes import Answer, Shape
from audit.ordering import store, tree
from audit.searching.projection import projected_size, stopped_at


class WitnessShape(Shape):
    """One witness, and when it was heard last."""

    name: str
    organisation: str
    size: int | None
    """Entries of the last checkpoint that it cosigned; none where it never has."""
    time_s: int | None
    """When, by its own signed word: seconds since 1970 UTC."""


class HealthAnswer(Answer):
    """How the log stands."""

    is_sequencer_alive: bool
    signed: int
    """Entries under the last signed checkpoint."""
    witnessed: int
    """Entries under the last one with the quorum's cosignatures."""
    projected: int
    """Entries that can be searched."""
    projection_lag: int
    projection_stopped_at: int | None
    """The entry that cannot be projected, so that nothing from it on can be searched; none where
    the projection goes on. The service's journal says why."""
    quorum: int
    """Organisations that must cosign."""
    quorum_age_s: int | None
    """Seconds since the quorum was complete last, by the witnesses' own times."""
    witnesses: tuple[WitnessShape, ...]
    undelivered: int
    """Entries of the audit service itself that are on their way into the log."""
    contradictions: int
    """Checkpoints that others hold against this log; if there is one, people must look now."""


def health(connection: Connection, policy: WitnessPolicy, *, now_us: int) -> dict[str, Any]:
    """How the log stands."""
    latest, witnessed = store.latest_checkpoint(connection), store.latest_witnessed(connection)
    signed, projected = latest[0] if latest else 0, projected_size(connection)
    return {
        "is_sequencer_alive": tree.is_kept(connection),
        "signed": signed,
        "witnessed": witnessed[0] if witnessed else 0,
        "projected": projected,
        "projection_lag": max(0, signed - projected),
        "projection_stopped_at": stopped_at(connection),
        "quorum": policy.quorum,
        "quorum_age_s": _age_s(connection, policy, witnessed, now_us=now_us),
        "witnesses": _witnesses(connection, policy),
        "undelivered": _undelivered(connection),
        "contradictions": _contradictions(connection),
    }


def _age_s(
    connection: Connection, policy: WitnessPolicy, witnessed: tuple[int, str] | None, *, now_us: int
) -> int | None:
    if witnessed is None:
        return None
    note = add_cosignatures(witnessed[1], store.cosignatures(connection, witnessed[0]))
    times = [cosignature.time_s for cosignature in policy.cosignatures(note)]
    return max(0, now_us // 1_000_000 - max(times)) if times else None


def _witnesses(connection: Connection, policy: WitnessPolicy) -> tuple[WitnessShape, ...]:
    return tuple(
        _witness(connection, policy, name=known.verifier.name, organisation=known.organisation)
        for known in policy.witnesses
    )


def _witness(
    connection: Connection, policy: WitnessPolicy, *, name: str, organisation: str
) -> WitnessShape:
    row = connection.execute(
        """
        SELECT size, note, line
        FROM audit_cosignature JOIN audit_checkpoint USING (size)
        WHERE witness = %s
        ORDER BY size DESC
        LIMIT 1
        """,
        [name],
    ).fetchone()
    size = time_s = None
    if row is not None:
        cosigned = policy.cosignatures(add_cosignatures(row[1], [row[2]]))
        size, time_s = row[0], max((one.time_s for one in cosigned), default=None)
    return WitnessShape(name=name, organisation=organisation, size=size, time_s=time_s)


def _undelivered(connection: Connection) -> int:
    row = connection.execute(
        """
        SELECT count(*)
        FROM outbox_entry LEFT JOIN outbox_delivery USING (log, producer, seq)
        WHERE outbox_delivery.seq IS NULL
        """
    ).fetchone()
    return int(row[0]) if row else 0


def _contradictions(connection: Connection) -> int:
    row = connection.execute(
        """
        SELECT (SELECT count(*) FROM audit_claim) + (SELECT count(*) FROM audit_equivocation)
        """
    ).fetchone()
    return int(row[0]) if row else 0
