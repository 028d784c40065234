"""Entries of the review page: what it puts into the hospital's own log, one builder per kind.

The one rule: a person is a pseudonymous key id, a study the index's keyed digest and a read a
salted digest, so that the log shows who looked, judged and signed, and never what was found.
"""

from dataclasses import replace
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from hospital_node.review.roles import Role
from protocol.event import Actor, Compliance, Event, Meaning, Outcome
from protocol.record import Digest, Record


class ReviewKind(StrEnum):
    """The kinds of entry of the review page."""

    ACCOUNT_ADDED = "account.added"
    ACCOUNT_CLOSED = "account.closed"
    SESSION_OPENED = "session.opened"
    SESSION_REFUSED = "session.refused"
    SESSION_LOCKED = "session.locked"
    SESSION_UNLOCKED = "session.unlocked"
    SESSION_ENDED = "session.ended"
    CASES_OPENED = "cases.opened"
    CASE_CLAIMED = "case.claimed"
    CASE_RETURNED = "case.returned"
    READ_SIGNED = "read.signed"
    READ_AMENDED = "read.amended"


CaseNumber = Annotated[str, Field(pattern=r"^[A-Z2-7]{4}-[A-Z2-7]{4}$")]
PersonId = Annotated[str, Field(pattern=r"^person:[0-9a-f]{32}$")]
Count = Annotated[int, Field(ge=0)]


class AccountChange(Record):
    """Body of `account.added` and `account.closed`."""

    person: PersonId
    role: Role


class SessionChange(Record):
    """Body of the entries about sessions; who it was is the entry's actor."""

    session: Annotated[str, Field(pattern=r"^([a-z2-7]{16})?$")]
    """Empty where none was opened."""


class CasesOpened(Record):
    """Body of `cases.opened`: studies were put up for reading."""

    question: Digest
    cases: Count
    readers_wanted: Annotated[int, Field(ge=1)]


class CaseHeld(Record):
    """Body of `case.claimed` and `case.returned`."""

    case: CaseNumber
    study: Digest


class ReadSigned(Record):
    """Body of `read.signed` and `read.amended`."""

    case: CaseNumber
    study: Digest
    question: Digest
    version: Annotated[int, Field(ge=1)]
    is_adjudication: bool
    images: Digest
    """Of the contents of all images of the study, as they were read."""
    read: Digest
    """Salted; what opens it is in the hospital's database."""


def account_changed(kind: ReviewKind, change: AccountChange, actor: Actor) -> Event:
    """Somebody was let in, or shut out."""
    event = replace(_event(kind, change), actor=actor)
    return replace(event, compliance=Compliance(meaning=Meaning.RESPONSIBLE))


def session_changed(kind: ReviewKind, session: str, actor: Actor) -> Event:
    """A session began, was locked, went on or ended."""
    return replace(_event(kind, SessionChange(session=session)), actor=actor)


def session_refused() -> Event:
    """A name and a password opened nothing; whose they were meant to be is not known."""
    refused = _event(ReviewKind.SESSION_REFUSED, SessionChange(session=""))
    return replace(refused, outcome=Outcome.MINOR_FAILURE)


def cases_opened(opened: CasesOpened, actor: Actor) -> Event:
    """Studies were put up for reading."""
    return replace(_event(ReviewKind.CASES_OPENED, opened), actor=actor)


def case_held(kind: ReviewKind, held: CaseHeld, actor: Actor) -> Event:
    """A case was taken by somebody, or given back."""
    return replace(_event(kind, held), actor=actor)


def read_signed(signed: ReadSigned, actor: Actor) -> Event:
    """A read was signed; from its second version on, amended."""
    kind = ReviewKind.READ_SIGNED if signed.version == 1 else ReviewKind.READ_AMENDED
    event = replace(_event(kind, signed), actor=actor)
    return replace(event, compliance=Compliance(meaning=Meaning.AUTHORED))


def _event(kind: ReviewKind, record: Record) -> Event:
    return Event(kind, record.to_json())
