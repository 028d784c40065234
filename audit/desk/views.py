"""Views: what was found, put under the checkpoint that proves it.

The one rule: search and checkpoint are of the same moment, so no answer shows what its checkpoint
does not cover.
"""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from audit.desk import search
from audit.desk.desk import Desk
from audit.desk.reading import Standing
from audit.desk.search import Connection, Search
from audit.desk.shapes import (
    Answer,
    CheckpointShape,
    ConsistencyAnswer,
    EntryAnswer,
    EntryShape,
    EventsAnswer,
)
from audit.entry import Entry
from audit.searching.projection import projected_size

Told = TypeVar("Told", bound=Answer)


def answer(
    desk: Desk, shape: type[Told], question: Callable[[Connection], Mapping[str, Any]]
) -> Told:
    """What `question` finds in one state of the log, as `shape`, under its checkpoint."""
    with desk.pool.connection() as connection, search.snapshot(connection):
        scanned_to = projected_size(connection)
        found = question(connection)
        standing = desk.reading.standing_in(connection, scanned_to)
    return shape(checkpoint=checkpoint_shape(standing), scanned_to=scanned_to, **found)


def entry(desk: Desk, name: str) -> EntryAnswer:
    """One entry by index or event id, with its proof.

    Raises:
        UnknownEntryError: the log holds no such entry.
    """
    index, found = desk.reading.entry(name)
    standing = desk.reading.standing(index + 1)
    return EntryAnswer(
        checkpoint=checkpoint_shape(standing),
        scanned_to=index + 1,
        found=entry_shape(index, found),
        content=_text(found.content),
        inclusion=tuple(map(_text, desk.reading.inclusion(index, standing.size))),
    )


def consistency(desk: Desk, old: int, new: int) -> ConsistencyAnswer:
    """The proof that the tree of `new` entries extends that of `old`.

    Raises:
        UnknownEntryError: the log is shorter, or the sizes are the wrong way round.
    """
    proof = desk.reading.consistency(old, new)
    return ConsistencyAnswer(old=old, new=new, proof=tuple(map(_text, proof)))


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
        note=standing.note,
        size=standing.size,
        is_witnessed=standing.is_witnessed,
        witnessed_size=standing.witnessed_size,
    )


def _text(content: bytes) -> str:
    return b64encode(content).decode()
