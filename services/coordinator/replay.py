"""Replay: a run's aggregates made again from the updates that are kept.

The one rule: what they are compared with is the log, as everybody holds it, and not this database.
Each round starts from the model that the log says it started from; only under a rule that keeps
moments can a round not be judged once one before it does not hold.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from audit.entry import Entry
from protocol.aggregation import SERVER_OPTIMISERS
from protocol.errors import LayoutError
from protocol.events import Kind
from protocol.round import Closing, Opening, RoundState
from protocol.update import packed_digest
from services.centre import Centre
from services.coordinator import store
from services.coordinator.aggregate import Aggregate, Aggregator
from services.coordinator.orders import Run
from services.coordinator.updates import StoredUpdates
from services.errors import CentreError

_SLACK = 1e-6
"""Between a weight and the same made again: distances are summed in another order elsewhere."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One closed round, made again."""

    number: int
    sites: tuple[str, ...]
    weights: tuple[str, ...]
    """As on the record."""
    fault: str
    """What does not hold; empty where all does."""


def replay(centre: Centre, run: Run) -> Iterator[Replayed]:
    """Make each closed round of a run again, in order.

    Raises:
        AuditError: the log cannot be read, or what it answers cannot be believed.
    """
    aggregator = Aggregator.of(run)
    said = map(Opening.from_json, _said(centre, run, Kind.ROUND_OPENED))
    openings = {opening.round: opening for opening in said}
    for closing in map(Closing.from_json, _said(centre, run, Kind.ROUND_CLOSED)):
        opening = openings.get(closing.round)
        fault = _fault_of(centre, aggregator, closing=closing, opening=opening)
        yield Replayed(closing.round, closing.participants, closing.weights, fault)


def resumed_aggregator(centre: Centre, run: Run) -> Aggregator:
    """The aggregator of a run after the rounds that have ended, with the moments they left.

    Raises:
        CentreError: an update that they came from is damaged.
    """
    aggregator = Aggregator.of(run)
    if run.plan.aggregation.rule not in SERVER_OPTIMISERS:
        return aggregator
    with centre.pool.connection() as connection:
        rounds = store.load_rounds(connection, run.run_id)
    for stored in rounds:
        opening, closing = stored.opening, stored.closing
        if opening is not None and closing is not None and stored.state is RoundState.CLOSED:
            _make(centre, aggregator, closing, model_digest=opening.model_digest)
    return aggregator


def _fault_of(
    centre: Centre, aggregator: Aggregator, *, closing: Closing, opening: Opening | None
) -> str:
    if opening is None:
        return "the log has no opening of this round"
    try:
        made, weights = _make(centre, aggregator, closing, model_digest=opening.model_digest)
    except (CentreError, LayoutError) as fault:
        return str(fault)
    if packed_digest(made.model) != closing.aggregate_digest:
        return "these updates make another model than the one on the record"
    if not _are_near(closing.weights, weights):
        return "the weights on the record are not those that the rule gives these updates"
    return ""


def _make(
    centre: Centre, aggregator: Aggregator, closing: Closing, *, model_digest: str
) -> tuple[Aggregate, tuple[str, ...]]:
    """The aggregate by the recorded weights, and the weights as the rule gives them now."""
    with centre.pool.connection() as connection:
        model = store.load_model(connection, model_digest)
        updates = StoredUpdates(
            connection,
            closing.run_id,
            closing.round,
            sites=closing.participants,
            digests=closing.update_digests,
            size=model.size,
        )
        weights = aggregator.weights_of(updates)
        return aggregator.aggregate(model, updates, weights=closing.weights), weights


def _are_near(recorded: tuple[str, ...], found: tuple[str, ...]) -> bool:
    return len(recorded) == len(found) and all(
        abs(float(one) - float(other)) <= _SLACK for one, other in zip(recorded, found, strict=True)
    )


def _said(centre: Centre, run: Run, kind: Kind) -> Iterator[dict[str, Any]]:
    """What the log holds of this centre about the run."""
    verifier = centre.outbox.signer.verifier
    for logged in centre.log.events(type=kind, run_id=run.run_id, producer=verifier.name):
        entry = Entry.parse(logged.entry)
        entry.verify(verifier)
        yield entry.body
