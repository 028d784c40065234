"""Ballots as the log holds them.

The one rule: a ballot counts when the entry that carries it is signed with the key that the pinned
consortium names for that hospital. What the log service says about it counts for nothing.
"""

from dataclasses import dataclass

from audit.entry import Entry
from audit.errors import AuditError
from audit.note import Verifier
from protocol.ballot import Ballot
from protocol.consortium import Role
from protocol.errors import ProtocolError
from protocol.events import Kind
from services.centre import Centre


@dataclass(frozen=True, slots=True)
class SignedBallot:
    """A ballot and the signed log entry it came in."""

    ballot: Ballot
    entry: bytes


def read_ballots(centre: Centre, plan_id: str) -> tuple[SignedBallot, ...]:
    """The valid ballots about one plan, in the order of the log.

    Raises:
        AuditError: the log cannot be read.
    """
    found: list[SignedBallot | None] = []
    after = -1
    while page := centre.log.events(type=Kind.PLAN_VOTED, plan_id=plan_id, after=after):
        found += [_read_ballot(centre, logged.entry) for logged in page]
        after = page[-1].index
    return tuple(ballot for ballot in found if ballot is not None)


def ballot_in(entry: bytes) -> Ballot:
    """The ballot in an entry that was verified before it was kept.

    Raises:
        EntryError: the bytes are no entry.
        RecordError: its body is no ballot.
    """
    return Ballot.from_json(Entry.parse(entry).body)


def _read_ballot(centre: Centre, content: bytes) -> SignedBallot | None:
    """The ballot in an entry; none where it is not one a hospital of the consortium signed."""
    try:
        entry = Entry.parse(content)
        ballot = Ballot.from_json(entry.body)
        member = centre.consortium.member(ballot.site)
        if member is None or member.role is not Role.HOSPITAL:
            return None
        entry.verify(Verifier.from_vkey(member.event_vkey))
    except (AuditError, ProtocolError):
        return None
    return SignedBallot(ballot, content)
