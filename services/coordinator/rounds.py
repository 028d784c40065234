"""One round: opened on the record, collected as replies arrive, closed on its quorum or abandoned.

The one rule: a state and the event that says so commit together, and no order leaves before a
quorum of hospitals has seen the opening. A round that closes names everyone who is not in it.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from protocol import events
from protocol.catalogue import layout_of
from protocol.round import Closing, Exclusion, Opening, OrderKind, RoundState
from protocol.update import Packed, packed_digest
from protocol.words import Detail, Reason
from services.centre import Centre
from services.coordinator import store
from services.coordinator.aggregate import Aggregate, Aggregator
from services.coordinator.collection import Collection
from services.coordinator.grid import Grid
from services.coordinator.intake import Intake
from services.coordinator.orders import Run, Warrant, await_warrant, orders_for
from services.coordinator.updates import StoredUpdates
from services.registry.store import hold_active

GATHER_S = 60.0
"""How long a round waits for a quorum to come on line before it opens with those it has."""

STRAGGLER_S = 10.0
"""How long it waits for the others once a quorum is there."""

_ASKING_S = 5.0
"""How long the log is asked about an opening even when its deadline has passed meanwhile."""


@dataclass(slots=True)
class Course:
    """How far a run has come."""

    model: Packed
    aggregator: Aggregator


def conduct_round(centre: Centre, run: Run, grid: Grid, *, number: int, course: Course) -> None:
    """Carry out round `number`; the course has the new model, unless the round was abandoned.

    One that a stop has left open goes on: with the same opening, so that whoever has trained sends
    what it has kept, and without those about whom something has been decided.

    Raises:
        GridError: the centre's own transport failed; the round is left open.
        NotActiveError: the plan was withdrawn; nothing was opened.
    """
    model = course.model
    begun = _left_open(centre, run, grid, number=number)
    begun = begun or _open(centre, run, grid, number=number, model=model)
    opening, present = begun.opening, begun.present
    asking_s = max(_ASKING_S, _left_s(centre, opening))
    warrant = await_warrant(centre.log, begun.entry, timeout_s=asking_s)
    intake = Intake(centre, run, opening, float(np.linalg.norm(model.astype(np.float64))))
    collection = Collection.begin(intake)
    for exclusion in _absentees(opening, present, warrant):
        if exclusion.site not in collection.decided:
            collection.leave_out(exclusion)
    if warrant is not None:
        sites = tuple(site for site in present if site not in collection.decided)
        orders = orders_for(run, OrderKind.TRAIN, sites=sites, warrant=warrant, model=model)
        for result in grid.exchange(orders, timeout_s=_left_s(centre, opening)):
            collection.arrive(result)
        collection.settle()
    _end(centre, run, number=number, course=course, collection=collection)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A round that is open."""

    opening: Opening
    entry: bytes
    """The signed opening."""
    present: tuple[str, ...]
    """The signers on line."""


def _left_open(centre: Centre, run: Run, grid: Grid, *, number: int) -> _Begun | None:
    """A round that was opened before a stop.

    Raises:
        NotActiveError: the plan was withdrawn meanwhile.
    """
    with centre.pool.connection() as connection:
        hold_active(connection, run.plan.id)
        found = [one for one in store.load_rounds(connection, run.run_id) if one.number == number]
    for stored in found:
        if stored.opening is not None and stored.entry is not None:
            present = _gather(run, grid, limit_s=_left_s(centre, stored.opening))
            return _Begun(stored.opening, stored.entry, present)
    return None


def abandon_open_rounds(centre: Centre, run: Run, *, detail: Detail) -> None:
    """Abandon, on the record, what a coordinator that stopped has left open."""
    with centre.pool.connection() as connection:
        for stored in store.load_rounds(connection, run.run_id):
            if stored.state is RoundState.OPEN:
                exclusions = tuple(
                    Exclusion(site=site, reason=Reason.INTERNAL_ERROR, detail=detail)
                    for site in run.signers
                )
                closing = _closing(run, stored.number, exclusions=exclusions)
                now_us = centre.clock_us()
                store.end_round(connection, closing, RoundState.ABANDONED, changed_us=now_us)
                centre.outbox.append(connection, events.round_abandoned(closing))


def _gather(run: Run, grid: Grid, *, limit_s: float) -> tuple[str, ...]:
    """The signers on line, once all are or the wait is over."""
    waited_s, aggregation = 0.0, run.plan.aggregation
    while True:
        on_line = grid.sites()
        present = tuple(site for site in run.signers if site in on_line)
        patience_s = STRAGGLER_S if len(present) >= aggregation.quorum else GATHER_S
        if len(present) == len(run.signers) or waited_s >= min(patience_s, limit_s):
            return present
        time.sleep(0.5)
        waited_s += 0.5


