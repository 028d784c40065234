"""Errors over HTTP: one table of error, name and status, read in both directions.

The one rule: the service writes an error by this table and the client raises the same one from it
(RFC 9457 problem details). A fault that is not in the table is the service's own: 500.
"""

from collections.abc import Mapping
from typing import Any

import psycopg

from audit.errors import (
    AuditError,
    CanonicalError,
    CommitmentError,
    EntryError,
    EvidenceError,
    NoteError,
    ProofError,
)
from audit.payloads.errors import (
    ClockBehindError,
    ForeignPayloadError,
    HeldError,
    NotDueError,
    PayloadRefusedError,
    PayloadRemovedError,
    RecordsConflictError,
    SecondPersonError,
    UnknownRecordError,
)
from audit.refusal import (
    EntryRefusedError,
    LogBusyError,
    LogHaltedError,
    LogUnavailableError,
    NotYetWitnessedError,
    QuestionError,
    Refusal,
    UnknownEntryError,
    WriterRefusedError,
    WrongContentError,
)

_TABLE: tuple[tuple[type[Exception], str, int], ...] = (
    (EntryRefusedError, "entry-refused", 422),
    (WriterRefusedError, "writer-refused", 403),
    (WrongContentError, "wrong-content", 415),
    (QuestionError, "malformed", 400),
    (UnknownEntryError, "unknown-entry", 404),
    (LogBusyError, "log-busy", 429),
    (NotYetWitnessedError, "not-yet-witnessed", 503),
    (LogHaltedError, "log-halted", 503),
    (LogUnavailableError, "log-unavailable", 503),
    (psycopg.OperationalError, "log-unavailable", 503),
    (PayloadRefusedError, "payload-refused", 422),
    (ForeignPayloadError, "foreign-payload", 403),
    (SecondPersonError, "second-person-needed", 409),
    (UnknownRecordError, "unknown-record", 404),
    (PayloadRemovedError, "payload-removed", 410),
    (HeldError, "held", 409),
    (NotDueError, "not-due", 409),
    (RecordsConflictError, "conflict", 409),
    (ClockBehindError, "clock-behind", 503),
    (CommitmentError, "malformed", 400),
    (CanonicalError, "malformed", 400),
    (EntryError, "malformed", 400),
    (NoteError, "malformed", 400),
    (ProofError, "malformed", 400),
    (EvidenceError, "evidence-refused", 422),
)
"""The first row whose class fits counts, so kinds stand before their families."""

ANSWERED = (AuditError, psycopg.OperationalError)
"""What the service answers by the table."""

_STATUS_OF = {Refusal.FOREIGN_PRODUCER: 403, Refusal.TOO_LONG: 413, Refusal.TOO_MANY: 413}
"""Refusals that HTTP has a status of its own for; every other is 422."""


def to_problem(error: Exception) -> tuple[int, dict[str, Any]]:
    """Status and body of the answer that says `error`."""
    for kind, name, status in _TABLE:
        if isinstance(error, kind):
            detail = str(error) if isinstance(error, AuditError) else "the database is away"
            return _status_of(error, status), {"type": name, "detail": detail, **_values(error)}
    return 500, {"type": "fault", "detail": "the service met a fault of its own"}


def headers_of(status: int, problem: Mapping[str, Any]) -> dict[str, str]:
    """The headers of the answer with this status and body."""
    if status not in {429, 503}:
        return {}
    return {"Retry-After": str(problem.get("retry_after_s", 1))}


def from_problem(status: int, problem: Mapping[str, Any]) -> AuditError:
    """The error that a service's answer says."""
    name = problem.get("type")
    detail = str(problem.get("detail", f"the log answered with status {status}"))
    if name == "entry-refused":
        return EntryRefusedError(
            Refusal(problem["refusal"]),
            str(problem["explanation"]),
            position=int(problem["position"]),
            expected_seq=problem["expected_seq"],
        )
    if name == "log-busy":
        return LogBusyError(detail, retry_after_s=int(problem["retry_after_s"]))
    for kind, known, _ in _TABLE:
        if known == name and issubclass(kind, AuditError):
            return kind(detail)
    return LogUnavailableError(detail) if status >= 500 else AuditError(detail)


def _status_of(error: Exception, usual: int) -> int:
    return _STATUS_OF.get(error.refusal, usual) if isinstance(error, EntryRefusedError) else usual


def _values(error: Exception) -> dict[str, Any]:
    if isinstance(error, LogBusyError):
        return {"retry_after_s": error.retry_after_s}
    if not isinstance(error, EntryRefusedError):
        return {}
    return {
        "refusal": str(error.refusal),
        "explanation": error.explanation,
        "position": error.position,
        "expected_seq": error.expected_seq,
    }
