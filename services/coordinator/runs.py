"""Runs: from an active plan to a candidate, round by round.

The one rule: a run ends on the record, as completed or as halted with its reason. One that was cut
off goes on where it stood, and the record says so; it is never silently lost.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

from audit.ids import RANDOM_BYTES, uuid7
from protocol import events
from protocol.catalogue import initial_state
from protocol.run import (
    Contribution,
    RunEnd,
    RunHalt,
    RunResumption,
    RunStart,
    contribution_of,
)
from protocol.words import HALTS, Detail, Halt
from services.centre import Centre
from services.coordinator import store
from services.coordinator.evaluation import evaluate_candidate
from services.coordinator.grid import Grid
from services.coordinator.orders import Run
from services.coordinator.replay import resumed_aggregator
from services.coordinator.rounds import (
    Course,
    abandon_open_rounds,
    conduct_round,
    rounds_closed,
    rounds_ended,
)
from services.database import Connection
from services.errors import BusyError, NotActiveError
from services.registry.ballots import SignedBallot, ballot_in
from services.registry.store import hold_active, load_plan

_OPEN_ROUNDS = {
    Halt.COORDINATOR_STOPPED: Detail.COORDINATOR_STOPPED,
    Halt.TRANSPORT_FAILED: Detail.TRANSPORT_FAILED,
    Halt.PLAN_WITHDRAWN: Detail.PLAN_WITHDRAWN,
}
"""What the sites of a round that a halt leaves open are told; other halts come between rounds."""

OpenGrid = Callable[[], AbstractContextManager[Grid]]
"""Opens a way to the sites for the length of one run."""


def create_run(centre: Centre, plan_id: str) -> str:
    """Begin a run of an active plan; returns its id. Nothing is sent yet.

    Raises:
        NotFoundError: no such plan.
        NotActiveError: its ballots have not made it active, or it has expired.
        BusyError: a run is in progress.
    """
    now_us = centre.clock_us()
    run_id = uuid7(now_us, centre.random_bytes(RANDOM_BYTES))
    with centre.pool.connection() as connection:
        stored = load_plan(connection, plan_id)
        if stored.state == "withdrawn":
            raise NotActiveError(f"plan {plan_id} was withdrawn; propose another one")
        if stored.state != "active":
            raise NotActiveError(
                f"plan {plan_id} is not active; hospitals vote, then `wardround centre activate`"
            )
        if stored.plan.expires_us <= now_us:
            raise NotActiveError(f"plan {plan_id} has expired; propose it again with a later time")
        hold_active(connection, plan_id)
        connection.execute("LOCK TABLE runs IN SHARE ROW EXCLUSIVE MODE")
        running = [run.run_id for run in store.load_runs(connection) if run.state == "running"]
        if running:
            raise BusyError(f"run {running[0]} is in progress; one runs at a time")
        digest = store.save_model(connection, initial_state(stored.plan.network))
        store.insert_run(connection, run_id, plan_id, model_digest=digest, created_us=now_us)
        start = RunStart(plan_id=plan_id, run_id=run_id, rounds=stored.plan.rounds)
        centre.outbox.append(connection, events.run_created(start))
    return run_id


def carry_out(
    centre: Centre, run_id: str, open_grid: OpenGrid, *, cut_off: Halt | None = None
) -> None:
    """Take a run through all its rounds to its candidate and its evaluations, and end it.

    `cut_off` is what stopped an earlier attempt: the record says so, and the run goes on where it
    stood. A site that has trained for the round at hand sends what it has kept, and nothing is
    charged a second time.

    Raises:
        GridError: the centre's own transport failed; the run is left where it stands.
    """
    run = load_run(centre, run_id)
    try:
        with open_grid() as grid:
            if cut_off is not None:
                _say_resumed(centre, run, cut_off)
            _carry_out(centre, run, grid)
    except NotActiveError:
        halt(centre, run_id, Halt.PLAN_WITHDRAWN)


def left_running(centre: Centre) -> tuple[str, ...]:
    """The runs that have not ended, the oldest first."""
    with centre.pool.connection() as connection:
        runs = store.load_runs(connection)
    return tuple(run.run_id for run in reversed(runs) if run.state == "running")


def halt(centre: Centre, run_id: str, reason: Halt) -> None:
    """End a run on the record, with its reason; one that has ended stays as it is."""
    run = load_run(centre, run_id)
    abandon_open_rounds(centre, run, detail=_OPEN_ROUNDS.get(reason, Detail.NONE))
    said = RunHalt(plan_id=run.plan.id, run_id=run.run_id, reason=reason)
    with centre.pool.connection() as connection:
        if _end(centre, connection, run, state="halted", explanation=HALTS[reason]):
            centre.outbox.append(connection, events.run_halted(said))


def _say_resumed(centre: Centre, run: Run, cut_off: Halt) -> None:
    resumption = RunResumption(
        plan_id=run.plan.id,
        run_id=run.run_id,
        reason=cut_off,
        rounds_ended=rounds_ended(centre, run.run_id),
    )
    with centre.pool.connection() as connection:
        centre.outbox.append(connection, events.run_resumed(resumption))


def load_run(centre: Centre, run_id: str) -> Run:
    """A run with its plan and its ballots.

    Raises:
        NotFoundError: there is none.
    """
    with centre.pool.connection() as connection:
        stored = load_plan(connection, store.load_run(connection, run_id).plan_id)
    ballots = tuple(SignedBallot(ballot_in(entry), entry) for entry in stored.ballots)
    return Run(run_id, stored.plan, stored.signers, ballots)


def _carry_out(centre: Centre, run: Run, grid: Grid) -> None:
    with centre.pool.connection() as connection:
        stored = store.load_run(connection, run.run_id)
        model = store.load_model(connection, stored.model_digest)
    course = Course(model, resumed_aggregator(centre, run))
    for number in range(rounds_ended(centre, run.run_id) + 1, run.plan.rounds + 1):
        conduct_round(centre, run, grid, number=number, course=course)
    completed = rounds_closed(centre, run.run_id)
    if completed == 0:
        halt(centre, run.run_id, Halt.NO_QUORUM)
        return
    if not evaluate_candidate(centre, run, grid, rounds_completed=completed, model=course.model):
        halt(centre, run.run_id, Halt.CANDIDATE_UNSEEN)
        return
    end = RunEnd(
        plan_id=run.plan.id,
        run_id=run.run_id,
        rounds_completed=completed,
        rounds_planned=run.plan.rounds,
    )
    with centre.pool.connection() as connection:
        if _end(centre, connection, run, state="completed", explanation=""):
            centre.outbox.append(connection, events.run_completed(end))
            scored = events.contribution_scored(_contribution(connection, run))
            centre.outbox.append(connection, scored)


def _contribution(connection: Connection, run: Run) -> Contribution:
    """Who took part in the run's aggregates, from the closings as they are on the record."""
    rounds = store.load_rounds(connection, run.run_id)
    closings = [stored.closing for stored in rounds if stored.closing is not None]
    return contribution_of(run.plan, run.run_id, signers=run.signers, closings=closings)


def _end(centre: Centre, connection: Connection, run: Run, *, state: str, explanation: str) -> bool:
    return store.end_run(
        connection, run.run_id, state, explanation=explanation, ended_us=centre.clock_us()
    )
