"""The round: its states, what opens it, and the messages between centre and node.

An order carries its own proof: the plan, the signed ballots, and the log entry that allows it (the
warrant) with an inclusion proof under a cosigned checkpoint. A node believes none of it before it
has checked all of it. A refusal is a normal answer.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from protocol.aggregation import AggregationRule
from protocol.errors import TransitionError
from protocol.plan import Plan
from protocol.provenance import Provenance
from protocol.record import Base64, DecimalText, Digest, Name, Record, RunId, SparingRecord, Text
from protocol.words import DETAILS, Detail, Reason


class RoundState(StrEnum):
    """Where a round stands."""

    PENDING = "pending"
    OPEN = "open"
    CLOSED = "closed"
    ABANDONED = "abandoned"


TRANSITIONS: dict[RoundState, frozenset[RoundState]] = {
    RoundState.PENDING: frozenset({RoundState.OPEN, RoundState.ABANDONED}),
    RoundState.OPEN: frozenset({RoundState.CLOSED, RoundState.ABANDONED}),
    RoundState.CLOSED: frozenset(),
    RoundState.ABANDONED: frozenset(),
}


def check_transition(now: RoundState, then: RoundState) -> None:
    """Pass when a round may go from `now` to `then`.

    Raises:
        TransitionError: it may not.
    """
    if then not in TRANSITIONS[now]:
        allowed = ", ".join(sorted(TRANSITIONS[now])) or "nothing"
        raise TransitionError(f"a round that is {now} cannot become {then}; only {allowed}")


class OrderKind(StrEnum):
    """What a node is asked to do."""

    TRAIN = "train"
    EVALUATE = "evaluate"


class Opening(Record):
    """Body of `round.opened`: the warrant of a training order."""

    plan_id: Digest
    run_id: RunId
    round: Annotated[int, Field(ge=1)]
    sites: Annotated[tuple[Name, ...], Field(min_length=1)]
    model_digest: Digest
    """Digest of the packed global model the round starts from."""
    layout_digest: Digest
    deadline_us: int


class Candidate(Record):
    """Body of `model.candidate`: the warrant of an evaluation order."""

    plan_id: Digest
    run_id: RunId
    rounds_completed: Annotated[int, Field(ge=0)]
    model_digest: Digest
    layout_digest: Digest


class Order(Record):
    """What the centre sends to one node, beside the packed global model."""

    version: Literal["wardround/order/v1"] = "wardround/order/v1"
    kind: OrderKind
    site: Name
    plan: Plan
    ballots: tuple[Base64, ...]
    """Signed `plan.voted` entries, as logged."""
    warrant: Base64
    """The signed log entry that allows this order: `round.opened` or `model.candidate`."""
    proof: str
    """C2SP tlog-proof of the warrant, under a checkpoint cosigned by the quorum."""


class Verdict(StrEnum):
    """How a node answered."""

    ACCEPTED = "accepted"
    REFUSED = "refused"


class Answer(Record):
    """What a node sends back, beside the packed update when it trained."""

    version: Literal["wardround/answer/v1"] = "wardround/answer/v1"
    kind: OrderKind
    site: Name
    plan_id: Digest
    run_id: str
    round: Annotated[int, Field(ge=0)]
    verdict: Verdict
    reason: Reason = Reason.NONE
    explanation: Text = ""
    receipt: Base64 = ""
    """The site's signed log entry about what it sends: `update.sent` or `evaluation.released`."""


class Sent(Record):
    """Body of `update.sent`: what left a hospital."""

    plan_id: Digest
    run_id: RunId
    round: Annotated[int, Field(ge=1)]
    site: Name
    update_digest: Digest
    layout_digest: Digest
    size_bytes: Annotated[int, Field(ge=0)]
    charge_digest: Digest
    """Digest of the Charge that paid for it."""
    provenance: Provenance = Provenance()
    """What it was made with."""


class Evaluation(SparingRecord):
    """Body of `evaluation.released`: noised patient counts by score, the only figures that leave.

    Each held-out patient falls in exactly one cell of each finding, so one patient moves one count
    of each by one: of C findings the L2 sensitivity is √C, which the noise is scaled to. Anything
    computed from the noised counts is post-processing.
    """

    unsaid = frozenset({"classes"})

    plan_id: Digest
    run_id: RunId
    site: Name
    model_digest: Digest
    negative: tuple[int, ...]
    """Noised count of negative patients in each of B equal score bins over [0, 1]; of several
    findings their bins follow one another, finding by finding."""
    positive: tuple[int, ...]
    noise_multiplier: DecimalText
    """σ in units of the L2 sensitivity."""
    charge_digest: Digest
    classes: Annotated[tuple[Text, ...], Field(max_length=1000)] = ()
    """The findings that are told of, of a plan that names several; left out of the bytes where
    there is one."""


class Exclusion(Record):
    """A site that signed but is not in the aggregate, and why."""

    site: Name
    reason: Reason
    detail: Detail = Detail.NONE
    found: DecimalText | None = None
    """What was measured, where the detail is about a number."""
    allowed: DecimalText | None = None

    @property
    def explanation(self) -> str:
        """The detail as a sentence part for people; it is not part of the record."""
        text = DETAILS[self.detail]
        return (
            text if self.found is None else f"{text} (found {self.found}, at most {self.allowed})"
        )


class Closing(SparingRecord):
    """Body of `round.closed` and `round.abandoned`: who took part, who did not, what came of it."""

    unsaid = frozenset({"weights"})

    plan_id: Digest
    run_id: RunId
    round: Annotated[int, Field(ge=1)]
    participants: tuple[Name, ...]
    update_digests: tuple[Digest, ...]
    """In the order of `participants`."""
    exclusions: tuple[Exclusion, ...]
    rule: AggregationRule
    quorum: Annotated[int, Field(ge=1)]
    aggregate_digest: Digest | None
    """Digest of the new packed global model; none when the round was abandoned."""
    weights: tuple[DecimalText, ...] = ()
    """What each participant counted, in their order, the most as 1; left out of the bytes where all
    counted alike."""