def _open(centre: Centre, run: Run, grid: Grid, *, number: int, model: Packed) -> _Begun:
    """Open a round, once a quorum is on line or the wait is over.

    Raises:
        NotActiveError: the plan was withdrawn.
    """
    present = _gather(run, grid, limit_s=float(run.plan.aggregation.deadline_s))
    opening = _opening(centre, run, number=number, model=model)
    now_us = centre.clock_us()
    with centre.pool.connection() as connection:
        hold_active(connection, run.plan.id)
        entry = centre.outbox.append(connection, events.round_opened(opening))
        store.insert_round(connection, run.run_id, number, changed_us=now_us)
        store.open_round(connection, opening, entry=entry, changed_us=now_us)
    return _Begun(opening, entry, present)


def _opening(centre: Centre, run: Run, *, number: int, model: Packed) -> Opening:
    deadline_us = centre.clock_us() + run.plan.aggregation.deadline_s * 1_000_000
    return Opening(
        plan_id=run.plan.id,
        run_id=run.run_id,
        round=number,
        sites=run.signers,
        model_digest=packed_digest(model),
        layout_digest=layout_of(run.plan.network).digest,
        deadline_us=deadline_us,
    )


def _absentees(
    opening: Opening, present: tuple[str, ...], warrant: Warrant | None
) -> Iterator[Exclusion]:
    """The sites that are sent no order, and why."""
    for site in opening.sites:
        if site not in present:
            yield Exclusion(site=site, reason=Reason.UNREACHABLE, detail=Detail.NOT_ON_LINE)
        elif warrant is None:
            yield Exclusion(site=site, reason=Reason.LATE, detail=Detail.OPENING_UNSEEN)


def _end(centre: Centre, run: Run, *, number: int, course: Course, collection: Collection) -> None:
    """Close the round with its new model, or abandon it and apply nothing."""
    closes = len(collection.participants) >= run.plan.aggregation.quorum
    made = _aggregate(centre, collection, course) if closes else None
    closing = _closing(
        run,
        number,
        exclusions=tuple(collection.exclusions),
        taken=tuple(zip(collection.participants, collection.digests, strict=True)),
        made=made,
    )
    now_us = centre.clock_us()
    with centre.pool.connection() as connection:
        if made is None:
            store.end_round(connection, closing, RoundState.ABANDONED, changed_us=now_us)
            centre.outbox.append(connection, events.round_abandoned(closing))
        else:
            digest = store.save_model(connection, made.model)
            store.set_run_model(connection, run.run_id, digest)
            store.end_round(connection, closing, RoundState.CLOSED, changed_us=now_us)
            centre.outbox.append(connection, events.round_closed(closing))
    if made is not None:
        course.model = made.model


def _aggregate(centre: Centre, collection: Collection, course: Course) -> Aggregate:
    opening = collection.intake.opening
    with centre.pool.connection() as connection:
        updates = StoredUpdates(
            connection,
            opening.run_id,
            opening.round,
            sites=collection.participants,
            digests=collection.digests,
            size=course.model.size,
        )
        return course.aggregator.aggregate(course.model, updates)


def _closing(
    run: Run,
    number: int,
    *,
    exclusions: tuple[Exclusion, ...],
    taken: tuple[tuple[str, str], ...] = (),
    made: Aggregate | None = None,
) -> Closing:
    return Closing(
        plan_id=run.plan.id,
        run_id=run.run_id,
        round=number,
        participants=tuple(site for site, _ in taken),
        update_digests=tuple(digest for _, digest in taken),
        exclusions=tuple(sorted(exclusions, key=lambda one: one.site)),
        rule=run.plan.aggregation.rule,
        quorum=run.plan.aggregation.quorum,
        aggregate_digest=None if made is None else packed_digest(made.model),
        weights=() if made is None else made.weights,
    )


def _left_s(centre: Centre, opening: Opening) -> float:
    return max(0.0, (opening.deadline_us - centre.clock_us()) / 1e6)


def rounds_closed(centre: Centre, run_id: str) -> int:
    """How many rounds of a run closed with an aggregate."""
    with centre.pool.connection() as connection:
        rounds = store.load_rounds(connection, run_id)
    return sum(stored.state is RoundState.CLOSED for stored in rounds)


def rounds_ended(centre: Centre, run_id: str) -> int:
    """How many rounds of a run have ended, one way or the other."""
    with centre.pool.connection() as connection:
        rounds = store.load_rounds(connection, run_id)
    return sum(stored.closing is not None for stored in rounds)
