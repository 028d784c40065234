"""What the API shows: plans and runs as JSON objects."""

from collections.abc import Sequence
from typing import Any

from services.coordinator.replay import Replayed
from services.coordinator.store import StoredEvaluation, StoredRound, StoredRun
from services.registry.ballots import SignedBallot
from services.registry.store import StoredPlan


def plan_view(stored: StoredPlan, ballots: Sequence[SignedBallot]) -> dict[str, Any]:
    """A plan, where it stands, and the votes so far."""
    return {
        "plan_id": stored.plan.id,
        "title": stored.plan.title,
        "state": stored.state,
        "sites": list(stored.plan.sites),
        "signers": list(stored.signers),
        "rounds": stored.plan.rounds,
        "votes": [
            {"site": b.ballot.site, "choice": str(b.ballot.choice), "ground": str(b.ballot.ground)}
            for b in ballots
        ],
    }


def run_view(
    run: StoredRun, rounds: Sequence[StoredRound], evaluations: Sequence[StoredEvaluation]
) -> dict[str, Any]:
    """A run, its rounds, and how each site answered about the candidate."""
    return {
        "run_id": run.run_id,
        "plan_id": run.plan_id,
        "state": run.state,
        "explanation": run.explanation,
        "model_digest": run.model_digest,
        "created_us": run.created_us,
        "ended_us": run.ended_us,
        "rounds": [_round_view(one) for one in rounds],
        "evaluations": [
            {
                "site": one.site,
                "reason": one.reason,
                "explanation": one.explanation,
                "released": one.released,
            }
            for one in evaluations
        ],
    }


def replay_view(replayed: Replayed) -> dict[str, Any]:
    """A round that was made again."""
    return {
        "round": replayed.number,
        "sites": list(replayed.sites),
        "weights": list(replayed.weights),
        "holds": not replayed.fault,
        "fault": replayed.fault,
    }


def _round_view(stored: StoredRound) -> dict[str, Any]:
    opening, closing = stored.opening, stored.closing
    return {
        "round": stored.number,
        "state": str(stored.state),
        "sites": [] if opening is None else list(opening.sites),
        "deadline_us": None if opening is None else opening.deadline_us,
        "participants": [] if closing is None else list(closing.participants),
        "exclusions": []
        if closing is None
        else [{**one.to_json(), "explanation": one.explanation} for one in closing.exclusions],
        "aggregate_digest": None if closing is None else closing.aggregate_digest,
        "changed_us": stored.changed_us,
    }
