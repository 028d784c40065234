"""Views: what was found, put under the checkpoint that proves it.

The one rule: search and checkpoint are of the same moment, so no answer shows what its checkpoint
does not cover.
"""

import json

from audit.desk import search
from audit.desk.desk import Desk
from audit.desk.reading import Standing
from audit.desk.search import Search
from audit.desk.shapes import CheckpointShape, EntryShape, EventsAnswer
from audit.entry import Entry


def events(desk: Desk, wanted: Search, *, after: int, limit: int) -> EventsAnswer:
    """A page of entries, each with the way to its proof."""
    with desk.pool.connection() as connection:
        page = search.find(connection, wanted, after=after, limit=limit)
        standing = desk.reading.standing_in(connection, page.scanned_to)
    return EventsAnswer(
        checkpoint=checkpoint_shape(standing),
        scanned_to=page.scanned_to,
        entries=tuple(entry_shape(index, entry) for index, entry in page.entries),
        next_after=page.entries[-1][0] if len(page.entries) == limit else None,
    )


def entry_shape(index: int, entry: Entry) -> EntryShape:
    """An entry as answers show it."""
    return EntryShape(
        index=index,
        leaf=entry.leaf.hex(),
        entry=json.loads(entry.content),
        proof=f"/v1/events/{index}/proof",
    )


def checkpoint_shape(standing: Standing) -> CheckpointShape:
    """A checkpoint as answers show it."""
    return CheckpointShape(
        note=standing.note, size=standing.size, is_witnessed=standing.is_witnessed
    )
