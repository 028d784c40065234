"""Findings: what in the log asks for a person's attention, found again at every call.

The one rule: nothing is judged here that the entries do not show: a gap, a late entry, a clock, an
opening without an end, a fork somebody holds, somebody turned away, somebody overruled. Whether a
round or a charge was allowed is for `python -m audit verify`, which needs nobody's word.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from audit.checkpoint import Checkpoint
from audit.desk import search
from audit.desk.search import Connection, Search
from audit.desk.shapes import Answer, Index, Shape
from audit.desk.statements import ACCESS_REFUSED
from audit.note import Note
from audit.ordering import store
from audit.searching.oddities import Oddity
from audit.witnesses import claims

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
        _unsearched,
        _gaps,
        _anomalies,
        _refused_access,
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


def _unsearched(connection: Connection) -> Iterator[FindingShape]:
    """Entries that somebody took out of what is searched; the log itself still has them."""
    row = connection.execute("SELECT coalesce(max(idx) + 1, 0) - count(*) FROM audit_event")
    (missing,) = row.fetchone() or (0,)
    if not missing:
        return
    rows = connection.execute(
        """
        SELECT idx
        FROM generate_series(0, (SELECT max(idx) FROM audit_event)) AS every (idx)
        WHERE NOT EXISTS (SELECT FROM audit_event WHERE audit_event.idx = every.idx)
        LIMIT %s
        """,
        [SHOWN],
    )
    yield FindingShape(
        kind="gap",
        gravity="fault",
        explanation=f"{missing} entries were taken out of what is searched; the log has them, and "
        "`wardround audit project --again` finds them",
        producer=None,
        time_us=None,
        entries=tuple(sorted(index for (index,) in rows)),
    )


def _gaps(connection: Connection) -> Iterator[FindingShape]:
    """Numbers of a producer that are missing between two of its entries, or come twice."""
    for odd in _odd(connection, Oddity.GAP):
        between = f"between entries {odd.last_index} and {odd.index}"
        if odd.last_index is None:
            between = f"before entry {odd.index}"
        yield odd.finding(
            "fault",
            f"{odd.amount} entries are missing {between}"
            if odd.amount > 0
            else f"the numbers start again {between}",
        )


def _late(connection: Connection) -> Iterator[FindingShape]:
    for odd in _odd(connection, Oddity.LATE):
        yield odd.finding(
            "remark", f"dated {odd.amount // 1_000_000} s before an entry that stands before it"
        )


def _clocks(connection: Connection) -> Iterator[FindingShape]:
    """Producers whose own clock stepped back between two of their entries."""
    for odd in _odd(connection, Oddity.CLOCK):
        yield odd.finding("remark", f"the producer's clock stepped back by {odd.amount // 1000} ms")


@dataclass(frozen=True, slots=True)
class _Odd:
    """What was odd about an entry when it was projected."""

    kind: Oddity
    index: int
    producer: str
    time_us: int
    last_index: int | None
    amount: int

    def finding(self, gravity: Gravity, explanation: str) -> FindingShape:
        last = () if self.last_index is None else (self.last_index,)
        return FindingShape(
            kind=self.kind.value,
            gravity=gravity,
            explanation=explanation,
            producer=self.producer,
            time_us=self.time_us,
            entries=(*last, self.index),
        )


def _odd(connection: Connection, kind: Oddity) -> Iterator[_Odd]:
    rows = connection.execute(
        """
        SELECT idx, producer, time_us, last_idx, amount
        FROM audit_oddity
        WHERE kind = %s
        ORDER BY idx
        LIMIT %s
        """,
        [kind, SHOWN + 1],
    )
    for row in rows:
        yield _Odd(kind, *row)


_ANOMALIES: dict[str, tuple[Kind, Gravity]] = {
    ACCESS_REFUSED: ("refused-access", "remark"),
    "anomaly.clock_skew": ("clock", "remark"),
    "anomaly.fork_seen": ("fork", "fault"),
    "anomaly.receipt_overdue": ("overdue-receipt", "fault"),
}


def _anomalies(connection: Connection) -> Iterator[FindingShape]:
    """What parties themselves reported as out of order, but for whom the desk turned away.

    Those are found apart: whoever knocks at the desk often enough must not push a
    fork off the page.
    """
    known = tuple(t for t in search.types(connection, "anomaly.") if t != ACCESS_REFUSED)
    if known:
        yield from _reported(search.facts(connection, Search(), known, limit=SHOWN + 1))


def _refused_access(connection: Connection) -> Iterator[FindingShape]:
    wanted = Search(type=ACCESS_REFUSED)
    yield from _reported(search.facts(connection, wanted, limit=SHOWN + 1))


def _reported(facts: Iterable[search.Fact]) -> Iterator[FindingShape]:
    for fact in facts:
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
    wanted = Search(type="oversight.override")
    for fact in search.facts(connection, wanted, limit=SHOWN + 1):
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
        WITH ended_round AS MATERIALIZED (
            SELECT DISTINCT run_id, round FROM audit_event
            WHERE type IN ('round.closed', 'round.abandoned')
        ), ended_run AS MATERIALIZED (
            SELECT DISTINCT run_id FROM audit_event
            WHERE type IN ('run.completed', 'run.halted')
        )
        SELECT opened.idx, opened.run_id, opened.round, opened.producer, opened.time_us
        FROM audit_event opened
        WHERE opened.type = 'round.opened'
            AND jsonb_typeof(opened.facts -> 'deadline_us') = 'number'
            AND (opened.facts ->> 'deadline_us')::numeric < %s
            AND NOT EXISTS (
                SELECT FROM ended_round
                WHERE ended_round.run_id = opened.run_id AND ended_round.round = opened.round
            )
            AND NOT EXISTS (SELECT FROM ended_run WHERE ended_run.run_id = opened.run_id)
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
