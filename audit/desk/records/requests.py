"""Requests of records officers: what they may send.

The one rule: a reason is one of a closed list and a reference is a file's number, so that neither
has room for a name.
"""

from enum import StrEnum
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from audit.canonical import MAX_INTEGER
from audit.commitment import parse_commitment
from audit.desk.records.office import MOST_AT_ONCE
from audit.desk.records.store import Scope

Commitment = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Reference = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]{0,79}$",
        description="Number of the file with the papers; never a name. It stays out of the log.",
    ),
]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
Moment = Annotated[int, Field(ge=0, le=MAX_INTEGER, strict=True)]

_ID = "0199c82c-c000-4202-8202-020202020202"
_COMMITMENT = "sha256:6cc57b04678b787fe2746aa724b4b39cae1568b70395e5997a184cc10bbbafd1"


class HoldReason(StrEnum):
    """Why payloads must be kept."""

    LITIGATION = "litigation"
    INVESTIGATION = "investigation"
    REGULATOR = "regulator"
    SAFETY = "safety"


class LiftReason(StrEnum):
    """Why a hold may go."""

    MATTER_CLOSED = "matter-closed"
    SET_IN_ERROR = "set-in-error"
    NARROWED = "narrowed"


class ErasureReason(StrEnum):
    """What a data subject, or a court, relies on."""

    CONSENT_WITHDRAWN = "consent-withdrawn"
    OBJECTION = "objection"
    NO_LONGER_NECESSARY = "no-longer-necessary"
    UNLAWFUL = "unlawful"
    COURT_ORDER = "court-order"


class Purpose(StrEnum):
    """What a payload is read for."""

    PATIENT_REQUEST = "patient-request"
    LEGAL = "legal"
    REGULATOR = "regulator"
    SAFETY = "safety"
    OPERATIONS = "operations"


PERIOD_OVER = "period-over"
"""Why payloads are disposed of: there is no other reason."""


class Request(BaseModel):
    """What every request of an officer has in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: UUID | None = Field(
        None, description="Chosen by you: sent again, it is the same request and not a second one."
    )
    reference: Reference


class ScopeShape(BaseModel):
    """Which payloads a hold covers: those for which all that is given is true."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan_id: Name | None = None
    run_id: Name | None = None
    producer: Name | None = Field(None, description="A site, by the name of its event key.")
    type: Name | None = None
    since_us: Moment | None = Field(None, description="Microseconds since 1970 UTC, inclusive.")
    until_us: Moment | None = Field(None, description="Microseconds since 1970 UTC, inclusive.")
    commitments: (
        Annotated[tuple[Commitment, ...], Field(min_length=1, max_length=MOST_AT_ONCE)] | None
    ) = None

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        if not self.model_fields_set or all(value is None for _, value in self):
            raise ValueError("a hold names something; to hold everything, say since_us = 0")
        return self

    @property
    def scope(self) -> Scope:
        """The scope it describes."""
        named = self.commitments
        commitments = None if named is None else tuple(sorted(set(map(parse_commitment, named))))
        return Scope(**self.model_dump(exclude={"commitments"}), commitments=commitments)


class HoldRequest(Request):
    """A legal hold to set."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID,
                    "reason": "litigation",
                    "reference": "2026/114",
                    "scope": {"run_id": "run-1", "producer": "north/st-anna"},
                }
            ]
        }
    )

    reason: HoldReason
    scope: ScopeShape


class LiftRequest(Request):
    """A hold to lift."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": _ID, "reason": "matter-closed", "reference": "2026/114"}]
        }
    )

    reason: LiftReason


class DisposalRequest(Request):
    """Payloads to dispose of: those that are named, or the oldest of a class that are due."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"id": _ID, "retention": "operation", "reference": "2026/spring"}]
        }
    )

    retention: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    commitments: (
        Annotated[tuple[Commitment, ...], Field(min_length=1, max_length=MOST_AT_ONCE)] | None
    ) = None


class ErasureRequest(Request):
    """One payload to erase."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": _ID,
                    "commitment": _COMMITMENT,
                    "reason": "consent-withdrawn",
                    "reference": "2026/dsr-31",
                }
            ]
        }
    )

    commitment: Commitment
    reason: ErasureReason


class Confirmation(BaseModel):
    """What the second person says: the digest of what they have looked at."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", json_schema_extra={"examples": [{"digest": _COMMITMENT}]}
    )

    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
