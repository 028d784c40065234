"""Release: what people decide about a model, from reading blind to taking it back.

The one rule: a model is released by the signed accepts that its release names; a person who
overrules the system says so in a record of its own and hides nothing.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from protocol.record import Digest, Name, Record, RunId
from protocol.words import Ground

EventId = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
    ),
]
"""The id of an entry of the log."""


class Judgement(StrEnum):
    """What a hospital's readers say about a model."""

    ACCEPT = "accept"
    REJECT = "reject"


class Read(Record):
    """Body of `read.signed`: one hospital's readers have read with a model, and judge it."""

    plan_id: Digest
    run_id: RunId
    site: Name
    model_digest: Digest
    judgement: Judgement
    cases_noised: Annotated[int, Field(ge=0)]
    """How many cases were read, noised and billed."""
    reads_commitment: Digest
    """Salted commitment to the single reads, which stay at the hospital."""
    ground: Ground = Ground.NONE


class Accept(Record):
    """One hospital's accept, by the digest of its `read.signed`."""

    site: Name
    read_digest: Digest


class ModelRelease(Record):
    """Body of `model.released`."""

    plan_id: Digest
    run_id: RunId
    model_digest: Digest
    accepts_needed: Annotated[int, Field(ge=0)]
    """By the consortium's rule for releases."""
    accepts: tuple[Accept, ...]
    """By site."""


class ModelWithdrawal(Record):
    """Body of `model.withdrawn`: the model must not be used any more."""

    plan_id: Digest
    run_id: RunId
    model_digest: Digest
    ground: Ground


class OverrideSubject(StrEnum):
    """What a person overruled."""

    POLICY_DECISION = "policy-decision"
    ROUND = "round"
    RUN = "run"
    RELEASE = "release"
    READ = "read"


class Override(Record):
    """Body of `oversight.override`: a person decided otherwise than the system (AI Act Art. 14)."""

    subject: OverrideSubject
    event_id: EventId
    """The entry that says what the system had decided."""
    before: Annotated[str, StringConstraints(pattern=r"^(allow|deny|accept|reject|run|stop)$")]
    after: Annotated[str, StringConstraints(pattern=r"^(allow|deny|accept|reject|run|stop)$")]
    ground: Ground
