"""The desk: what routes are handed. The one rule: it is built once, and holds no person's state."""

from dataclasses import dataclass

from hospital_node.review.passwords import Passwords
from hospital_node.review.pictures import OpenFiles
from hospital_node.review.rendering import Rendering
from hospital_node.review.room import ReadingRoom
from hospital_node.review.sessions import Sessions, new_token


@dataclass(frozen=True, slots=True)
class ReviewDesk:
    """The reading room with its door."""

    room: ReadingRoom
    sessions: Sessions
    rendering: Rendering
    files: OpenFiles


def furnish(room: ReadingRoom) -> ReviewDesk:
    """The desk of a reading room."""
    decoy = room.hasher.hash(new_token())
    passwords = Passwords(room.pool, room.hasher, room.key, decoy)
    return ReviewDesk(room, Sessions(room, passwords), Rendering(), OpenFiles())
