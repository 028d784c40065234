"""Findings: what in the log asks for a person's attention, found again at every call.

The one rule: nothing is judged here that the entries do not show: a gap, a late entry, a clock, an
opening without an end, a fork somebody holds, somebody turned away, somebody overruled. Whether a
round or a charge was allowed is for `python -m audit verify`, which needs nobody's word.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Literal

from audit import claims, store
from audit.checkpoint import Checkpoint
from audit.desk import search
from audit.desk.search import Connection, Search
from audit.desk.shapes import Answer, Index, Shape
from audit.note import Note

LATE_US = 3_600_000_000
"""An entry dated an hour before one that stands before it came late: an outbox waits seconds."""

SHOWN = 200
"""Findings of one kind in one answer; the first ones, since the cause is usually there."""

Kind = Literal[
    "gap", "late", "clock", "fork", "unanswered-opening", "anomaly", "refused-access",
    "overdue-receipt", "override",
]  # fmt: skip
Gravity = Literal["fault", "remark"]


class FindingShape(Shape):
    """One thing to look at."""

    kind: Kind
    gravity: Gravity
    """A fault cannot happen among honest parties that are well; a remark can."""
    explanation: str
    producer: str | None
    time_us: int | None
    entries: tuple[Index, ...]


class FindingsAnswer(Answer):
    """Everything that asks for attention."""

    findings: tuple[FindingShape, ...]
    is_complete: bool
    """Whether every kind is shown whole; otherwise its first ones."""


def findings(connection: Connection, *, now_us: int) -> dict[str, Any]:
    """Everything that asks for attention, kind by kind, the gravest first."""
    kinds: tuple[Callable[[Connection], Iterator[FindingShape]], ...] = (
        _forks,
        _gaps,
        _anomalies,
        lambda connection: _unanswered(connection, now_us),
        _late,
        _clocks,
        _overrides,
    )
    shown = [tuple(islice(find(connection), SHOWN + 1)) for find in kinds]
    return {
        "findings": tuple(finding for found in shown for finding in found[:SHOWN]),
        "is_complete": all(len(found) <= SHOWN for found in shown),
    }


def _forks(connection: Connection) -> Iterator[FindingShape]:
    for claimed, _ in store.claims(connection):
        yield _of_log(f"a witness holds a checkpoint of {claimed} entries that is not of this log")
    for claim in claims.read_claims(connection):
        seen, offered = (
            _size(note) for note in (claim.equivocation.seen, claim.equivocation.offered)
        )
        yield _of_log(
            f"two checkpoints under the log's signature, of {seen} and of {offered} entries, are "
            f"held against each other: {claim.verdict}"
        )


def _size(note: str) -> int:
    return Checkpoint.parse(Note.parse(note).text).size


def _of_log(explanation: str) -> FindingShape:
    return FindingShape(
        kind="fork",
        gravity="fault",
        explanation=explanation,
        producer=None,
        time_us=None,
        entries=(),
    )


def _gaps(connection: Connection) -> Iterator[FindingShape]:
    """Numbers of a producer that are missing, between the entries that stand around them."""
    rows = connection.execute(
        """
        WITH broken AS (
            SELECT producer FROM audit_event
            GROUP BY producer HAVING count(*) <> max(seq) + 1 OR min(seq) <> 0
        ), numbered AS (
            SELECT producer, idx, seq, lag(seq, 1, -1) OVER chain AS last, lag(idx) OVER chain AS at
            FROM audit_event JOIN broken USING (producer)
            WINDOW chain AS (PARTITION BY producer ORDER BY seq)
        )
        SELECT producer, last, seq, at, idx
        FROM numbered
        WHERE seq <> last + 1
        ORDER BY idx
        LIMIT %s
        """,
        [SHOWN + 1],
    )
    for producer, last, seq, before, index in rows:
        yield FindingShape(
            kind="gap",
            gravity="fault",
            explanation=f"{seq - last - 1} entries are missing between numbers {last} and {seq}",
            producer=producer,
            time_us=None,
            entries=tuple(at for at in (before, index) if at is not None),
        )


def _late(connection: Connection) -> Iterator[FindingShape]:
    rows = connection.execute(
        """
        SELECT idx, producer, time_us, latest - time_us
        FROM (
            SELECT idx, producer, time_us, max(time_us) OVER (ORDER BY idx) AS latest
            FROM audit_event
        ) AS dated
        WHERE latest - time_us > %s
        ORDER BY idx
        LIMIT %s
        """,
        [LATE_US, SHOWN + 1],
    )
    for index, producer, time_us, late_us in rows:
        yield FindingShape(
            kind="late",
            gravity="remark",
            explanation=f"dated {late_us // 1_000_000} s before an entry that stands before it",
            producer=producer,
            time_us=time_us,
            entries=(index,),
        )


def _clocks(connection: Connection) -> Iterator[FindingShape]:
    """Producers whose own clock stepped back between two of their entries."""
    rows = connection.execute(
        """
        SELECT idx, at, producer, time_us, last - time_us
        FROM (
            SELECT idx, producer, time_us,
                lag(time_us) OVER chain AS last, lag(idx) OVER chain AS at
            FROM audit_event
            WINDOW chain AS (PARTITION BY producer ORDER BY idx)
        ) AS dated
        WHERE time_us < last
        ORDER BY idx
        LIMIT %s
        """,
        [SHOWN + 1],
    )
    for index, before, producer, time_us, back_us in rows:
        yield FindingShape(
            kind="clock",
            gravity="remark",
            explanation=f"the producer's clock stepped back by {back_us // 1000} ms",
            producer=producer,
            time_us=time_us,
            entries=(before, index),
        )


_ANOMALIES: dict[str, tuple[Kind, Gravity]] = {
    "anomaly.access_refused": ("refused-access", "remark"),
    "anomaly.clock_skew": ("clock", "remark"),
    "anomaly.fork_seen": ("fork", "fault"),
    "anomaly.receipt_overdue": ("overdue-receipt", "fault"),
}


def _anomalies(connection: Connection) -> Iterator[FindingShape]:
    """What parties themselves reported as out of order."""
    for fact in search.facts(connection, Search(type="anomaly.")):
        kind, gravity = _ANOMALIES.get(fact.type, ("anomaly", "fault"))
        reason = fact.text("reason")
        yield FindingShape(
            kind=kind,
            gravity=gravity,
            explanation=f"reported: {fact.type}" + (f" ({reason})" if reason else ""),
            producer=fact.producer,
            time_us=fact.time_us,
            entries=(fact.index,),
        )


def _overrides(connection: Connection) -> Iterator[FindingShape]:
    for fact in search.facts(connection, Search(), ("oversight.override",)):
        yield FindingShape(
            kind="override",
            gravity="remark",
            explanation=f"a person decided {fact.text('after')} where it had been "
            f"{fact.text('before')} ({fact.text('subject')})",
            producer=fact.producer,
            time_us=fact.time_us,
            entries=(fact.index,),
        )


def _unanswered(connection: Connection, now_us: int) -> Iterator[FindingShape]:
    """Rounds whose deadline has passed without a closing or an end of their run."""
    rows = connection.execute(
        """
        SELECT opened.idx, opened.run_id, opened.round, opened.producer, opened.time_us
        FROM audit_event opened
        WHERE opened.type = 'round.opened'
            AND jsonb_typeof(opened.facts -> 'deadline_us') = 'number'
            AND (opened.facts ->> 'deadline_us')::numeric < %s
            AND NOT EXISTS (
                SELECT FROM audit_event ended
                WHERE ended.run_id = opened.run_id AND ended.round = opened.round
                    AND ended.type IN ('round.closed', 'round.abandoned')
            )
            AND NOT EXISTS (
                SELECT FROM audit_event ended
                WHERE ended.run_id = opened.run_id
                    AND ended.type IN ('run.completed', 'run.halted')
            )
        ORDER BY opened.idx
        LIMIT %s
        """,
        [now_us, SHOWN + 1],
    )
    for index, run_id, number, producer, time_us in rows:
        yield FindingShape(
            kind="unanswered-opening",
            gravity="remark",
            explanation=f"round {number} of {run_id} is past its deadline and neither closed nor "
            "abandoned",
            producer=producer,
            time_us=time_us,
            entries=(index,),
        )
