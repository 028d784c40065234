"""Runs: how one began and ended, what took its plan back, and who is credited with what.

The one rule: a score says by which method it came about and names the evidence it was computed
from, so that anybody can compute it again.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Literal

from pydantic import Field

from protocol.plan import Plan
from protocol.record import (
    DecimalText,
    Digest,
    Name,
    Record,
    RunId,
    canonical_bytes,
    decimal_text,
    sha256_text,
)
from protocol.round import Closing
from protocol.words import Ground, Halt

SCORE_DIGITS = 6
"""Digits of a score after the point: one round in a million."""


class PlanWithdrawal(Record):
    """Body of `plan.withdrawn`: no round of this plan may open any more."""

    plan_id: Digest
    ground: Ground


class RunStart(Record):
    """Body of `run.created`."""

    plan_id: Digest
    run_id: RunId
    rounds: Annotated[int, Field(ge=1)]


class RunEnd(Record):
    """Body of `run.completed`."""

    plan_id: Digest
    run_id: RunId
    rounds_completed: Annotated[int, Field(ge=0)]
    rounds_planned: Annotated[int, Field(ge=1)]


class RunHalt(Record):
    """Body of `run.halted`."""

    plan_id: Digest
    run_id: RunId
    reason: Halt


class RunResumption(Record):
    """Body of `run.resumed`: a run that was cut off goes on where it stood."""

    plan_id: Digest
    run_id: RunId
    reason: Halt
    """What cut it off."""
    rounds_ended: Annotated[int, Field(ge=0)]


class Score(Record):
    """What one site is credited with."""

    site: Name
    score: DecimalText
    """Between 0 and 1."""


class Contribution(Record):
    """Body of `contribution.scored`: what each site took part in.

    `rounds-in-aggregate/v1` is the share of the run's closed rounds whose aggregate holds an update
    of the site. It measures participation; how much an update taught the model cannot be told
    without looking at patients again.
    """

    plan_id: Digest
    run_id: RunId
    method: Literal["rounds-in-aggregate/v1"] = "rounds-in-aggregate/v1"
    evidence_digest: Digest
    """Digest of the digests of the closings it was computed from, in the order of rounds."""
    scores: Annotated[tuple[Score, ...], Field(min_length=1)]
    """By site, all that signed."""


def contribution_of(
    plan: Plan, run_id: str, *, signers: Sequence[str], closings: Iterable[Closing]
) -> Contribution:
    """Each signer's share of the closed rounds of a run.

    Raises:
        ValueError: no round closed, so there is nothing to share.
    """
    closed = [closing for closing in closings if closing.aggregate_digest is not None]
    if not closed:
        raise ValueError(f"run {run_id}: no round closed")
    shares = {
        site: Decimal(sum(site in closing.participants for closing in closed)) / len(closed)
        for site in signers
    }
    step = Decimal(1).scaleb(-SCORE_DIGITS)
    return Contribution(
        plan_id=plan.id,
        run_id=run_id,
        evidence_digest=sha256_text(canonical_bytes([closing.digest for closing in closed])),
        scores=tuple(
            Score(site=site, score=decimal_text(share.quantize(step, rounding=ROUND_HALF_EVEN)))
            for site, share in sorted(shares.items())
        ),
    )
