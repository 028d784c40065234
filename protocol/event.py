"""An event: one thing that happened, in the form that a log's writer takes.

The one rule: who acted is a pseudonymous id, never a name. Numbering, time and signature are added
by whoever writes it to the log.
"""

from dataclasses import asdict, dataclass
from enum import IntEnum, StrEnum
from typing import Any


class ActorKind(StrEnum):
    """What acted."""

    PERSON = "person"
    SERVICE = "service"
    SYSTEM = "system"


class Meaning(StrEnum):
    """What a signature says about what it signs (21 CFR 11.50)."""

    REVIEWED = "reviewed"
    APPROVED = "approved"
    RESPONSIBLE = "responsible"
    AUTHORED = "authored"


class Outcome(IntEnum):
    """How an act ended (FHIR R4 `AuditEvent.outcome`)."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8
    MAJOR_FAILURE = 12


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acted, where it was not simply the party's own system."""

    kind: ActorKind
    id: str
    """A pseudonymous key id; never a name."""
    organisation: str
    role: str | None = None
    purpose: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry's member `actor`."""
        return {**asdict(self), "kind": str(self.kind)}


@dataclass(frozen=True, slots=True)
class Compliance:
    """What a regulator asks of an entry beside its content."""

    legal_basis: str | None = None
    retention: str | None = None
    meaning: Meaning | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry's member `compliance`."""
        meaning = None if self.meaning is None else str(self.meaning)
        return {**asdict(self), "meaning": meaning}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, before it is numbered and signed."""

    type: str
    body: dict[str, Any]
    plan_id: str | None = None
    run_id: str | None = None
    round: int | None = None
    actor: Actor | None = None
    outcome: int = Outcome.SUCCESS
    compliance: Compliance | None = None
    supersedes: str | None = None
