"""An act: one person doing one thing, in one transaction.

The one rule: what happens and the entry that says who did it are committed together or not at all.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hospital_node.database import Connection
from hospital_node.review.roles import Person
from hospital_node.review.room import ReadingRoom
from hospital_node.review.sessions import Session
from protocol.event import Actor


@dataclass(frozen=True, slots=True)
class Act:
    """A transaction, and whose act it is."""

    connection: Connection
    room: ReadingRoom
    session: Session
    now_us: int
    """When it began."""

    @property
    def person(self) -> Person:
        """Who acts."""
        return self.session.person

    @property
    def actor(self) -> Actor:
        """Who acts, as the record names them."""
        return self.room.actor(self.person, "read")


@contextmanager
def begin(room: ReadingRoom, session: Session) -> Iterator[Act]:
    """A transaction that is committed at the end of the block."""
    with room.pool.connection() as connection:
        yield Act(connection, room, session, room.clock_us())
