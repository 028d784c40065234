"""The timeline of a run: its rounds, who took part, who was left out and why, moment by moment.

The one rule: what is said about a round comes from its opening, its closing and the hospitals' own
entries, and each is named by its index.
"""

from collections.abc import Iterable
from typing import Any

from audit.desk import search
from audit.desk.search import Connection, Fact, Search
from audit.desk.shapes import Answer, Index, Shape

_OPENED = "round.opened"
_ENDED = ("round.closed", "round.abandoned")
_RUN = ("run.created", "run.resumed", "run.completed", "run.halted", "model.candidate")


class LeftOut(Shape):
    """A hospital that a round was opened to, and whose update is not in its aggregate."""

    site: str
    reason: str
    detail: str | None
    index: Index


class Charged(Shape):
    """What a hospital charged to its patients for a round."""

    site: str
    epsilon: str | None
    """Cumulative ε of the account after it, as logged."""
    index: Index


class RoundShape(Shape):
    """One round."""

    round: int
    state: str
    """`open`, `closed` or `abandoned`."""
    opened_us: int | None
    deadline_us: int | None
    ended_us: int | None
    invited: tuple[str, ...]
    participants: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    charges: tuple[Charged, ...]
    model_in: str | None
    model_out: str | None
    rule: str | None
    quorum: int | None
    manifests: tuple[str, ...]
    """Commitments to the data that the participants said they used."""
    entries: tuple[Index, ...]
    """Everything above rests on these."""


class RunShape(Shape):
    """One run, in brief."""

    run_id: str
    plan_id: str | None
    state: str
    """`running`, `completed` or `halted`."""
    reason: str | None
    """Why it was halted."""
    rounds_planned: int | None
    rounds_closed: int
    rounds_abandoned: int
    candidates: tuple[str, ...]
    """Digests of its candidate models."""
    first_us: int
    last_us: int
    entries: tuple[Index, ...]


class Moment(Shape):
    """One entry of a run."""

    index: Index
    time_us: int
    type: str
    producer: str
    organisation: str | None
    actor: str | None
    outcome: int
    round: int | None


class RunsAnswer(Answer):
    """Every run that the log knows."""

    runs: tuple[RunShape, ...]


class TimelineAnswer(Answer):
    """A run, round by round and moment by moment."""

    run: RunShape | None
    """None where the log knows no run of this id."""
    rounds: tuple[RoundShape, ...]
    moments: tuple[Moment, ...]
    next_after: int | None
    """`after` of the next page of moments; none when all have been shown."""


def runs(connection: Connection) -> dict[str, Any]:
    """Every run, in the order of their first entries."""
    found = search.facts(connection, Search(), (*_RUN, _OPENED, *_ENDED))
    by_run: dict[str, list[Fact]] = {}
    for fact in found:
        if fact.run_id is not None:
            by_run.setdefault(fact.run_id, []).append(fact)
    return {"runs": tuple(_run(run_id, facts) for run_id, facts in by_run.items())}


def timeline(connection: Connection, run_id: str, *, after: int, limit: int) -> dict[str, Any]:
    """One run; of its moments, the first `limit` beyond index `after`."""
    found = search.facts(connection, Search(run_id=run_id))
    shown = [fact for fact in found if fact.index > after]
    return {
        "run": _run(run_id, found) if found else None,
        "rounds": rounds_of(found),
        "moments": tuple(map(_moment, shown[:limit])),
        "next_after": shown[limit - 1].index if len(shown) > limit else None,
    }


def rounds_of(found: Iterable[Fact]) -> tuple[RoundShape, ...]:
    """The rounds of one run, from its facts in log order."""
    by_round: dict[int, list[Fact]] = {}
    for fact in found:
        if fact.round:
            by_round.setdefault(fact.round, []).append(fact)
    return tuple(_round(number, facts) for number, facts in sorted(by_round.items()))


def _round(number: int, facts: list[Fact]) -> RoundShape:
    opening = _first(facts, (_OPENED,))
    ending = _first(facts, _ENDED)
    sent = [fact for fact in facts if fact.type == "update.sent"]
    charges = [fact for fact in facts if fact.type == "privacy.charged"]
    based_on = [opening, ending, *sent, *charges]
    return RoundShape(
        round=number,
        state=ending.type.removeprefix("round.") if ending else "open",
        opened_us=opening.time_us if opening else None,
        deadline_us=opening.number("deadline_us") if opening else None,
        ended_us=ending.time_us if ending else None,
        invited=opening.texts("sites") if opening else (),
        participants=ending.texts("participants") if ending else (),
        left_out=_left_out(ending) if ending else (),
        charges=tuple(
            Charged(site=fact.text("site") or "", epsilon=fact.text("epsilon"), index=fact.index)
            for fact in charges
        ),
        model_in=opening.text("model_digest") if opening else None,
        model_out=ending.text("aggregate_digest") if ending else None,
        rule=ending.text("rule") if ending else None,
        quorum=ending.number("quorum") if ending else None,
        manifests=_manifests(sent),
        entries=tuple(sorted(fact.index for fact in based_on if fact)),
    )


def _manifests(sent: list[Fact]) -> tuple[str, ...]:
    named = {fact.inner("provenance").get("manifest") for fact in sent}
    return tuple(sorted(name for name in named if isinstance(name, str)))


def _left_out(ending: Fact) -> tuple[LeftOut, ...]:
    return tuple(
        LeftOut(
            site=str(one.get("site", "")),
            reason=str(one.get("reason", "")),
            detail=str(one["detail"]) if one.get("detail") else None,
            index=ending.index,
        )
        for one in ending.objects("exclusions")
    )


def _run(run_id: str, facts: list[Fact]) -> RunShape:
    created = _first(facts, ("run.created",))
    end = _first(facts, ("run.completed", "run.halted"))
    endings = {fact.round: fact for fact in reversed(facts) if fact.type in _ENDED}
    candidates = [fact for fact in facts if fact.type == "model.candidate"]
    based_on = [created, end, *endings.values(), *candidates]
    kinds = [fact.type for fact in endings.values()]
    return RunShape(
        run_id=run_id,
        plan_id=next((fact.plan_id for fact in facts if fact.plan_id), None),
        state=end.type.removeprefix("run.") if end else "running",
        reason=end.text("reason") if end else None,
        rounds_planned=created.number("rounds") if created else None,
        rounds_closed=kinds.count("round.closed"),
        rounds_abandoned=kinds.count("round.abandoned"),
        candidates=tuple(filter(None, (fact.text("model_digest") for fact in candidates))),
        first_us=min(fact.time_us for fact in facts),
        last_us=max(fact.time_us for fact in facts),
        entries=tuple(sorted(fact.index for fact in based_on if fact)),
    )


def _moment(fact: Fact) -> Moment:
    return Moment(
        index=fact.index,
        time_us=fact.time_us,
        type=fact.type,
        producer=fact.producer,
        organisation=fact.organisation,
        actor=fact.actor,
        outcome=fact.outcome,
        round=fact.round,
    )


def _first(facts: Iterable[Fact], types: tuple[str, ...]) -> Fact | None:
    return next((fact for fact in facts if fact.type in types), None)
