"""Statements: what the desk puts on the record about those who use it.

The one rule: no statement holds what was asked for in words, only a salted commitment to it:
whoever types a name into a search must not write it into a log that forgets nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from audit.desk.callers import Caller, Refused
from audit.entry import Actor, Compliance, Outcome

QUERY = "audit.query"
EXPORT = "audit.export"
ACCESS_REFUSED = "anomaly.access_refused"


@dataclass(frozen=True, slots=True)
class DeskEvent:
    """One thing that happened at the desk, before it is numbered and signed."""

    type: str
    body: dict[str, Any] = field(default_factory=dict)
    actor: Actor | None = None
    outcome: int = Outcome.SUCCESS
    compliance: Compliance | None = None
    supersedes: str | None = None
    plan_id: str | None = None
    run_id: str | None = None
    round: int | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as far as it is recorded."""

    route: str
    """Method and path template, e.g. `GET /v1/runs/{run_id}/timeline`."""
    parameters: str
    """Commitment to what was asked (`seals`)."""
    nonce: str
    """Of the seal."""
    status: int
    exported: Mapping[str, Any] = field(default_factory=dict)
    """What left as a file, where something did: its digest, format, count and checkpoint's size."""


def call_made(call: Call, caller: Caller) -> DeskEvent:
    """Somebody asked and was answered."""
    body = {
        **call.exported,
        "nonce": call.nonce,
        "parameters": call.parameters,
        "route": call.route,
        "status": call.status,
        "via": str(caller.via),
    }
    kind = EXPORT if "/exports" in call.route else QUERY
    return DeskEvent(kind, body, caller.actor(), _outcome(call.status))


def access_refused(call: Call, refused: Refused, *, caller: Caller | None, count: int) -> DeskEvent:
    """Somebody was turned away, `count` times since it was last recorded."""
    body = {"count": count, "reason": str(refused), "route": call.route, "status": call.status}
    actor = caller.actor() if caller else None
    return DeskEvent(ACCESS_REFUSED, body, actor, Outcome.SERIOUS_FAILURE)


def _outcome(status: int) -> int:
    if status < 400:
        return Outcome.SUCCESS
    return Outcome.MINOR_FAILURE if status < 500 else Outcome.SERIOUS_FAILURE
